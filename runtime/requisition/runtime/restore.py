"""Taking files back: each change is undone from its prior state, and only where it is still ours.

Undo is conditional, so that it may be repeated and may follow a half-done effect:

    found as before the change   nothing to do
    found as the change left it  the prior state is put back
    torn by a crash              the same, see `CrashWindow`
    anything else                someone changed it since: UndoConflict, it is left alone
"""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple

from requisition.runtime.host import RealHost
from requisition.runtime.root import Escapes
from requisition.stdlib.action import UndoConflict
from requisition.stdlib.host import FileChange, Move, Prior


class CrashWindow(NamedTuple):
    """Nanoseconds of wall time in which only processes of a boot that was cut off could have written.

    A file without fsync may be found empty or cut short after a power loss. It counts as ours when its
    change time lies between the start of our run and the start of the present boot.
    """

    start: int
    end: int


def undo_files(host: RealHost, files: Sequence[FileChange], crash: CrashWindow | None = None) -> None:
    """Put back every file, last change first. Raises UndoConflict, OSError or StoreDamaged after having
    tried all of them; the first problem is the one raised."""
    problem: Exception | None = None
    for change in reversed(files):
        try:
            undo_file(host, change, crash)
        except (UndoConflict, OSError, Escapes) as error:
            problem = problem or error
    if problem is not None:
        raise problem


def undo_file(host: RealHost, change: FileChange, crash: CrashWindow | None) -> None:
    """Put back one file; see the module."""
    info = host.lstat(change.path)
    if is_prior(host, change, info):
        return
    if not is_ours(host, change, info, crash):
        raise UndoConflict(f"{change.path} was changed since; it is left as it is")
    _put_back(host, change, info)
    host.known.pop(change.path, None)


def undo_move(host: RealHost, move: Move, *, remade: bool = False) -> None:
    """Move back the very thing that was moved; nothing when it was not, or was taken back already. `remade`:
    a later node changed it, so that what was put back in its place is another inode."""
    if not has_moved(host, move, remade=remade):
        return
    if host.lstat(move.source) is not None:
        raise UndoConflict(f"{move.source} exists again; {move.path} is left where it is")
    host.rename(move.path, move.source)


def has_moved(host: RealHost, move: Move, *, remade: bool = False) -> bool:
    """Whether the rename took place. Raises UndoConflict when what was moved is at neither name."""
    moved = host.lstat(move.path)
    if moved is not None and (remade or moved.st_ino == move.ino):
        return True
    here = host.lstat(move.source)
    if here is None or not (remade or here.st_ino == move.ino):
        raise UndoConflict(f"{move.path} is no longer what was moved there")
    return False


def is_prior(host: RealHost, change: FileChange, info: os.stat_result | None) -> bool:
    """Whether the path is as it was before the change."""
    prior = change.prior
    if prior.kind == "absent" or info is None:
        return info is None and prior.kind == "absent"
    if info.st_ino == prior.ino and info.st_ctime_ns == prior.ctime_ns:
        return True
    if (info.st_uid, info.st_gid) != (prior.uid, prior.gid):
        return False
    if prior.kind == "link":
        return stat.S_ISLNK(info.st_mode) and host.readlink(change.path) == prior.target
    if stat.S_IMODE(info.st_mode) != prior.mode:
        return False
    if prior.kind == "dir":
        return stat.S_ISDIR(info.st_mode)
    return (
        stat.S_ISREG(info.st_mode)
        and info.st_size == prior.size
        and info.st_mtime_ns == prior.mtime_ns
        and (not prior.blob or host.digest(change.path, sealed=prior.sealed) == prior.blob)
    )


def is_ours(host: RealHost, change: FileChange, info: os.stat_result | None, crash: CrashWindow | None) -> bool:
    """Whether the path is as the change left it, or torn by the crash that ended the run."""
    if host.matches(change.expect) or (info is not None and _half_set(change, info)):
        return True
    if crash is None or info is None or change.expect.kind != "file":
        return False
    return stat.S_ISREG(info.st_mode) and crash.start <= info.st_ctime_ns <= crash.end


def _half_set(change: FileChange, info: os.stat_result) -> bool:
    """Whether owner and mode were being set and only one of them was: two calls, either way round.
    A change of owner also clears the set-id bits (chown(2))."""
    prior, expect = change.prior, change.expect
    if info.st_ino != prior.ino or prior.kind != expect.kind:
        return False
    if prior.kind != "dir" and info.st_mtime_ns != prior.mtime_ns:
        return False
    wanted = (expect.uid if expect.uid >= 0 else prior.uid, expect.gid if expect.gid >= 0 else prior.gid)
    modes = {prior.mode, expect.mode, prior.mode & 0o1777, expect.mode & 0o1777}
    return (info.st_uid, info.st_gid) in ((prior.uid, prior.gid), wanted) and stat.S_IMODE(info.st_mode) in modes


def _put_back(host: RealHost, change: FileChange, info: os.stat_result | None) -> None:
    prior = change.prior
    host.root.forget(change.path)  # it may be kept as a directory, or as what a link led to
    directory, name = host.root.parent(change.path)
    present_dir = info is not None and stat.S_ISDIR(info.st_mode)
    if prior.kind == "absent":
        _delete(host, change.path, directory, name, present_dir)
    elif prior.kind == "link":
        _replace_link(host, directory, name, prior)
    elif prior.kind == "dir" and not present_dir:
        _make_dir(host, directory, name, prior)
    elif prior.blob:
        _replace_file(host, directory, name, prior)
    else:
        _set_meta(directory, name, prior)


def _delete(host: RealHost, path: str, directory: int, name: str, is_dir: bool) -> None:
    if not is_dir:
        os.unlink(name, dir_fd=directory)
        return
    host.root.forget(path)
    directory, name = host.root.parent(path)
    try:
        os.rmdir(name, dir_fd=directory)
    except OSError as error:
        raise UndoConflict(f"{path} is not empty: something was put there since; it is left") from error


def _replace_file(host: RealHost, directory: int, name: str, prior: Prior) -> None:
    content = host.store.get(prior.blob, sealed=prior.sealed)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with (
        _temporary(host, directory, name) as temporary,
        open(os.open(temporary, flags, 0o600, dir_fd=directory), "wb") as file,
    ):
        fd = file.fileno()
        file.write(content)
        file.flush()
        os.fchown(fd, prior.uid, prior.gid)
        os.fchmod(fd, prior.mode)
        for key, value in (prior.xattrs or {}).items():
            os.setxattr(fd, key, value)
        os.utime(fd, ns=(prior.mtime_ns, prior.mtime_ns))


def _replace_link(host: RealHost, directory: int, name: str, prior: Prior) -> None:
    with _temporary(host, directory, name) as temporary:
        os.symlink(prior.target, temporary, dir_fd=directory)
        os.chown(temporary, prior.uid, prior.gid, dir_fd=directory, follow_symlinks=False)
        times = (prior.mtime_ns, prior.mtime_ns)
        os.utime(temporary, ns=times, dir_fd=directory, follow_symlinks=False)


def _make_dir(host: RealHost, directory: int, name: str, prior: Prior) -> None:
    with _temporary(host, directory, name) as temporary:
        os.mkdir(temporary, 0o700, dir_fd=directory)
        _set_meta(directory, temporary, prior)


@contextmanager
def _temporary(host: RealHost, directory: int, name: str) -> Iterator[str]:
    """A free name beside `name`, renamed to it at the end; removed when something fails on the way."""
    remove_temporary(host, directory, name)
    temporary = host.temporary_name(name)
    try:
        yield temporary
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        with suppress(OSError):  # the first error is the one to tell; a repeated undo removes it again
            remove_temporary(host, directory, name)
        raise


def _set_meta(directory: int, name: str, prior: Prior) -> None:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    fd = os.open(name, flags, dir_fd=directory)
    try:
        os.fchown(fd, prior.uid, prior.gid)
        os.fchmod(fd, prior.mode)
    finally:
        os.close(fd)


def remove_temporary(host: RealHost, directory: int, name: str) -> None:
    """Remove the temporary name that a killed run may have left beside `name`: a file, a link, or a
    directory that is still empty."""
    temporary = host.temporary_name(name)
    try:
        os.unlink(temporary, dir_fd=directory)
    except IsADirectoryError:
        os.rmdir(temporary, dir_fd=directory)
    except FileNotFoundError:
        return


def remove_temporaries(host: RealHost, files: Sequence[FileChange]) -> None:
    """The same for all files of an intent whose effect was cut off."""
    for change in files:
        try:
            directory, name = host.root.parent(change.path)
        except (OSError, Escapes):
            continue  # no parent directory, so nothing was written into it
        remove_temporary(host, directory, name)
