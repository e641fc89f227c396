"""A server's heart: everything that happens comes in by one queue, and one task makes the next state of it.

    hosts, operators, ticks ──▶ inbox ──▶ mutator (`fold.apply`) ──▶ log ──▶ writer (`applier`) ──▶ answers
                                bounded                              bounded

The mutator runs ahead of the disk: while one transaction is written, what comes meanwhile is collected for the next.
The writer answers when a transaction is on the disk, and not before. Both queues are bounded: a slow disk holds the
mutator up, and that holds up whoever comes; nothing is dropped on the way. When a write fails, everybody behind it is
sent away to come again, and the mutator takes the state from the store anew.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from msgspec.structs import replace

from requisition.schemas.diagnostic import Failed, Failure
from requisition.services.clock import Clock
from requisition.services.fleet import effects, events
from requisition.services.fleet.actions import PlanAction
from requisition.services.fleet.applier import Applier, Change, Tell
from requisition.services.fleet.layout import Layout
from requisition.services.fleet.planner import plan_next
from requisition.services.fleet.rollout import Tip
from requisition.services.fleet.state import FleetState
from requisition.services.fleet.store import Clerk, Fenced, Paper, Saved, Store
from requisition.services.fleet.turn import Answer, Turn

WAITING = 1_024
"""Places in each queue: about what a disk that hesitates for a tenth of a second keeps waiting on a busy server."""
EVERY = 5.0
"""Seconds between two plans."""
_TOGETHER = 128
"""Entries of the log queue that are one transaction at most: a few milliseconds of writing."""
_SLICE = 32
"""Planned actions that are taken in at a time, so that hosts which ask meanwhile get their turn."""
_AGAIN = 1.0

T = TypeVar("T")


class NotTaken(Failed):
    """It was not written, and the state knows nothing of it. Come again."""


class _Asked(NamedTuple):
    """Something to do, and who waits for what it gives."""

    do: Callable[[Turn], Any]
    waiter: asyncio.Future[Any]


class _Made(NamedTuple):
    """What was done, in which run of the mutator; it is true when it is on the disk."""

    run: int
    fleet: FleetState
    changes: Sequence[Change]
    result: Any
    waiter: asyncio.Future[Any]


class Reactor:
    """The one mutator of a fleet, for as long as its seat is not taken by another server.

    `read` makes the layout of a rollout's document as it was received (and raises Failure for one that is none);
    `wait`: how the planner waits for its next tick."""

    def __init__(
        self,
        clerk: Clerk,
        applier: Applier,
        read: Callable[[bytes], Layout],
        tell: Tell,
        clock: Clock = Clock(),  # noqa: B008  (immutable)
        wait: Callable[[float], Awaitable[None]] = asyncio.sleep,
        waiting: int = WAITING,
    ) -> None:
        self._clerk, self._applier, self._read, self._tell = clerk, applier, read, tell
        self._clock, self._wait = clock, wait
        self._inbox: asyncio.Queue[_Asked] = asyncio.Queue(waiting)
        self._log: asyncio.Queue[_Made] = asyncio.Queue(waiting)
        self._ahead = FleetState()
        self._run = 0
        self._lag = False
        self._ended = False
        self._up_since = self._now()
        self.fleet = FleetState()
        """What is on the disk, for those who only look."""

    async def run(self) -> None:
        """Serve, until this is cancelled. Raises Fenced when another server took the seat."""
        try:
            await self._load()
            async with asyncio.TaskGroup() as group:
                for work in (self._mutate, self._write, self._tick):
                    group.create_task(work())
        except ExceptionGroup as group:
            fenced = group.subgroup(Fenced)
            raise group if fenced is None else fenced.exceptions[0] from None
        finally:
            self._ended = True
            self._send_away()

    # -- what others ask for; all of them wait until it is on the disk, and raise NotTaken when it will not be

    async def ask(self, do: Callable[[Turn], T]) -> T:
        """Whatever `do` makes of the state, in its turn."""
        if self._ended:
            raise _not_taken()
        waiter: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        await self._inbox.put(_Asked(do, waiter))
        if self._ended:  # it was put by one that had waited for a place, and the next one waits for it
            self._send_away()
        return await waiter

    async def take(self, event: events.Event) -> tuple[effects.Effect, ...]:
        """An event happens. Gives what is to be said to whoever sent it."""
        return await self.ask(lambda turn: turn.take(event).answers)

    async def check_in(self, word: events.Heartbeat, reports: Sequence[events.Report], *, takes_work: bool) -> Answer:
        """A host asks. That word and reports are its own was verified."""
        return await self.ask(lambda turn: turn.check_in(word, reports, takes_work=takes_work))

    async def publish(self, layout: Layout, document: bytes, tip: Tip, signed: bytes) -> bool:
        """A verified rollout and its verified tip, as they were received. Gives whether that is the channel's tip now;
        it is not when a newer one was there."""
        papers = (Paper.ROLLOUT, layout.id, document), (Paper.TIP, tip.channel, signed)
        return await self.ask(lambda turn: turn.publish(layout, tip, *papers))

    async def plan(self) -> int:
        """Do what the planner asks for now. Gives how many actions that were. They are taken in a few at a time; when
        one cannot be written, the others of the plan are not taken in either."""
        run, fleet = await self.ask(lambda turn: (turn.run, turn.fleet))
        actions = await asyncio.to_thread(plan_next, fleet, self._now())

        def do(few: Sequence[PlanAction]) -> Callable[[Turn], None]:
            def take(turn: Turn) -> None:
                if turn.run != run:
                    raise _not_taken()
                for action in few:
                    turn.take(events.Noted(events.Planned(action)))

            return take

        slices = [actions[at : at + _SLICE] for at in range(0, len(actions), _SLICE)]
        await asyncio.gather(*(self.ask(do(few)) for few in slices))
        return len(actions)

    # -- the tasks

    async def _mutate(self) -> None:
        while True:
            asked = await self._inbox.get()
            try:
                await self._made(asked)
            except BaseException:  # this ends, and it was in nobody's queue
                _refuse(asked.waiter)
                raise

    async def _made(self, asked: _Asked) -> None:
        """The next state, and into the queue of the log with it."""
        if self._lag:
            await self._load()
        turn = Turn(self._ahead, self._now(), self._run)
        try:
            result = asked.do(turn)
        except Exception as error:  # noqa: BLE001  (no event, however odd, ends the server; who sent it is told)
            _refuse(asked.waiter, error)
            return
        self._ahead = turn.fleet
        await self._log.put(_Made(turn.run, turn.fleet, turn.changes, result, asked.waiter))

    async def _write(self) -> None:
        while True:
            batch = [await self._log.get()]
            while len(batch) < _TOGETHER and not self._log.empty():
                batch.append(self._log.get_nowait())
            try:
                await self._written(batch)
            finally:
                for made in batch:
                    _refuse(made.waiter)

    async def _written(self, batch: Sequence[_Made]) -> None:
        """Write what was made, and answer. What was made of a state that never reached the disk is dropped."""
        valid = [made for made in batch if made.run == self._run]
        changes = [change for made in valid for change in made.changes]
        done = len(changes)
        if any(change.writes for change in changes):
            done = await self._clerk.do(lambda store: self._applier.commit(store, changes))
        if done < len(changes):
            self._run += 1
            self._lag = True
        for change in changes[:done]:
            self._applier.speak(change)
        for made in valid:
            if len(made.changes) > done:
                return
            done -= len(made.changes)
            self.fleet = made.fleet
            if not made.waiter.done():
                made.waiter.set_result(made.result)

    async def _tick(self) -> None:
        while True:
            try:
                await self.plan()
            except NotTaken:
                pass  # told and counted by the applier; what was planned is planned again
            except Exception as error:  # noqa: BLE001  (a defect of the planner stops no reports)
                self._applier.counts["plans_failed"] += 1
                self._tell("error", f"there is no plan: {error}")
            await self._wait(EVERY)

    async def _load(self) -> None:
        """Take the state from the store; until that can be read, nothing goes on."""

        def look(store: Store) -> tuple[Saved, dict[str, bytes]]:
            return store.load(), store.papers(Paper.ROLLOUT)

        while True:
            try:
                saved, papers = await self._clerk.do(look)
                break
            except Failed as error:
                self._applier.counts["loads_failed"] += 1
                self._tell("error", f"the fleet cannot be read: {error}")
                await self._wait(_AGAIN)
        fleet = saved.fleet(self._layouts(papers), self._up_since)
        self._ahead = replace(fleet, presence=self._ahead.presence)
        self.fleet, self._lag = self._ahead, False

    def _layouts(self, papers: dict[str, bytes]) -> dict[str, Layout]:
        found = {}
        for name, data in papers.items():
            try:
                found[name] = self._ahead.layouts.get(name) or self._read(data)
            except Failure as error:
                self._tell("error", f"the document of rollout {name} cannot be read: {error}")
        return found

    def _send_away(self) -> None:
        for queue in (self._log, self._inbox):
            while not queue.empty():
                _refuse(queue.get_nowait().waiter)

    def _now(self) -> int:
        return int(self._clock.now() * 1000)


def _not_taken() -> NotTaken:
    return NotTaken.of("this could not be written", next="come again")


def _refuse(waiter: asyncio.Future[Any], error: Exception | None = None) -> None:
    if not waiter.done():
        waiter.set_exception(error or _not_taken())
