"""Runs an apply on a disk with less and less room, and checks that it is told and harmless.

The state directory, or all there is, lies on a tmpfs of 4 KiB more each time, until the run fits. Wants a mount
namespace of its own:

    unshare -m python -m support.full_driver FOLDER all|state

prints one JSON object: how many sizes failed, and what went wrong.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from support.crash_driver import in_child
from support.fault_driver import Trial, difference
from support.small_order import small_order
from support.trees import snapshot

PAGE = 4096
ROOM = 8 << 20
TOLD = ("No space left", "not enough space")


def mount(folder: Path, size: int, *options: str) -> None:
    options = ",".join([f"size={size}", *options])
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)


def attempt(trial: Trial, only_state: bool, spare: int) -> tuple[bool, list[str]]:
    """(whether it fitted, what went wrong) with this much room beyond what is there at the start."""
    asked = trial.start()
    full = trial.state if only_state else trial.folder
    if only_state:
        full.mkdir(mode=0o700)
    else:
        shutil.rmtree(full)
        full.mkdir()
    mount(full, ROOM, "mode=0700")
    try:
        if not only_state:
            small_order(trial.folder)
        used = sum(path.lstat().st_blocks * 512 for path in full.rglob("*"))
        mount(full, used + spare, "remount")
        answer, _ = in_child(asked)
        what = f"with {spare} bytes of room"
        if answer.status == "done":
            return True, difference(snapshot(trial.root, times=False), trial.after, what)
        problems = []
        if "Traceback" in answer.stderr or not any(words in answer.text for words in TOLD):
            problems.append(f"{what}: {answer.status}: {answer.text[-500:]} {answer.stderr[-900:]}")
        mount(full, ROOM, "remount")
        return False, problems + trial.undone(what)
    finally:
        subprocess.run(["umount", str(full)], check=True)


def main() -> None:
    folder, only_state = Path(sys.argv[1]), sys.argv[2] == "state"
    folder.mkdir(parents=True, exist_ok=True)
    trial = Trial(folder, 1)
    problems: list[str] = []
    failed = 0
    for pages in range(1, ROOM // PAGE):
        fitted, found = attempt(trial, only_state, pages * PAGE)
        problems += found
        if fitted:
            break
        failed += 1
    print(json.dumps({"failed": failed, "problems": problems}))


if __name__ == "__main__":
    main()
