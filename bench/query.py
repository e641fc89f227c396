"""Questions to an order of 100,000 nodes and 198,000 edges: what `plan query` costs beyond loading the order.

    python bench/query.py [--nodes 100000] [--rounds 5]

Each figure is the median processor time of a fresh interpreter after the order was decoded: building the view, parsing
(with the import of Lark and its grammar), walking, and forming the lines. It waits for nothing else, so that a person
waits as long where the processor is free. Loading is printed beside it.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

QUERIES = (
    "deps(/d/99999)",
    "rdeps(/d/0)",
    "somepath(/d/99999, /d/0)",
    "allpaths(/d/99999, /d/50)",
    'kind("file.*") intersect phase(install)',
    "attr(mode, 060?)",
    'location("lib.star")',
    "*/install/* except /d/9*",
    "critical_path()",
    "levels()",
    "roots() union leaves()",
    "critical_path(deps(/d/99999) except kind(shell.exec))",
)
TARGET = 0.3


def one(path: str, query: str) -> tuple[float, float]:
    """Seconds to load, and to answer."""
    from requisition.schemas import orderfile

    start = time.process_time()
    document = orderfile.decode(orderfile.read(path))
    loaded = time.process_time()
    from requisition.review.answer import answer
    from requisition.review.values import visible_lines

    found, view = answer(query, document)
    lines = "\n\n".join(visible_lines([view.ids[number] for number in group]) for group in found.told)
    if not lines:
        raise SystemExit(f"{query} found nothing")
    return loaded - start, time.process_time() - loaded


def measured(path: str, query: str) -> tuple[float, float]:
    """The same in an interpreter of its own, as a command is."""
    words = [sys.executable, __file__, "--one", path, query]
    load, ask = subprocess.run(words, capture_output=True, check=True, text=True).stdout.split()
    return float(load), float(ask)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(*one(*options.one))
        return
    from requisition.schemas import orderfile
    from support.graphs import wide

    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/wide.plan"
        orderfile.write(path, orderfile.seal(wide(options.nodes)))
        loads, worst = [], 0.0
        for query in QUERIES:
            rounds = [measured(path, query) for _ in range(options.rounds)]
            loads += [load for load, _ in rounds]
            median = statistics.median(ask for _, ask in rounds)
            worst = max(worst, median)
            print(f"  {query:56} {median * 1000:6.0f} ms")
    print(f"load {statistics.median(loads) * 1000:.0f} ms")
    print(f"slowest query {worst * 1000:.0f} ms (target {TARGET * 1000:.0f})")


if __name__ == "__main__":
    main()
