"""Which workers live: each holds a lock on a file of its own, which the kernel takes away with the process.

So the jobs of one that was killed are taken up at once, not only when their leases end.
"""

import contextlib
import fcntl
import os
import secrets
from typing import Self


class Owner:
    """One who works at the queue, for as long as it is entered. `name` says so in leases and histories."""

    def __init__(self, folder: str) -> None:
        self.name = f"worker-{os.getpid()}-{secrets.token_hex(4)}"
        self._path = os.path.join(folder, self.name)
        self._fd = -1

    def __enter__(self) -> Self:
        os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        return self

    def __exit__(self, *_: object) -> None:
        os.unlink(self._path)
        os.close(self._fd)


def dead(folder: str, name: str) -> bool:
    """Whether the owner of that name is no more."""
    try:
        fd = os.open(os.path.join(folder, name), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(folder, name))
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True
