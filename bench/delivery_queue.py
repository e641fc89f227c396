"""How long a worker takes to pick the next of 100,000 queued jobs, beside a queue of 100, a look-up of one row and the
smallest write; and how long a push that is cancelled goes on.

Run: .venv/bin/python bench/delivery_queue.py [jobs]
"""

import asyncio
import itertools
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable

from requisition.services.delivery import verbs
from requisition.services.delivery.choose import transport_for
from requisition.services.delivery.config import Bandwidth, Delivery, Destination
from requisition.services.delivery.job import Job
from requisition.services.delivery.queue import Queue
from requisition.services.delivery.states import State
from requisition.services.delivery.worker import Worker

DESTINATIONS = tuple(f"store{number}" for number in range(8))
ROOM = dict.fromkeys(DESTINATIONS, 4)
ROUNDS = 400


def main(jobs: int) -> None:
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as folder:
        print("milliseconds: median and 99th of 100")
        for count in (100, jobs):
            queue = Queue(os.path.join(folder, f"{count}.db"))
            fill(queue, count)
            picking(queue, count)
            queue.close()
        told("a cancelled push is ended and written down", asyncio.run(cancelling(folder)))


def picking(queue: Queue, count: int) -> None:
    with queue.transaction() as rows:
        picked = times(
            lambda: queue.pick(rows, "bench", ROOM),
            lambda job: queue.left(rows, job, State.QUEUED, "bench", 0.0),
        )
        looked = times(lambda: rows.execute("SELECT * FROM jobs WHERE number = ?", (count,)).fetchone())
    told(f"{count} jobs: look up one row", looked)
    told(f"{count} jobs: pick and lease the next", picked)
    claimed = times(lambda: queue.claim("bench", ROOM), lambda job: queue.leave(job, State.QUEUED, "bench", 0.0))
    names = itertools.cycle(DESTINATIONS)
    told(f"{count} jobs: the smallest durable write", times(lambda: write(queue, next(names))))
    told(f"{count} jobs: pick and lease, durably", claimed)


def fill(queue: Queue, jobs: int) -> None:
    with queue.transaction() as rows:
        rows.executemany(
            "INSERT INTO jobs (id, source, destination, target, state, enqueued_at, changed_at, due)"
            " VALUES (?, ?, ?, ?, ?, 0, 0, 0)",
            (
                (f"{one:016x}", f"/data/{one}", DESTINATIONS[one % len(DESTINATIONS)], f"{one}", State.QUEUED)
                for one in range(jobs)
            ),
        )


def write(queue: Queue, destination: str) -> None:
    with queue.transaction() as rows:
        rows.execute("INSERT OR REPLACE INTO pauses VALUES (?, '', 0, '')", (destination,))


async def cancelling(folder: str) -> list[float]:
    """A file that would take minutes at the speed that is allowed, cancelled while it moves."""
    source, far = os.path.join(folder, "source"), os.path.join(folder, "far")
    for path in (source, far):
        os.mkdir(path)
    with open(os.path.join(source, "big"), "wb") as file:
        file.truncate(64 << 20)
    place = Destination("far", "local", path=far, bandwidth=Bandwidth(256 << 10))
    queue = Queue(os.path.join(folder, "cancel.db"))
    worker = Worker(queue, Delivery((source,), {"far": place}), folder, transport_for, random.random, print)
    running = asyncio.ensure_future(worker.run())
    found = []
    for number in range(10):
        job, _ = queue.enqueue(source, "far", f"run{number}", "bench")
        while job.id not in worker.progress():
            await asyncio.sleep(0.005)
        begun = time.perf_counter()
        verbs.cancel(queue, job.id, "bench", "to see how long it takes")
        while queue.job(job.id).state is not State.CANCELLED:
            await asyncio.sleep(0.002)
        found.append((time.perf_counter() - begun) * 1000)
    worker.stop()
    await running
    queue.close()
    return found


def times(work: Callable[[], object], undo: Callable[[Job], object] | None = None) -> list[float]:
    found = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        result = work()
        found.append((time.perf_counter() - begun) * 1000)
        if undo is not None:
            assert isinstance(result, Job)
            undo(result)
    return found


def told(label: str, found: list[float]) -> None:
    print(f"{label:45} {statistics.median(found):9.3f} {sorted(found)[int(len(found) * 0.99)]:9.3f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
