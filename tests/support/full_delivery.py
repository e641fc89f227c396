"""Delivers on disks that are too small, and checks that nothing is lost and that it goes on once there is room.

Wants a mount namespace of its own:

    unshare -m python -m support.full_delivery FOLDER far|state

prints one JSON object: how many jobs met a full disk, and what went wrong.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from requisition.schemas.diagnostic import Failure
from support.deliveries import tree
from support.full_driver import mount
from support.rigs import CLEANING, Rig

ROOM = 16 << 20
FILES = {"small": b"small\n", "big": bytes(range(256)) * 8192}


def far(folder: Path) -> tuple[int, list[str]]:
    """The destination has no room: the job waits, then is delivered."""
    at = Rig(folder)
    mount(at.far, 1 << 20)
    job = at.enqueue(**FILES)
    at.work()
    row = at.queue.job(job.id)
    problems = [] if (row.state, row.error_kind) == ("queued", "disk_full_remote") else [f"full: {row}"]
    mount(at.far, ROOM, "remount")
    at.hands.pass_(60)
    at.work()
    if at.state(job) != "verified" or tree(at.far / "run") != tree(at.data / "run"):
        problems.append(f"with room: {at.queue.job(job.id)}")
    at.close()
    return 1, problems


def state(folder: Path) -> tuple[int, list[str]]:
    """The queue has less and less room: whatever could not be written down is done again."""
    met, problems = 0, []
    for spare in range(0, 400, 25):
        here = folder / str(spare)
        (here / "state").mkdir(parents=True)
        mount(here / "state", 2 << 20, "mode=0700")
        try:
            full, wrong = _with(here, spare << 10)
            met += full
            problems += [f"{spare} KiB: {one}" for one in wrong]
        finally:
            subprocess.run(["umount", str(here / "state")], check=True)
    return met, problems


def _with(here: Path, spare: int) -> tuple[bool, list[str]]:
    at = Rig(here, cleanup=CLEANING)
    job = at.enqueue(**FILES)
    before = tree(at.data / "run")
    filler = here / "state/filler"
    free = os.statvfs(here / "state").f_bavail * os.statvfs(here / "state").f_frsize
    filler.write_bytes(b"x" * max(0, free - spare))
    full = False
    for _ in range(4):
        try:
            at.work()
        except (Failure, OSError) as error:
            at.said.append(str(error))
        at.hands.pass_(86400.0)
    full = any("could not be" in one or "No space" in one for one in at.said) or at.queue.job(job.id).attempts > 0
    problems = []
    if tree(at.data / "run") != before and tree(at.far / "run") != before:
        problems.append("lost")
    filler.unlink()
    for _ in range(6):
        at.hands.pass_(86400.0)
        at.work()
    if at.state(job) != "cleaned" or tree(at.far / "run") != before:
        problems.append(f"with room: {at.queue.job(job.id)} {at.said}")
    at.close()
    return full, problems


if __name__ == "__main__":
    met, problems = {"far": far, "state": state}[sys.argv[2]](Path(sys.argv[1]))
    print(json.dumps({"met": met, "problems": problems}))
