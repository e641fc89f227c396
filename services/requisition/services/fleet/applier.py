"""Does what reducers and planner asked for: one effect at a time, in the transaction of its event. It decides nothing,
and never calls planner or reducer.

An error is told, counted and swallowed: what was planned is planned again at the next tick, since its reason still
holds; what a host reported it reports again, since nobody acknowledged it. So that this is true, nothing of a failed
transaction stays, and whoever keeps a state in memory takes it from the store again (`reactor`).
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from requisition.services.fleet import effects
from requisition.services.fleet.events import Record
from requisition.services.fleet.store import Fenced, Kind, Paper, Rows, Store

Tell = Callable[[str, str], None]
"""Told of something people should find in the log: level and text."""

ANSWERS = (effects.Acknowledge, effects.AskAgain, effects.RefuseVerb)
"""Effects that are said to whoever sent the event, after its transaction."""
_SPOKEN = (*ANSWERS, effects.Tell, effects.CountUp)


class Change(NamedTuple):
    """What one event that was taken in at `at` asks for, and the documents that are kept with it; the log has `number`
    rows after it."""

    number: int
    at: int
    todo: tuple[effects.Effect, ...]
    papers: tuple[tuple[Paper, str, bytes], ...] = ()

    @property
    def answers(self) -> tuple[effects.Effect, ...]:
        """What is said to whoever sent it."""
        return tuple(one for one in self.todo if isinstance(one, ANSWERS))

    @property
    def writes(self) -> bool:
        """Whether there is anything to write. Records change with a row of the log only."""
        return bool(self.papers) or any(isinstance(one, effects.AppendLog) for one in self.todo)


class Applier:
    """Writes for the holder of one seat. `counts` are of this process, since it began."""

    def __init__(self, seat: int, tell: Tell, counts: Counter[str]) -> None:
        self._seat = seat
        self._tell = tell
        self.counts = counts

    def commit(self, store: Store, changes: Sequence[Change]) -> int:
        """Write changes, in order. Returns how many of them, from the first on, are on the disk. Raises Fenced when
        this server is no longer the one that plans. Together in one transaction; where that fails, one after the
        other, so that none suffers from one behind it."""
        if self._written(store, changes):
            return len(changes)
        if len(changes) > 1:
            for done, change in enumerate(changes):
                if not self._written(store, (change,)):
                    return done
            return len(changes)
        return 0

    def _written(self, store: Store, changes: Sequence[Change]) -> bool:
        writes = [change for change in changes if change.writes]
        if not writes:
            return True
        try:
            with store.transaction(self._seat) as transaction:
                for change in writes:
                    for paper, name, data in change.papers:
                        transaction.file(paper, name, data)
                    for effect in change.todo:
                        execute(effect, change, transaction)
        except Fenced:
            raise
        except Exception as error:  # noqa: BLE001  (whatever it is, one bad write ends no server)
            self.counts["transactions_failed"] += 1
            events = "an event" if len(writes) == 1 else f"{len(writes)} events"
            self._tell("error", f"{events} could not be written: {error}")
            return False
        self.counts["transactions"] += 1
        self.counts["events"] += len(writes)
        return True

    def speak(self, change: Change) -> None:
        """What an event asks to be told and counted, once it is on the disk."""
        for effect in change.todo:
            match effect:
                case effects.Tell(level, text):
                    self._tell(level, text)
                case effects.CountUp(name):
                    self.counts[name] += 1
                case one if isinstance(one, effects.Local):
                    self.counts["effects_misplaced"] += 1
                    kind = one.__struct_config__.tag
                    self._tell("error", f"{kind} is for a host to do, not for a server; it was dropped (a defect)")


def execute(effect: effects.Effect, change: Change, rows: Rows) -> None:  # noqa: C901  (a table, in words)
    """One effect, within the transaction of its event. Those that are said and not written, and those of hosts, write
    nothing."""
    match effect:
        case effects.AppendLog(event):
            rows.append(Record(change.number, change.at, event))
        case effects.SaveHost(host):
            rows.put(Kind.HOST, host.name, host)
        case effects.ForgetHost(name):
            rows.drop(Kind.HOST, name)
        case effects.SaveRollout(rollout):
            rows.put(Kind.ROLLOUT, rollout.id, rollout)
        case effects.ForgetRollout(name):
            rows.drop(Kind.ROLLOUT, name)
            rows.discard(Paper.ROLLOUT, name)
        case effects.SaveChannel(channel):
            rows.put(Kind.CHANNEL, channel.name, channel)
        case effects.SaveSettings(settings):
            rows.put(Kind.SETTINGS, "", settings)
        case effects.PutDispatch(host, dispatch):
            rows.put(Kind.OUTBOX, host, dispatch)
        case effects.PurgeDispatch(host):
            rows.drop(Kind.OUTBOX, host)
        case effects.InsertQuarantine(bad):
            rows.keep(Kind.QUARANTINE, f"{bad.channel} {bad.order}", bad)
        case effects.ClearQuarantine(channel, order):
            rows.drop(Kind.QUARANTINE, f"{channel} {order}")
        case effects.UseNonce(nonce, at, forget):
            rows.use_nonce(nonce, at, forget)
        case effects.SaveHint(slot, retire_at):
            rows.put(Kind.HINT, slot, retire_at)
        case effects.CutLog(before):
            rows.cut(before)
