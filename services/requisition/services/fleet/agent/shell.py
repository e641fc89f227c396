"""The one place where a host's state changes: what happened goes through the pure reducer, state and signed reports go
to the disk in one transaction, and then, only then, what has to be done is begun.

So a process that is killed anywhere goes on from what was saved: `Started` begins again whatever was under way.
Nothing here waits for what it begins; how that ends comes back as something that happened.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from requisition.schemas.diagnostic import Failed, Failure
from requisition.schemas.signing import Signer
from requisition.services.clock import Clock
from requisition.services.fleet import effects, sealed
from requisition.services.fleet.agent.fuse import Fuse, deadline_now, lit
from requisition.services.fleet.agent.orders import Orders
from requisition.services.fleet.agent.probes import Prober, Seer
from requisition.services.fleet.agent.spool import Saved, Spool
from requisition.services.fleet.agent_reducer import step
from requisition.services.fleet.agent_state import (
    AgentState,
    Joined,
    ProbeSeen,
    RollbackEnded,
    RunEnded,
    Said,
    Started,
    Tick,
)
from requisition.services.fleet.events import REPORT_TYPE, Report
from requisition.services.fleet.rollout import payload
from requisition.services.fleet.state import Phase

_AGAIN = 5.0
_LONGEST_REASON = 1000
_LONGEST_WAIT = 3600.0


class Shell:
    """A host. `news` is set when there is something to be sent; `counts` are its counters by name."""

    def __init__(
        self,
        spool: Spool,
        orders: Orders,
        signer: Signer,
        seer: Seer,
        clock: Clock,
        boot: str,
        say: Callable[[str], None],
    ) -> None:
        self.news = asyncio.Event()
        self.counts: Counter[str] = Counter()
        self._spool, self._orders, self._signer = spool, orders, signer
        self._clock, self._boot, self._say = clock, boot, say
        self._prober = Prober(seer.look, self.tell)
        self._turn = asyncio.Lock()
        self._state: AgentState | None = None
        self._fuse = Fuse()
        self._work: asyncio.Task[None] | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._closing = False
        self._ticks: set[asyncio.Task[None]] = set()

    @property
    def state(self) -> AgentState:
        """What the host knows of itself, as it was saved."""
        assert self._state is not None, "start() comes first"
        return self._state

    def at(self) -> int:
        """What the host's clock says, in milliseconds."""
        return int(self._clock.now() * 1000)

    async def start(self, stream: str) -> None:
        """Go on from what was saved; where nothing was, reports begin in `stream`."""
        saved = await self._spool.load()
        self._state, self._fuse = saved.state, saved.fuse
        if not saved.state.stream:
            await self.tell(Joined(stream))
        if saved.state.phase is Phase.RESTART and self._orders.awaits_restart():
            await self.tell(Tick())  # the agent was started again, but not the machine
            return
        try:
            standing = await self._orders.standing()
        except (Failure, OSError) as error:
            self._say(f"what stands here cannot be told: {error}")
            standing = ""
        await self.tell(Started(standing))

    async def tell(self, said: Said, *, heard: int = 0) -> None:
        """Something happened. `heard`: reports up to it need not be kept. Returns when that is on the disk, and what
        follows from it has begun; a disk that takes nothing is waited for."""
        said = _in_text(said)
        async with self._turn:
            while True:
                try:
                    found = await self._taken(said, heard)
                    break
                except Failed as failure:
                    self.counts["not_saved"] += 1
                    self._say(f"the state cannot be saved, to be tried again: {failure}")
                    await asyncio.sleep(_AGAIN)
            for effect in () if self._closing else found:
                self._do(effect)

    async def close(self) -> None:
        """End what is under way: a run takes back what it began, and is begun again at the next start."""
        self._closing = True
        if self._alarm is not None:
            self._alarm.cancel()
        await self._prober.close()
        under_way = [task for task in (self._work, *self._ticks) if task is not None]
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)

    async def settled(self) -> None:
        """Wait until no run, and none of what follows from one, is under way."""
        while self._work is not None and not self._work.done():
            await asyncio.wait([self._work])

    # -- what is saved

    async def _taken(self, said: Said, heard: int) -> tuple[effects.Effect, ...]:
        at, elapsed = self.at(), int(self._clock.elapsed() * 1000)
        agent = self.state
        agent = replace(agent, deadline=deadline_now(agent.deadline, self._fuse, at, self._boot, elapsed))
        new, found = step(agent, said, at)
        reports = [(one.seq, self._signed(one, new)) for one in found if isinstance(one, effects.EmitEvent)]
        saved = Saved(new, lit(new.deadline, at, self._boot, elapsed))
        anew = isinstance(said, Joined)
        if new != self._state or reports or heard or new.deadline:
            self.counts["reports_dropped"] += await self._spool.save(saved, reports, heard=heard, anew=anew)
        self._state, self._fuse = saved.state, saved.fuse
        return found

    def _signed(self, emitted: effects.EmitEvent, agent: AgentState) -> bytes:
        report = Report(host=agent.host, stream=agent.stream, seq=emitted.seq, at=emitted.at, event=emitted.event)
        return sealed.write(sealed.seal(REPORT_TYPE, payload(report), self._signer))

    # -- what is begun

    def _do(self, effect: effects.Effect) -> None:
        match effect:
            case effects.RunOrder(_, order):
                self._begin(lambda: self._orders.install(order), lambda why: _run_failed(order, why))
            case effects.TakeBack(_, order, prior):
                self._begin(lambda: self._orders.take_back(order, prior), lambda why: _rollback_failed(order, why))
            case effects.StopRun():
                if self._work is not None:
                    self._work.cancel()
            case effects.StartProbes(_, probes):
                self._prober.start(probes)
            case effects.StopProbes():
                self._prober.stop()
            case effects.EmitEvent():
                self.news.set()
            case effects.WakeAt(at):
                self._wake_at(at)
            case effects.Tell(level, text):
                self._say(f"{level}: {text}")
            case effects.CountUp(name):
                self.counts[name] += 1
            case _:
                self.counts["effects_dropped"] += 1
                self._say(f"error: {type(effect).__name__} is for a server; it is dropped")

    def _begin(self, work: Callable[[], Awaitable[Said]], failed: Callable[[str], Said]) -> None:
        self._work = asyncio.ensure_future(self._worked(self._work, work, failed))

    async def _worked(
        self, before: asyncio.Task[None] | None, work: Callable[[], Awaitable[Said]], failed: Callable[[str], Said]
    ) -> None:
        """Work after all that was begun before has ended, and tell how it went, whatever happens."""
        if before is not None:
            await asyncio.wait([before])
        try:
            said = await work()
        except Exception as error:  # noqa: BLE001  (a defect must not leave the host waiting for ever)
            said = failed(f"{type(error).__name__}: {error}"[:_LONGEST_REASON])
        await self.tell(said)

    def _wake_at(self, at: int) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        wait = min(max(0.0, (at - self.at()) / 1000), _LONGEST_WAIT)
        self._alarm = asyncio.get_running_loop().call_later(wait, self._tick)

    def _tick(self) -> None:
        task = asyncio.ensure_future(self.tell(Tick()))
        self._ticks.add(task)
        task.add_done_callback(self._ticks.discard)


def _in_text(said: Said) -> Said:
    """A reason may hold the name of a file that is no text; no document can hold that."""
    if isinstance(said, (RunEnded, RollbackEnded, ProbeSeen)):
        return said._replace(reason=said.reason.encode("utf-8", "backslashreplace").decode())
    return said


def _run_failed(order: str, reason: str) -> Said:
    """Nobody knows what it did, so there may be something to take back."""
    return RunEnded(ok=False, standing=order, exit_code=1, reason=reason)


def _rollback_failed(order: str, reason: str) -> Said:
    return RollbackEnded(ok=False, standing=order, exit_code=1, reason=reason)
