"""Deletes what was delivered and nothing else, by directory descriptor, each file looked at again as it goes.

Between that look and the unlink there is a moment in which a file could be replaced by another; nothing POSIX offers
closes it. What can be told is told: a file that someone has open for writing is left alone.
"""

import errno
import fcntl
import os
import signal
from collections.abc import Callable

import msgspec
from msgspec import Struct

from requisition.services.delivery.cleanup import same
from requisition.services.delivery.folder import Folder, item
from requisition.services.delivery.manifest import Entry, Manifest


class Deleted(Struct, frozen=True):
    """`files`: how many were unlinked, links too, of `bytes` in all; `problems`: what is left, and why."""

    files: int
    bytes: int
    problems: tuple[str, ...]


def delete(source: str, manifest: Manifest, stopped: Callable[[], bool]) -> Deleted:
    """Unlink the manifest's files and links, each only if it still is what was delivered, then its folders that are
    empty; the source folder itself stays. `stopped` is asked before each."""
    files = size = 0
    problems: list[str] = []
    ctimes: dict[int, int] = {}
    with Folder(source) as folder:
        for one in manifest.entries:
            if one.kind == "dir":
                continue
            if stopped():
                return Deleted(files, size, (*problems, "stopped"))
            try:
                _unlink(folder, one, ctimes)
                files, size = files + 1, size + one.size
            except FileNotFoundError:
                pass  # an earlier attempt did, or its owner
            except OSError as error:
                problems.append(f"{os.fsdecode(one.path)!r}: {error.strerror}")
        for one in sorted(manifest.entries, key=lambda each: each.path, reverse=True):
            if one.kind == "dir":
                _rmdir(folder, one, problems)
    return Deleted(files, size, tuple(problems))


def _unlink(folder: Folder, entry: Entry, ctimes: dict[int, int]) -> None:
    """Unlink what still is the entry. `ctimes`: of inodes that lost another name by our own hand."""
    with folder.parent(entry.path) as (parent, name):
        flags = os.O_PATH if entry.kind == "link" else os.O_RDONLY | os.O_NONBLOCK
        fd = os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            if entry.kind == "file":
                _nobody_writes(fd)
            expected = msgspec.structs.replace(entry, ctime_ns=ctimes.get(entry.inode, entry.ctime_ns))
            opened, named = os.fstat(fd), os.stat(name, dir_fd=parent, follow_symlinks=False)
            if not same(expected, item(entry.path, opened)) or not os.path.samestat(opened, named):
                raise OSError(errno.ESTALE, "changed since it was delivered; left where it is")
            os.unlink(name, dir_fd=parent)
            ctimes[entry.inode] = os.fstat(fd).st_ctime_ns
        finally:
            os.close(fd)


def _nobody_writes(fd: int) -> None:
    """Raises OSError when someone has the file open for writing, where the system can tell: a read lease is given on
    files that nobody has open so (fcntl(2), F_SETLEASE), and holds off who would open it until we are done."""
    if not hasattr(fcntl, "F_SETLEASE"):
        return
    fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)  # told of one who waits, which we ignore; SIGIO would end us
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        if error.errno == errno.EAGAIN:
            raise OSError(errno.EBUSY, "someone has it open for writing") from error


def _rmdir(folder: Folder, entry: Entry, problems: list[str]) -> None:
    try:
        with folder.parent(entry.path) as (parent, name):
            os.rmdir(name, dir_fd=parent)
    except FileNotFoundError:
        pass
    except OSError as error:
        problems.append(f"{os.fsdecode(entry.path)!r}: {error.strerror}")
