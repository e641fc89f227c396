"""The benchmark: every stage of an order's life against what is done by hand, side by side in one run.

    python bench/run.py [--nodes 1000 10000 100000] [--rounds 5] [--folder DIR]

Each round makes everything anew and takes the stages in turn, ours and the reference's one after the other,
so that a ratio compares neighbours in time. Printed are medians in µs a node. `apply` is the whole request
to a warm process (imports are start-up, no cost of a node); the reference loop is timed inside its process too.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from workload import tree_digest, write_package

HERE = Path(__file__).parent
STAGES = ("build", "sign", "verify+load", "apply", "again", "1 % changed", "rollback")
REFERENCES = ("loop", "cp -a", "rsync -a")
TARGETS = (
    ("apply", "loop", 1.3),
    ("apply", "cp -a", 2.0),
    ("again", "rsync -a", 1.2),
    ("rollback", "apply", 1.0),
)


def stage(*arguments: str) -> dict[str, float]:
    """Run one stage in a process of its own; it prints seconds and peak memory as JSON."""
    done = subprocess.run([sys.executable, str(HERE / "stages.py"), *arguments], capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr.decode())
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def settle() -> None:
    """Nothing that an earlier stage left unwritten may be charged to the next one."""
    os.sync()


def timed(*command: str) -> float:
    settle()
    start = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - start


def one_round(folder: Path, count: int) -> tuple[dict[str, float], dict[str, float]]:
    """(seconds by stage, peak KiB by stage)."""
    package, changed = folder / "package", folder / "changed"
    items = write_package(package, count)
    write_package(changed, count, changed=max(1, count // 100))
    seconds: dict[str, float] = {}
    peaks: dict[str, float] = {}

    def run(name: str, *arguments: str) -> None:
        settle()
        found = stage(*arguments)
        seconds[name], peaks[name] = found["seconds"], found["peak_kib"]

    root, order = folder / "root", folder / "order.plan"
    root.mkdir()
    run("build", "build", str(package), str(order), str(root))
    run("sign", "sign", str(order))
    run("verify+load", "load", str(order))
    settle()
    (folder / "loop").mkdir()
    run("loop", "loop", str(package), str(folder / "loop"), str(count))
    run("apply", "apply", str(order), str(package), str(folder / "state"))
    if tree_digest(root) != tree_digest(folder / "loop"):
        raise SystemExit("the reference loop and the order made different trees")
    seconds["cp -a"] = timed("cp", "-a", str(root), str(folder / "cp"))
    run("again", "apply", str(order), str(package), str(folder / "state"))
    seconds["rsync -a"] = timed("rsync", "-a", f"{root}/", f"{folder / 'cp'}/")
    second = folder / "second.plan"
    stage("build", str(changed), str(second), str(root))
    stage("sign", str(second))
    run("1 % changed", "apply", str(second), str(changed), str(folder / "state"))
    stage("rollback", str(folder / "state"))
    run("rollback", "rollback", str(folder / "state"))
    if any(root.iterdir()):
        raise SystemExit("rollback left something")
    del items
    return seconds, peaks


def report(count: int, rounds: list[tuple[dict[str, float], dict[str, float]]], base_kib: float) -> None:
    print(f"\n{count:,} nodes, median of {len(rounds)} rounds")
    print(f"  {'stage':<14}{'µs/node':>9}{'min':>8}{'max':>8}{'KiB/node':>10}")
    for name in (*STAGES, *REFERENCES):
        values = [found[name] * 1e6 / count for found, _ in rounds]
        peak = [memory[name] for _, memory in rounds if name in memory]
        memory = f"{max(0, statistics.median(peak) - base_kib) / count:10.2f}" if peak else ""
        print(f"  {name:<14}{statistics.median(values):>9.1f}{min(values):>8.1f}{max(values):>8.1f}{memory}")
    for ours, other, target in TARGETS:
        ratios = [found[ours] / found[other] for found, _ in rounds]
        verdict = "met" if statistics.median(ratios) <= target else "MISSED"
        print(f"  {ours} / {other}: {statistics.median(ratios):.2f} (target {target}) {verdict}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--nodes", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", help="where to work; by default the temporary folder")
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    base = stage("idle")["peak_kib"]
    for count in options.nodes:
        rounds = []
        for _ in range(options.rounds):
            folder = Path(tempfile.mkdtemp(prefix="bench-", dir=options.folder))
            try:
                rounds.append(one_round(folder, count))
            finally:
                shutil.rmtree(folder)
        report(count, rounds, base)


if __name__ == "__main__":
    main()
