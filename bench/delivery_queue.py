"""How long it takes to pick the next of 100,000 queued jobs, beside a plain look-up of one row in the same database.

Run: .venv/bin/python bench/delivery_queue.py [jobs]
"""

import itertools
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable

from requisition.services.delivery.queue import Queue
from requisition.services.delivery.states import State

DESTINATIONS = tuple(f"store{number}" for number in range(8))
ROUNDS = 500


def main(jobs: int) -> None:
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as folder:
        queue = Queue(os.path.join(folder, "queue.db"))
        fill(queue, jobs)
        room = dict.fromkeys(DESTINATIONS, jobs)
        names = itertools.cycle(DESTINATIONS)
        with queue.transaction() as rows:
            claimed = times(lambda: queue.pick(rows, "bench", room))
            looked = times(lambda: rows.execute("SELECT * FROM jobs WHERE number = ?", (jobs,)).fetchone())
        durable = times(lambda: queue.claim("bench", room))
        written = times(lambda: write(queue, next(names)))
        print(f"{jobs} jobs for {len(DESTINATIONS)} destinations; median and 99th of 100, in milliseconds")
        for label, found in (
            ("pick and lease the next job", claimed),
            ("  the same, on the disk (fsync) when it returns", durable),
            ("  smallest change on the disk, for comparison", written),
            ("look up one row, for comparison", looked),
        ):
            print(f"{label:50} {statistics.median(found):8.3f} {sorted(found)[int(len(found) * 0.99)]:8.3f}")
        queue.close()


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


def times(work: Callable[[], object]) -> list[float]:
    found = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        work()
        found.append((time.perf_counter() - begun) * 1000)
    return found


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
