"""Locks that the kernel drops with their last holder: this process, and the git processes that inherit them."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from requisition.stdlib.action import ActionError, Cancelled
from requisition.tree.git import Control

_PAUSE = 0.02


@contextmanager
def held(path: str, what: str, control: Control) -> Iterator[int]:
    """Hold the lock for a block; its descriptor. Waits for others, also for git processes of a killed walk, as long
    as `control` allows. Raises ActionError when they take longer, Cancelled when stopped."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        deadline = time.monotonic() + control.timeout_ms / 1000
        while not _taken(fd):
            if control.cancelled():
                raise Cancelled("the walk is being stopped")
            if time.monotonic() > deadline:
                raise ActionError(f"{what} is in use by another process", "wait until it is done, then try again")
            time.sleep(_PAUSE)
        yield fd
    finally:
        os.close(fd)


def _taken(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
