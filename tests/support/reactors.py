"""A reactor over a store that a test can hold up, break, and let go on."""

import asyncio
import threading
from collections import Counter
from contextlib import asynccontextmanager

from requisition.schemas.diagnostic import Failed
from requisition.services.clock import Clock
from requisition.services.fleet import events
from requisition.services.fleet.applier import Applier
from requisition.services.fleet.reactor import Reactor
from requisition.services.fleet.rollout import Tip
from requisition.services.fleet.store import Clerk
from requisition.services.fleet.store_sqlite import SqliteStore
from support.fleets import START, made

ROLLOUT = made([["a", "b"]])


async def until(condition):
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.001)


class Store(SqliteStore):
    """One whose transactions can be held up (`gate`) or made to fail, in turn (`fails`)."""

    def __init__(self, path):
        super().__init__(path)
        self.gate = threading.Event()
        self.gate.set()
        self.arrived = threading.Event()
        self.fails: list[bool] = []

    def transaction(self, seat):
        self.arrived.set()
        assert self.gate.wait(30)
        if self.fails and self.fails.pop(0):
            raise Failed.of("the disk is full")
        return super().transaction(seat)


class Rig:
    """A reactor over a store in a file. Time stands; a tick is when the test says so."""

    def __init__(self, folder, waiting=64):
        self.store = Store(str(folder / "fleet.db"))
        seat = self.store.sit(self.store.seat(), "test")
        self.now = START / 1000
        self.told, self.counts = [], Counter()
        self.clerk = Clerk(self.store)
        self.ticks, self.idle = asyncio.Queue(), asyncio.Event()

        def tell(level, text):
            self.told.append(text)

        async def wait(_seconds):
            self.idle.set()
            await self.ticks.get()

        clock = Clock(now=lambda: self.now)
        applier = Applier(seat.number, tell, self.counts)
        self.reactor = Reactor(self.clerk, applier, self.read, tell, clock, wait, waiting)

    @staticmethod
    def read(data):
        if data != ROLLOUT.id.encode():
            raise Failed.of("not a rollout")
        return ROLLOUT

    async def enroll(self, *names):
        for name in names:
            await self.reactor.take(events.Noted(events.Enrolled(name, "s", "")))

    async def publish(self, serial=1, signed_at=START, signed=b"tip"):
        tip = Tip(fleet="home", channel="web", serial=serial, rollout=ROLLOUT.id, signed_at=signed_at)
        return await self.reactor.publish(ROLLOUT, ROLLOUT.id.encode(), tip, signed)

    async def check_in(self, name, *reports, takes_work=False):
        word = events.Heartbeat(host=name, stream="s", seq=max((one.seq for one in reports), default=0))
        return await self.reactor.check_in(word, reports, takes_work=takes_work)

    async def held_up(self, *names):
        """The first is at the disk, the others wait behind it."""
        self.store.gate.clear()
        self.store.arrived.clear()
        asking = [asyncio.create_task(self.enroll(names[0]))]
        await asyncio.to_thread(self.store.arrived.wait)
        asking += [asyncio.create_task(self.enroll(name)) for name in names[1:]]
        await until(lambda: self.reactor._log.qsize() == len(names) - 1)
        return asking

    def on_disk(self):
        return [host.name for host in self.store.load().hosts]


@asynccontextmanager
async def running(folder, waiting=64):
    rig = Rig(folder, waiting)
    task = asyncio.create_task(rig.reactor.run())
    try:
        async with asyncio.timeout(60):
            await rig.idle.wait()
            yield rig
    finally:
        rig.store.gate.set()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        rig.clerk.close()
