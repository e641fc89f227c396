"""Faults at chosen system calls of a real runtime, given by strace: a signal, an error, or a mere record.

A child is attached to before it begins, so calls are counted from the runtime's first one. strace counts
each call name for each thread by itself: `when=3` of `mkdirat` is the third mkdirat of a thread.
"""

import os
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

from requisition.runtime.frames import Request
from support.crash_driver import in_child

MUTATING = (
    "openat,write,pwrite64,ftruncate,copy_file_range,sendfile,rename,renameat,renameat2,link,linkat,symlink,"
    "symlinkat,mkdir,mkdirat,rmdir,unlink,unlinkat,chmod,fchmod,fchmodat,chown,fchown,fchownat,lchown,"
    "utimensat,setxattr,fsetxattr,fsync,fdatasync,syncfs"
)
_CALL = re.compile(r"^(\d+) +(\w+)\(")


def available() -> str:
    """Why strace cannot be used here; empty when it can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    done = subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, check=False)
    return "" if done.returncode == 0 else "this user may not trace processes"


class Strace:
    """strace on one forked child: `prepare` holds the child until it is attached, `attend` attaches."""

    def __init__(self, *arguments: str, log: Path | str = "/dev/null"):
        self._arguments = ["strace", "-f", "-qq", "-s", "4096", "-o", str(log), *arguments]
        self._hold, self._release = os.pipe()

    def prepare(self) -> None:
        os.read(self._hold, 1)
        os.close(self._hold)
        os.close(self._release)

    def attend(self, child: int) -> None:
        arguments = [part for part in self._arguments if part != "-qq"]
        self.process = subprocess.Popen([*arguments, "-p", str(child)], stderr=subprocess.PIPE)
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        assert b"attached" in line, line
        os.write(self._release, b"x")

    def run(self, asked: Request):
        """(answer, died by a signal) of the runtime under strace."""
        try:
            return in_child(asked, self.prepare, self.attend)
        finally:
            os.close(self._hold)
            os.close(self._release)
            self.process.stderr.close()
            self.process.wait()


def recorded(asked: Request, log: Path) -> list[str]:
    """Every mutating call of one run, one line each, as strace prints them."""
    answer, _ = Strace("-y", "-e", f"trace={MUTATING}", log=log).run(asked)
    assert answer.status in ("done", "changes"), answer.text + answer.stderr
    return [line for line in log.read_text(errors="replace").splitlines() if _CALL.match(line)]


def positions(lines: list[str]) -> list[tuple[str, int]]:
    """(call, n) of each mutating call of a record, in its order. An open that makes nothing is left out."""
    counts: Counter[tuple[str, str]] = Counter()
    found: dict[tuple[str, int], None] = {}
    for line in lines:
        match = _CALL.match(line)
        assert match is not None
        thread, call = match.groups()
        counts[thread, call] += 1
        if call != "openat" or "O_CREAT" in line:
            found[call, counts[thread, call]] = None
    return list(found)


def killed_at(asked: Request, call: str, number: int):
    """(answer, killed) of a run that dies when it enters a call for the nth time."""
    return Strace("-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={number}").run(asked)


def failing_at(asked: Request, call: str, number: int, error: str, *, always: bool):
    """(answer, killed) of a run whose nth call of that name fails, and with `always` all later ones too."""
    when = f"{number}+" if always else str(number)
    return Strace("-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={when}").run(asked)
