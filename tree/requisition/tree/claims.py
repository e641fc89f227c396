"""One operation on a package at a time: an flock on `.plan/locks/<path, escaped>`, for as long as it lasts.

The kernel drops an flock with its holder, so a killed process blocks nobody; its file is left over, tells who it
was, and goes with the next claim. A holder removes the file while it still holds it, and who gets a lock looks
whether it still is the one at that name.
"""

import fcntl
import hashlib
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

import msgspec
from msgspec import Struct

from requisition.runtime.machine import boot_id, hostname
from requisition.schemas.diagnostic import BadInput, Conflicted
from requisition.tree import local
from requisition.tree.local import Clock

LOCKS = "locks"
_PATIENCE = 1000
"""How often a lock is tried that is held and names nobody who lives: by someone who only looks at it (`held`), or who
has not yet written down who it is. Both take microseconds."""
_MAX_NAME = 200
_MAX_OWNER = 16 << 10


class Owner(Struct, frozen=True):
    """A process, so that no other one is taken for it: `began` is its start in clock ticks since the boot
    (proc_pid_stat(5), field 22)."""

    what: str
    pid: int
    began: int
    boot: str
    host: str
    user: int

    @classmethod
    def this_process(cls, what: str) -> "Owner":
        """This one, for what it is about to do (`plan sync`)."""
        pid = os.getpid()
        return cls(what, pid, _began(pid), boot_id(), hostname(), os.geteuid())

    def same_process(self, other: "Owner") -> bool:
        """Whether both are one process, whatever it does."""
        return (self.pid, self.began, self.boot, self.host) == (other.pid, other.began, other.boot, other.host)

    @property
    def gone(self) -> bool:
        """Whether it has surely ended. A process of another machine is not seen from here."""
        if self.boot != boot_id():
            return self.host == hostname()
        return _began(self.pid) != self.began


class Claim(Struct, frozen=True, omit_defaults=True):
    """What a lock's file says; `took_over`, which it does not say: who was cut off while it held it before."""

    path: str
    owner: Owner
    since: str
    took_over: Owner | None = None


class Busy(Conflicted):
    """Someone else works on this package."""


_decoder = msgspec.json.Decoder(Claim)


def lock_path(root: str, path: str) -> str:
    """Where a package's lock lies: its path with all but letters, digits and `_.-~` escaped; of a very long path
    the digest."""
    name = quote(os.fsencode(path), safe="") or "@root"
    if name.startswith("."):
        name = "%2E" + name[1:]
    if len(name) > _MAX_NAME:
        name = "@" + hashlib.sha256(os.fsencode(path)).hexdigest()
    return local.path(root, LOCKS, name)


@contextmanager
def claim(root: str, path: str, owner: Owner, *, clock: Clock = local.now) -> Iterator[Claim]:
    """Hold a package for a block. Raises Busy, naming the holder and since when."""
    local.make(root, LOCKS)
    file = lock_path(root, path)
    fd, before = _take(file, path)
    try:
        ours = Claim(path, owner, local.stamp(clock()))
        text = msgspec.json.encode(ours)
        os.pwrite(fd, text, 0)
        os.ftruncate(fd, len(text))  # not to nothing first: ext4 then writes it to disk when it is closed
        yield msgspec.structs.replace(ours, took_over=before)
    finally:
        if _is_at(fd, file):  # a person may have removed it, and someone else be there
            os.unlink(file)
        os.close(fd)


def clear(file: str) -> bool:
    """Remove a lock's file that nobody holds; False when it is held (or nobody can tell from here)."""
    try:
        fd, _ = _take(file, "")
    except Busy:
        return False
    try:
        os.unlink(file)
    finally:
        os.close(fd)
    return True


def holder(file: str) -> Claim | None:
    """What a lock's file says; None when it is not there or was cut off before it said anything."""
    try:
        fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        return _text(fd)
    finally:
        os.close(fd)


def held(file: str) -> bool:
    """Whether a process holds the lock of that file now. A lock whose owner is alive is not touched for it."""
    found = holder(file)
    if found is not None and not found.owner.gone:
        return True
    try:
        fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _take(file: str, path: str) -> tuple[int, Owner | None]:
    """The locked descriptor, and the owner that was cut off while it held it."""
    patience = _PATIENCE
    while True:
        try:
            fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        except OSError as error:
            raise BadInput.of(
                f"the lock cannot be opened: {error.strerror}", where=file, next="move it away"
            ) from error
        try:
            _keep_room(fd)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            before = _text(fd)
            if before is not None and before.owner.host != hostname() and before.owner.boot != boot_id():
                raise _busy(path, before, "whether it still runs cannot be seen from here", f"if not, remove {file}")
            if _is_at(fd, file):
                return fd, before.owner if before else None
        except BlockingIOError:
            taken = _text(fd)
            patience -= 1
            if not patience or (taken is not None and not taken.owner.gone):
                os.close(fd)
                raise _busy(path, taken, "", "wait until it is done, or look at that process") from None
            os.sched_yield()
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def _keep_room(fd: int) -> None:
    """A sync holds as many locks as it installs packages, and most shells allow 1024 descriptors: when half of them
    are used, as many as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if fd >= soft // 2 and soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _is_at(fd: int, file: str) -> bool:
    try:
        named = os.lstat(file)
    except FileNotFoundError:
        return False
    ours = os.fstat(fd)
    return (ours.st_dev, ours.st_ino) == (named.st_dev, named.st_ino)


def _text(fd: int) -> Claim | None:
    try:
        return _decoder.decode(os.pread(fd, _MAX_OWNER, 0))
    except ValueError:
        return None


def _busy(path: str, found: Claim | None, why: str, do: str) -> Busy:
    who = "another process"
    if found is not None:
        owner = found.owner
        who = f"{owner.what} (process {owner.pid} of user {owner.user} on {owner.host}) since {found.since}"
    return Busy.of(f"{path or 'the root'} is being worked on by {who}", why=why, next=do)


def _began(pid: int) -> int:
    """When a process started, in ticks since the boot; -1 when there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return -1
