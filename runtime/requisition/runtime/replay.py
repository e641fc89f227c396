"""A run read back from its journal: what it was about to do, what it finished, what it took back."""

from datetime import datetime

from msgspec import Struct

from requisition.runtime.hydrate import Hydrated
from requisition.runtime.journal import (
    Begun,
    Compensated,
    Ended,
    Finished,
    Intent,
    JournalError,
    PhaseEnded,
    Record,
    Resumed,
    Undone,
    Unwinding,
)
from requisition.runtime.restore import CrashWindow
from requisition.runtime.unwind import PhaseMark, RecoveryStack
from requisition.schemas.receipt import NodeRun

Scope = tuple[int, ...]


class Replay(Struct):
    """Everything that a journal says. `settled` are the nodes of phases whose effects are durable."""

    begun: Begun
    boot_id: str
    stack: RecoveryStack
    finished: dict[tuple[int, Scope], Finished]
    settled: frozenset[str]
    unwinding: str | None
    ended: str | None

    def unfinished(self, intent: Intent) -> bool:
        """Whether it is unknown if an intent's effect was made."""
        return (intent.node, intent.scope) not in self.finished

    def taken_back(self) -> set[tuple[int, Scope]]:
        """Nodes whose last effect was undone: a package of a tree that failed, say."""
        last: dict[tuple[int, Scope], bool] = {}
        for entry, position in zip(self.stack.entries, self.stack.positions, strict=True):
            if isinstance(entry, Intent):
                last[entry.node, entry.scope] = position in self.stack.undone
        return {key for key, undone in last.items() if undone}

    def node_runs(self) -> dict[tuple[int, Scope], NodeRun]:
        """Records of the nodes that the earlier part of the run did."""
        runs: dict[tuple[int, Scope], NodeRun] = {}
        undone = self.taken_back()
        for entry in self.stack.entries:
            if isinstance(entry, Intent) and (entry.node, entry.scope) in self.finished.keys() - undone:
                key = (entry.node, entry.scope)
                left = tuple(c.expect for c in entry.files)
                before = runs[key].left if key in runs else self.finished[key].left
                runs[key] = NodeRun(entry.node, "done", entry.scope, "before the run was cut off", left=before + left)
        return runs


def replay(records: list[Record], graph: Hydrated, where: str) -> Replay:
    """Fold the records. Raises JournalError when there is no beginning: nothing had been done then."""
    if not records or not isinstance(records[0], Begun):
        raise JournalError.of("the journal has no beginning", where=where, why="nothing had been done yet")
    found = Replay(records[0], records[0].boot_id, RecoveryStack(), {}, frozenset(), None, None)
    settled: set[str] = set()
    compensates = {phase.id: phase.compensate for phase in graph.order.phases}
    for record in records:
        if isinstance(record, Intent):
            if record.node >= len(graph.bound):
                raise JournalError.of("the journal belongs to another order", where=where)
            found.stack.begun.add(found.stack.push(record))
            found.finished.pop((record.node, record.scope), None)
        elif isinstance(record, Finished):
            found.finished[record.node, record.scope] = record
        elif isinstance(record, PhaseEnded):
            settled.add(record.phase)
            if compensates.get(record.phase):
                found.stack.push(PhaseMark(record.phase, compensates[record.phase]))
        elif isinstance(record, Compensated) and record.status == "done":
            found.stack.compensated.add(record.phase)
        elif isinstance(record, Undone) and record.status != "failed":  # what failed then is tried again
            found.stack.undone.add(record.intent)
        elif isinstance(record, Unwinding):
            found.unwinding = record.why
        elif isinstance(record, Resumed):
            found.boot_id = record.boot_id
        elif isinstance(record, Ended):
            found.ended = record.state
    found.settled = frozenset(settled)
    return found


def crash_window(found: Replay, boot_id: str, boot_time_ns: int, now_ns: int, *, assume: bool) -> CrashWindow | None:
    """When files may have been torn: None if the machine has been up since the run was cut off.

    `assume` is for what the boot id cannot tell: a restored disk image or snapshot.
    """
    if found.boot_id == boot_id and not assume:
        return None
    started = datetime.fromisoformat(found.begun.started)
    end = now_ns if found.boot_id == boot_id else boot_time_ns
    return CrashWindow(int(started.timestamp()) * 1_000_000_000, end)
