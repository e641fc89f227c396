"""How `plan watch` does with many repositories, some of which never answer, and some whose pipeline hangs.

    python bench/watch.py [--repos 500] [--silent 20] [--hanging 5] [--pushes 10] [--interval 30] [--cycles 1000]

All repositories are on this machine. Printed are, in seconds, how long a commit took from its push to being good, as a
share of the interval, too; how long the socket took to answer; and the daemon's memory in MiB over so many cycles.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from support.watch_scale import memory, scale


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in {
        "repos": 500,
        "silent": 20,
        "hanging": 5,
        "pushes": 10,
        "interval": 30,
        "cycles": 1000,
    }.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    given = vars(parser.parse_args())
    cycles = given.pop("cycles")
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(scale(Path(folder), **given))
    worst, usual = max(found.applied), statistics.median(found.applied)
    print(f"push to good      median {usual:.1f} s, worst {worst:.1f} s: {worst / given['interval']:.2f} intervals")
    print(f"socket            median {found.answered(0.5) * 1000:.1f} ms, p99 {found.answered(0.99) * 1000:.1f} ms,"
          f" worst {max(found.answers) * 1000:.1f} ms, {len(found.answers)} answers")  # fmt: skip
    print(f"remotes           {found.asked} questions in {found.seconds:.0f} s, {found.failed} without an answer")
    if cycles:
        with tempfile.TemporaryDirectory() as folder:
            kept = asyncio.run(memory(Path(folder), repos=5, cycles=cycles))
        print(
            f"memory            {' '.join(f'{one / 1024:.1f}' for one in kept)} MiB, each after {cycles // 10} cycles"
        )


if __name__ == "__main__":
    main()
