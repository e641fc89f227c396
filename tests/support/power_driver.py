"""Cuts the power of an apply after each of its syncs and renames, and checks what recovery makes of it.

The state directory and the target root lie on an ext4 image. The runtime is stopped after every sync and
rename; what is in the image file then is what a disk would hold. It is copied, and later each copy is
mounted in the same place and recovered as after a power loss. `commit=300` keeps ext4 from syncing by
itself in between. Wants root and a mount namespace of its own:

    unshare -m python -m support.power_driver FOLDER [MOUNT OPTION | without-syncfs]

prints one JSON object: how many cuts there were, and what went wrong.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from requisition.runtime import host, store
from support.fault_driver import Trial
from support.faults import Strace

DURABLE = "fsync,fdatasync,syncfs,rename,renameat,renameat2"
SIZE = 16 << 20


def run(*command: str | Path) -> None:
    subprocess.run(list(map(str, command)), check=True, capture_output=True)


class Disk:
    """One ext4 image that is mounted at one place."""

    def __init__(self, folder: Path, options: str):
        self.options = f"loop,commit=300{options and ',' + options}"
        self.image, self.mounted = folder / "disk.img", folder / "disk"
        self.mounted.mkdir(parents=True)
        with open(self.image, "wb") as file:
            file.truncate(SIZE)
        run("mkfs.ext4", "-q", "-F", "-E", "nodiscard", self.image)

    def mount(self) -> None:
        run("mount", "-o", self.options, self.image, self.mounted)

    def unmount(self) -> None:
        run("umount", self.mounted)

    def copy(self, path: Path) -> None:
        run("cp", "--sparse=always", self.image, path)


class Cutter(Strace):
    """Copies the disk whenever the traced runtime has just synced or renamed."""

    def __init__(self, disk: Disk, folder: Path, prepare):
        super().__init__("-e", f"trace={DURABLE}", "-e", f"inject={DURABLE}:signal=STOP")
        self.disk, self.folder, self._first = disk, folder, prepare
        self.cuts: list[Path] = []

    def prepare(self) -> None:
        self._first()
        super().prepare()

    def attend(self, child: int) -> None:
        super().attend(child)
        while True:
            event = os.waitid(os.P_PID, child, os.WEXITED | os.WSTOPPED | os.WNOWAIT)
            if event is None or event.si_code != os.CLD_STOPPED:
                return
            os.waitpid(child, os.WUNTRACED)
            cut = self.folder / f"cut{len(self.cuts)}"
            self.disk.copy(cut)
            self.cuts.append(cut)
            os.kill(child, signal.SIGCONT)


def forget_to_sync() -> None:
    """The mutant that the suite must notice."""
    host.syncfs = store.syncfs = lambda fd: None


class Lab:
    """The trial on a disk, its cuts, and recovery from each."""

    def __init__(self, folder: Path, prepare, options: str):
        self.disk = Disk(folder, options)
        self.disk.mount()
        self.trial = Trial(self.disk.mounted, 1)
        asked = self.trial.start()
        os.sync()
        cutter = Cutter(self.disk, folder, prepare)
        answer, _ = cutter.run(asked)
        assert answer.status == "done", answer.text + answer.stderr
        self.cuts = cutter.cuts
        self.disk.unmount()

    def recovered(self, number: int, way: str) -> list[str]:
        """What went wrong when the power was cut there and the run is then recovered this way."""
        run("cp", "--sparse=always", self.cuts[number], self.disk.image)
        self.disk.mount()
        try:
            trial, what = self.trial, f"{way} after cut {number} of {len(self.cuts)}"
            recover = trial.undone if way == "rollback" else trial.finished
            return recover(what, after_power_loss=True)
        finally:
            self.disk.unmount()


def main() -> None:
    folder, option = Path(sys.argv[1]), "".join(sys.argv[2:])
    mutant = option == "without-syncfs"
    lab = Lab(folder, forget_to_sync if mutant else lambda: None, "" if mutant else option)
    problems = []
    for number in range(len(lab.cuts)):
        for way in ("rollback", "resume"):
            problems += lab.recovered(number, way)
    print(json.dumps({"cuts": len(lab.cuts), "problems": problems}))


if __name__ == "__main__":
    main()
