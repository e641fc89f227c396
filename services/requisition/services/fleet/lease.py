"""Who plans: one server has the seat and shows that it lives; another takes it when it has not shown that for a while.

Nobody's wall clock is compared with anybody else's. A standby looks at the seat and measures, by its own clock that
only goes forward, for how long it stayed as it is. That a holder which was merely slow writes nothing more is not up to
time at all: the number of the seat grew, and every transaction names it (`store.Fenced`).
"""

import asyncio
from collections.abc import Awaitable, Callable

from msgspec import Struct

from requisition.schemas.diagnostic import Failed
from requisition.services.clock import Clock
from requisition.services.fleet.applier import Tell
from requisition.services.fleet.store import Clerk, Fenced, Seat

SPAN = 15.0
"""Seconds without a sign of life after which the seat may be taken; it is given three times as often."""


class Sight(Struct, frozen=True):
    """A seat, and since when (`Clock.elapsed`) it was seen like that."""

    seat: Seat
    since: float


def look(before: Sight | None, seat: Seat, now: float) -> Sight:
    """What is known of the seat after another look at it."""
    return before if before is not None and before.seat == seat else Sight(seat, now)


def vacant(sight: Sight, now: float, span: float) -> bool:
    """Whether the seat may be taken: nobody has it, or who has it showed no life for `span`."""
    return not sight.seat.holder or now - sight.since >= span


class Lease:
    """The seat, as one server sees it. `holder`: its name for the others to read, such as its address."""

    def __init__(
        self,
        clerk: Clerk,
        holder: str,
        tell: Tell,
        clock: Clock = Clock(),  # noqa: B008  (immutable)
        wait: Callable[[float], Awaitable[None]] = asyncio.sleep,
        span: float = SPAN,
    ) -> None:
        self._clerk, self._holder, self._tell = clerk, holder, tell
        self._clock, self._wait, self._span = clock, wait, span

    async def lead(self, work: Callable[[Seat], Awaitable[None]]) -> None:
        """Wait for the seat and work while it is held; wait again when it was lost. Ends when the work does."""
        while True:
            seat = await self.acquire()
            self._tell("info", f"{self._holder} plans now, as number {seat.number}")
            try:
                return await self._while_held(seat, work)
            except Fenced:
                self._tell("warning", f"{self._holder} plans no more; another server does")

    async def acquire(self) -> Seat:
        """Wait for the seat and take it."""
        sight: Sight | None = None
        while True:
            try:
                seat = await self._clerk.do(lambda store: store.seat())
                sight = look(sight, seat, self._clock.elapsed())
                if vacant(sight, self._clock.elapsed(), self._span):
                    mine = await self._clerk.do(lambda store: store.sit(seat, self._holder))  # noqa: B023
                    if mine is not None:
                        return mine
            except Failed as error:
                sight = None  # who cannot look cannot tell who lives
                self._tell("error", f"it cannot be seen who plans: {error}")
            await self._wait(self._span / 3)

    async def hold(self, seat: Seat) -> None:
        """Give signs of life. Raises Fenced when another server took the seat. While the store cannot be reached
        nothing can be written either, so that is no reason to stop."""
        while True:
            await self._wait(self._span / 3)
            try:
                again = await self._clerk.do(lambda store: store.beat(seat))  # noqa: B023
            except Failed as error:
                self._tell("error", f"no sign of life could be given: {error}")
                continue
            if again is None:
                now = await self._clerk.do(lambda store: store.seat())
                raise Fenced.of("another server plans", why=f"seat {now.number} is held by {now.holder or 'nobody'}")
            seat = again

    async def _while_held(self, seat: Seat, work: Callable[[Seat], Awaitable[None]]) -> None:
        tasks = [asyncio.ensure_future(self.hold(seat)), asyncio.ensure_future(work(seat))]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._leave(seat)

    async def _leave(self, seat: Seat) -> None:
        """Let the next one begin at once."""
        try:
            await self._clerk.do(lambda store: store.leave(seat))
        except Failed as error:
            self._tell("error", f"the seat could not be given up: {error}")
