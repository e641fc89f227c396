"""A queue, a folder to ship from and one to ship to, and a worker between them, on this machine and by a clock that
tests set. Faults are injected around the real transport."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import msgspec

from requisition.services.delivery.config import Cleanup, Delivery, Destination
from requisition.services.delivery.local import Local
from requisition.services.delivery.queue import Queue
from requisition.services.delivery.transport import Kind, TransportFailure
from requisition.services.delivery.worker import Worker
from support.queues import Hands

WITHIN = 30.0
Fault = Callable[..., Awaitable[None]]


class Faulty:
    """The real transport; `before` and `after` a method (stage, digests, publish, put, probe, discard), what a test
    wants to happen, each time it is called."""

    def __init__(self, real):
        self.real = real
        self.before: dict[str, Fault] = {}
        self.after: dict[str, Fault] = {}
        self.called: list[str] = []

    def __getattr__(self, name):
        method = getattr(self.real, name)

        async def call(*args):
            self.called.append(name)
            if name in self.before:
                await self.before[name](*args)
            result = await method(*args)
            if name in self.after:
                await self.after[name](*args)
            return result

        return call


def once(fault: Callable[..., None]) -> Fault:
    """Do it the first time only."""
    done: list[bool] = []

    async def call(*args):
        if not done:
            done.append(True)
            fault(*args)

    return call


def always(fault: Callable[..., None]) -> Fault:
    async def call(*args):
        fault(*args)

    return call


def failing(kind: Kind) -> Callable[..., None]:
    """A fault: the transport fails so."""

    def fail(*_):
        raise TransportFailure(kind, f"as if: {kind}")

    return fail


def forever(begun: list[bool]) -> Fault:
    """A fault: it has begun, and never ends."""

    async def wait(*_):
        begun.append(True)
        await asyncio.sleep(3600)

    return wait


class Rig:
    def __init__(self, folder: Path, **settings):
        self.folder = folder
        self.data, self.far = folder / "data", folder / "far"
        for one in (self.data, self.far):
            one.mkdir(exist_ok=True)
        self.hands = Hands()
        self.said: list[str] = []
        self.faults: dict[str, Faulty] = {}
        place = Destination("far", "local", path=str(self.far), workers=settings.pop("workers", 2))
        self.delivery = Delivery((str(self.data),), {"far": place}, **settings)
        self.queue = self.hands.queue(folder / "state")

    def close(self) -> None:
        self.queue.close()

    def configured(self, **changed) -> None:
        self.delivery = msgspec.structs.replace(self.delivery, **changed)

    def source(self, name: str = "run", **files: bytes) -> Path:
        path = self.data / name
        path.mkdir(parents=True, exist_ok=True)
        for one, content in (files or {"a.txt": b"one\n", "b.bin": bytes(range(256)) * 40}).items():
            (path / one).parent.mkdir(parents=True, exist_ok=True)
            (path / one).write_bytes(content)
        return path

    def enqueue(self, name: str = "run", to: str = "far", **files: bytes):
        return self.queue.enqueue(str(self.source(name, **files)), to, name, "alice")[0]

    def transport(self, destination: Destination):
        return self.faults.setdefault(destination.name, Faulty(self.real(destination)))

    def real(self, destination: Destination):
        return Local(destination, {"PATH": os.environ["PATH"], "LC_ALL": "C"})

    @property
    def fault(self) -> Faulty:
        return self.transport(self.delivery.destinations["far"])

    def worker(self, queue: Queue | None = None) -> Worker:
        state = str(self.folder / "state")
        return Worker(queue or self.queue, self.delivery, state, self.transport, lambda: 0.5, self.said.append)

    def work(self) -> None:
        """Until nothing is due."""
        asyncio.run(asyncio.wait_for(self.worker().run(until_idle=True), WITHIN))

    def meanwhile(self, doing: Callable[[Worker], Awaitable[None]]) -> None:
        """Do something beside a worker, then stop it."""

        async def both() -> None:
            worker = self.worker()
            running = asyncio.ensure_future(worker.run())
            try:
                await asyncio.wait_for(doing(worker), WITHIN)
            finally:
                worker.stop()
                await asyncio.wait_for(running, WITHIN)

        asyncio.run(both())

    async def until(self, holds: Callable[[], object]) -> None:
        """Wait for a condition, with a deadline."""
        deadline = time.monotonic() + WITHIN
        while not holds():
            assert time.monotonic() < deadline, "it never came to that"
            await asyncio.sleep(0.01)

    def state(self, job) -> str:
        return self.queue.job(job.id).state.value

    def story(self, job) -> list[str]:
        """The states it went through."""
        return [one.new for one in self.queue.history(job.id) if one.new != one.old]


@contextlib.contextmanager
def rig(folder: Path, **settings) -> Iterator[Rig]:
    made = Rig(folder, **settings)
    try:
        yield made
    finally:
        made.close()


CLEANING = Cleanup(enabled=True, passes=2, min_age=86400.0, interval=43200.0)


def main(folder: Path) -> None:
    """Work at the queue of a folder, by the real clock, until told to end."""
    at = Rig(folder)
    at.queue.close()
    at.queue = Queue(str(folder / "state/queue.db"))

    async def work() -> None:
        worker = at.worker()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
        await worker.run()

    asyncio.run(work())
    at.queue.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
