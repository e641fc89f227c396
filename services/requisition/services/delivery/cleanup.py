"""Clean-up: may the source be deleted, and if so, exactly what was delivered and nothing else.

The decision is a pure function of facts; each of its interlocks has a name and says why it holds or not, and all must
hold. The deletion goes by directory descriptor and looks at every file again in the moment before it is unlinked.
"""

import errno
import fcntl
import os
import signal
from collections.abc import Callable

import msgspec
from msgspec import Struct

from requisition.services.delivery.config import Cleanup
from requisition.services.delivery.folder import Folder, Item
from requisition.services.delivery.job import Job, Moment, Pass, surely_passed
from requisition.services.delivery.manifest import Entry, Manifest

_TOLD = 5


class Facts(Struct, frozen=True, kw_only=True):
    """What the decision rests on. `unchanged`, `reachable`, `verified_now`: "" when it is so, else why not; None where
    it was not looked at. `revoked`: classes whose override was taken back; `needed_by`: jobs that have yet to deliver
    the same files."""

    passes: tuple[Pass, ...]
    now: Moment
    revoked: tuple[str, ...] = ()
    needed_by: tuple[str, ...] = ()
    unchanged: str | None = None
    reachable: str | None = None
    verified_now: str | None = None


class Interlock(Struct, frozen=True):
    """One condition of a deletion."""

    name: str
    holds: bool
    why: str


def decide(policy: Cleanup, job: Job, facts: Facts) -> tuple[Interlock, ...]:
    """Every interlock, the cheap ones to look at first. The source may go when all of them hold."""
    apart = separate(policy, job, facts.passes)
    aged = surely_passed(apart[0].when, facts.now) if apart else 0.0
    return (
        Interlock("enabled", policy.enabled, "clean-up is " + ("on" if policy.enabled else "off in delivery.yaml")),
        Interlock(
            "passes",
            bool(apart) and len(apart) >= policy.passes,
            f"{len(apart)} of {policy.passes} comparisons, {policy.interval:g} s apart",
        ),
        Interlock("age", bool(apart) and aged >= policy.min_age, f"compared {aged:.0f} of {policy.min_age:g} s ago"),
        Interlock("overrides", not facts.revoked, _list("no override was revoked", "revoked: ", facts.revoked)),
        Interlock("needed", not facts.needed_by, _list("no other job needs it", "needed by ", facts.needed_by)),
        _looked("unchanged", facts.unchanged, "the source is as it was when it was delivered"),
        _looked("reachable", facts.reachable, "the destination can be reached"),
        _looked("verified", facts.verified_now, "all of it was compared at the far end just now"),
    )


def separate(policy: Cleanup, job: Job, passes: tuple[Pass, ...]) -> list[Pass]:
    """Passes of what is delivered now that lie far enough apart to count as separate."""
    counted: list[Pass] = []
    for one in passes:
        if one.manifest == job.manifest and (
            not counted or surely_passed(counted[-1].when, one.when) >= policy.interval
        ):
            counted.append(one)
    return counted


def due_in(policy: Cleanup, job: Job, passes: tuple[Pass, ...], now: Moment) -> float | None:
    """Seconds until the next comparison may count, or, when there were enough, until they are old enough; None when
    nothing is ever cleaned up."""
    if not policy.enabled:
        return None
    apart = separate(policy, job, passes)
    if not apart:
        return 0.0
    if len(apart) < policy.passes:
        return max(0.0, min(policy.interval, policy.interval - surely_passed(apart[-1].when, now)))
    return max(0.0, min(policy.min_age, policy.min_age - surely_passed(apart[0].when, now)))


def changes(source: str, manifest: Manifest, *, begun: bool) -> list[str]:
    """How a folder differs from what was delivered: nothing to tell when it is the same. `begun`: files that are gone
    already are not held against it. Reads no file: size, times and inode tell."""
    try:
        with Folder(source) as folder:
            found = {one.path: one for one in folder.items}
    except OSError as error:
        return [f"{source}: {error.strerror}"]
    told = [f"{_shown(path)} is new" for path in found.keys() - {one.path for one in manifest.entries}]
    for one in manifest.entries:
        if one.path not in found:
            told += [] if begun else [f"{_shown(one.path)} is gone"]
        elif not same(one, found[one.path]):
            told.append(f"{_shown(one.path)} changed")
    return sorted(told)


def same(entry: Entry, item: Item) -> bool:
    """Whether what lies there is what was hashed. A folder's times change with what is in it."""
    if entry.kind == "dir" or item.kind == "dir":
        return entry.kind == item.kind
    was = (entry.kind, entry.mtime_ns, entry.ctime_ns, entry.inode)
    return was == (item.kind, item.mtime_ns, item.ctime_ns, item.inode) and (
        entry.kind == "link" or entry.size == item.size
    )


class Deleted(Struct, frozen=True):
    """`files`: how many were unlinked, now or before; `problems`: what is left, and why."""

    files: int
    bytes: int
    problems: tuple[str, ...]


def delete(source: str, manifest: Manifest, go_on: Callable[[], bool]) -> Deleted:
    """Unlink the manifest's files and links, each only if it still is what was delivered, then its folders that are
    empty; the source folder itself stays. `go_on` is asked before each."""
    files = size = 0
    problems: list[str] = []
    ctimes: dict[int, int] = {}
    with Folder(source) as folder:
        for one in manifest.entries:
            if one.kind == "dir":
                continue
            if not go_on():
                return Deleted(files, size, (*problems, "stopped"))
            try:
                _unlink(folder, one, ctimes)
            except FileNotFoundError:
                pass  # an earlier attempt did, or its owner
            except OSError as error:
                problems.append(f"{_shown(one.path)}: {error.strerror}")
                continue
            files, size = files + 1, size + one.size
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
            if not same(expected, folder.item(entry.path)):
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
        problems.append(f"{_shown(entry.path)}: {error.strerror}")


def _list(none: str, some: str, found: tuple[str, ...]) -> str:
    return some + ", ".join(found[:_TOLD]) + (" …" if len(found) > _TOLD else "") if found else none


def _looked(name: str, problem: str | None, good: str) -> Interlock:
    if problem is None:
        return Interlock(name, holds=False, why="not looked at yet")
    return Interlock(name, not problem, problem or good)


def _shown(path: bytes) -> str:
    return repr(os.fsdecode(path))
