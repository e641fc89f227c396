"""One process at a time changes a target root: an flock that the kernel drops with its holder.

The file tells who holds it, for the message of whoever finds it taken; being a lock and not a file that
exists, it cannot be left over by a killed process.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
from msgspec import Struct

from requisition.schemas.diagnostic import Conflicted


class Holder(Struct, frozen=True):
    """Who holds a lock."""

    pid: int
    user: int
    started: str
    what: str


class Locked(Conflicted):
    """Another run is changing this target root."""


@contextmanager
def hold(path: str, holder: Holder, target_root: str) -> Iterator[None]:
    """Hold the lock for a block. Raises Locked naming the holder."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _locked(os.pread(fd, 4096, 0), target_root) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, msgspec.json.encode(holder), 0)
        yield
        os.ftruncate(fd, 0)
    finally:
        os.close(fd)


def is_held(path: str) -> bool:
    """Whether a process holds the lock now. Changes nothing; a lock whose file says nothing is not even tried."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        if os.fstat(fd).st_size:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _locked(text: bytes, target_root: str) -> Locked:
    try:
        other = msgspec.json.decode(text, type=Holder)
        who = f"process {other.pid} of user {other.user} ({other.what}) since {other.started}"
    except ValueError:
        who = "another process"
    return Locked.of(
        f"{target_root} is being changed by {who}",
        next="wait until it is done, or look at that process",
    )
