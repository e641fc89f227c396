"""The walk and the sync of a tree of packages against a shell loop that clones the same repositories, side by side.

    python bench/walk.py [--packages 200] [--jobs 8] [--rounds 3] [--folder DIR]

The tree has three levels, its remotes are bare repositories on this machine; each package installs five files, which
the loop copies with cp. Each round takes ours and the loop's one
after the other, so that a ratio compares neighbours in time; printed are medians in seconds, and the ratios.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from requisition.tree.walk import WalkOptions, walk
from support.forest import BareRemote, generated


def loop(remotes: list[BareRemote], jobs: int, *command: str, into: Path | None = None) -> float:
    """Seconds of `xargs -P jobs`, one git process a remote."""
    lines = "".join(f"{one.url} {into / one.folder.name}\n" if into else f"{one.url}\n" for one in remotes)
    start = time.perf_counter()
    subprocess.run(
        ["xargs", "-P", str(jobs), "-L1", *command], input=lines.encode(), check=True, stdout=subprocess.DEVNULL
    )
    return time.perf_counter() - start


def copied(clones: Path, into: Path, jobs: int) -> float:
    """Seconds of `xargs -P jobs cp`, one process a package, for the files that the packages install."""
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir()
    lines = "".join(f"{one}/files {into / one.name}\n" for one in clones.iterdir())
    start = time.perf_counter()
    subprocess.run(["xargs", "-P", str(jobs), "-L1", "cp", "-r"], input=lines.encode(), check=True)
    return time.perf_counter() - start


def walked(root: Path, cache: Path, jobs: int, *update: str) -> tuple[float, int]:
    """Seconds of a walk, and how often it asked a remote."""
    start = time.perf_counter()
    found = walk(str(root), WalkOptions(jobs=jobs, cache=str(cache), update=update), say=lambda _: None)
    took = time.perf_counter() - start
    if found.problems:
        raise SystemExit("\n".join(str(one) for one in found.problems[:3]))
    return took, found.fetched


def synced(folder: Path, root: Path, jobs: int) -> float:
    """Seconds of `plan sync` as a process."""
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "XDG_CACHE_HOME": str(folder / "sync-cache"),
        "REQUISITION_STATE": str(folder / "state"),
    }
    words = ["sync", "--allow-unsigned", "--yes", "--quiet", "--jobs", str(jobs), "--root", str(folder / "target")]
    start = time.perf_counter()
    subprocess.run([f"{os.path.dirname(sys.executable)}/plan", *words], cwd=root, env=env, check=True)
    return time.perf_counter() - start


def begin_anew(folder: Path, root: Path) -> None:
    for one in ("cache", "clones", "sync-cache", "state", "target", "root/vendor", "root/.plan"):
        shutil.rmtree(folder / one, ignore_errors=True)
    (root / "plan.lock").unlink(missing_ok=True)
    (folder / "clones").mkdir()
    (folder / "target").mkdir()


def one_round(folder: Path, root: Path, remotes: list[BareRemote], jobs: int) -> dict[str, float]:
    cache, clones = folder / "cache", folder / "clones"
    begin_anew(folder, root)
    times = {"clone loop": loop(remotes, jobs, "git", "clone", "-q", "--depth", "1", into=clones)}
    times["first walk"], _ = walked(root, cache, jobs)
    times["second walk"], asked = walked(root, cache, jobs)
    if asked:
        raise SystemExit(f"the second walk asked {asked} remotes")
    remotes[0].commit({"files/0.conf": f"{time.time_ns()}\n"})
    times["ls-remote loop"] = loop(remotes, jobs, "git", "ls-remote")
    times["update of all, one changed"], _ = walked(root, cache, jobs, "*")
    begin_anew(folder, root)
    times["clone loop and cp"] = loop(remotes, jobs, "git", "clone", "-q", "--depth", "1", into=clones)
    times["clone loop and cp"] += copied(clones, folder / "copies", jobs)
    times["first sync"] = synced(folder, root, jobs)
    times["second sync"] = synced(folder, root, jobs)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packages", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", help="where to work; by default a temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        root, remotes = generated(folder, options.packages)
        rounds = [one_round(folder, root, remotes, options.jobs) for _ in range(options.rounds)]
    medians = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
    print(f"{options.packages} packages, {options.jobs} jobs, median of {options.rounds}")
    for name, seconds in medians.items():
        print(f"  {name:28} {seconds:8.2f} s")
    for ours, theirs, target in (
        ("first walk", "clone loop", 1.3),
        ("first sync", "clone loop and cp", 1.3),
        ("update of all, one changed", "ls-remote loop", 1.5),
    ):
        ratio = statistics.median(one[ours] / one[theirs] for one in rounds)
        print(f"  {ours} / {theirs}: {ratio:.2f} (target {target})")


if __name__ == "__main__":
    main()
