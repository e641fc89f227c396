"""The lease: one plans, one takes over, and who was only slow writes nothing."""

import asyncio
from collections import Counter

import pytest

from requisition.schemas.diagnostic import Failed
from requisition.services.clock import Clock
from requisition.services.fleet import events
from requisition.services.fleet.applier import Applier
from requisition.services.fleet.events import Record
from requisition.services.fleet.lease import Lease, Sight, look, vacant
from requisition.services.fleet.reactor import NotTaken, Reactor
from requisition.services.fleet.store import Clerk, Fenced, Seat
from requisition.services.fleet.store_sqlite import SqliteStore
from support.fleets import START

SEAT = Seat(3, "one", 7)


def test_a_seat_that_stays_as_it_is_ages_and_a_sign_of_life_makes_it_young():
    first = look(None, SEAT, 100.0)
    assert look(first, SEAT, 109.0) == first == Sight(SEAT, 100.0)
    assert look(first, Seat(3, "one", 8), 109.0).since == 109.0


@pytest.mark.parametrize(("now", "free"), [(100.0, False), (114.9, False), (115.0, True), (900.0, True)])
def test_a_seat_is_vacant_after_a_span_without_life(now, free):
    assert vacant(Sight(SEAT, 100.0), now, 15.0) is free


def test_a_seat_that_was_given_up_is_vacant_at_once():
    assert vacant(Sight(Seat(3, "", 7), 100.0), 100.0, 15.0)


class Standby:
    """A server that wants the seat. It waits only when the test lets it (`go`), on a clock that the test turns."""

    def __init__(self, path, name):
        self.store = SqliteStore(path)
        self.clerk = Clerk(self.store)
        self.time, self.told = 0.0, []
        self.waits, self.turns = asyncio.Queue(), asyncio.Queue()
        self.seats, self.task = [], None
        self.lease = Lease(
            self.clerk, name, lambda _, text: self.told.append(text), Clock(elapsed=lambda: self.time), self.wait
        )

    async def wait(self, seconds):
        self.waits.put_nowait(seconds)
        await self.turns.get()

    async def work(self, seat):
        self.seats.append(seat.number)
        await asyncio.Event().wait()

    async def go(self, seconds=0.0):
        """Let it do what it does after a wait, until it waits again."""
        self.time += seconds
        if self.task is None:
            self.task = asyncio.create_task(self.lease.lead(self.work))
        else:
            self.turns.put_nowait(None)
        assert await asyncio.wait_for(self.waits.get(), 30) == 5.0

    async def end(self):
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
            self.task = None
        self.clerk.close()


def scenario(test):
    def run(tmp_path):
        asyncio.run(played(tmp_path))

    async def played(tmp_path):
        path = str(tmp_path / "fleet.db")
        one, other = Standby(path, "one"), Standby(path, "other")
        try:
            await test(one, other)
        finally:
            await one.end()
            await other.end()

    run.__name__ = test.__name__
    return run


@scenario
async def test_one_plans_and_the_other_waits_while_it_lives(one, other):
    await one.go()
    await other.go()
    for _ in range(6):
        await one.go(5)
        await other.go(5)
    assert (one.seats, other.seats) == ([1], [])


@scenario
async def test_a_standby_takes_over_from_one_that_is_silent_and_that_one_writes_no_more(one, other):
    await one.go()
    await other.go()
    for _ in range(3):
        await other.go(5)
    assert (one.seats, other.seats) == ([1], [2])
    event = events.Noted(events.Enrolled("a", "s", ""))
    with pytest.raises(Fenced), one.store.transaction(1) as transaction:
        transaction.append(Record(1, START, event))
    with other.store.transaction(2) as transaction:
        transaction.append(Record(1, START, event))


@scenario
async def test_who_was_silent_finds_that_another_one_plans_and_stands_by(one, other):
    await one.go()
    await other.go()
    for _ in range(3):
        await other.go(5)
    await one.go(20)
    assert "one plans no more; another server does" in one.told
    for _ in range(3):
        await one.go(5)
        await other.go(1)
    assert (one.seats, other.seats) == ([1], [2])


@scenario
async def test_who_ends_gives_the_seat_up_and_the_next_one_need_not_wait(one, other):
    await one.go()
    await other.go()
    one.task.cancel()
    await asyncio.gather(one.task, return_exceptions=True)
    await other.go(1)
    assert other.seats == [2]


@scenario
async def test_a_store_that_cannot_be_reached_for_a_while_costs_nobody_the_seat(one, other):
    await one.go()
    await other.go()

    def broken(*_):
        raise Failed.of("nobody is there")

    one.store.beat, other.store.seat = broken, broken
    for _ in range(9):
        await one.go(5)
        await other.go(5)
    one.store.leave = broken
    del one.store.beat, other.store.seat
    await one.go(5)
    await other.go(5)
    assert (one.seats, other.seats) == ([1], [])
    assert any("no sign of life" in text for text in one.told)
    assert any("cannot be seen who plans" in text for text in other.told)
    await one.end()
    assert any("could not be given up" in text for text in one.told)


@scenario
async def test_a_server_that_lost_the_seat_stands_by_and_its_state_goes_with_it(one, other):
    """Lease and reactor together: what the old one still had in hand is refused, and the new one begins from the disk."""

    async def reacts(standby, ready):
        async def work(seat):
            applier = Applier(seat.number, lambda *_: None, Counter())
            standby.reactor = Reactor(
                standby.clerk, applier, lambda _: None, lambda *_: None, wait=lambda _: asyncio.sleep(9)
            )
            ready.set()
            await standby.reactor.run()

        standby.work = work

    def enrolled(name):
        return events.Noted(events.Enrolled(name, "s", ""))

    ready = asyncio.Event(), asyncio.Event()
    await reacts(one, ready[0])
    await reacts(other, ready[1])
    await one.go()
    await ready[0].wait()
    await one.reactor.take(enrolled("a"))
    await other.go()
    for _ in range(3):
        await other.go(5)
    await ready[1].wait()
    with pytest.raises(NotTaken):
        await one.reactor.take(enrolled("b"))
    await other.reactor.take(enrolled("c"))
    assert sorted(other.reactor.fleet.hosts) == ["a", "c"]
    assert [record.number for record in other.store.log(0)] == [1, 2]
    assert await asyncio.wait_for(one.waits.get(), 30) == 5.0
    assert "one plans no more; another server does" in one.told


@scenario
async def test_it_ends_when_its_work_does(one, other):
    async def work(seat):
        other.seats.append(seat.number)

    await other.lease.lead(work)
    assert other.seats == [1]
    assert other.store.seat() == Seat(1, "", 0)
