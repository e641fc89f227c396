"""One pipeline at a time for each watch, also when the daemon is killed: a lock that its programs inherit.

The kernel drops an flock with its last holder. A daemon that comes after a killed one waits for the programs of that
one, which were told to end with it (`processes.py`), and ends those that do not.
"""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

from requisition.schemas.diagnostic import Conflicted
from requisition.services.processes import kill_below

_PAUSE = 0.1


@asynccontextmanager
async def alone(path: str, patience: float, say: Callable[[str], None]) -> AsyncIterator[int]:
    """Hold the lock for a block; its descriptor, for children to inherit. Who holds it from before has `patience`
    seconds to end, and is killed then."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        loop = asyncio.get_running_loop()
        begun, told = loop.time(), False
        while not taken(fd):
            if not told:
                say("programs of an earlier service still work on it: waiting for them")
                told = True
            if loop.time() - begun > patience:
                for pid in await asyncio.to_thread(holders, path):
                    kill_below(pid)
            await asyncio.sleep(_PAUSE)
        yield fd
    finally:
        os.close(fd)


@contextmanager
def only_one(folder: str) -> Iterator[None]:
    """Hold the folder for a block: whoever else holds something in it is a program of a service that was killed."""
    fd = os.open(f"{folder}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        if not taken(fd):
            raise Conflicted.of("another service watches with this state already", where=folder, next="stop it first")
        yield
    finally:
        os.close(fd)


def holders(path: str) -> list[int]:
    """Other processes that have a file open, as far as we may know (proc(5), /proc/PID/fd)."""
    found = []
    path = os.path.realpath(path)
    for name in os.listdir("/proc") if os.path.isdir("/proc/self/fd") else ():
        with suppress(OSError):
            if name.isdigit() and int(name) != os.getpid() and _has_open(name, path):
                found.append(int(name))
    return found


def _has_open(pid: str, path: str) -> bool:
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with suppress(OSError):
            if os.readlink(f"/proc/{pid}/fd/{fd}") == path:
                return True
    return False


def taken(fd: int) -> bool:
    """Whether the lock could be had now."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
