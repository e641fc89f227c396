"""Trees that grex made come to the present layout. Nothing is overwritten; one answer an attempt.

Packages are renamed to where manifests name them, which fails where something is (renameat2(2), RENAME_NOREPLACE).
grex's log and lock file are read into ours, then moved to `.plan/trash/`, so that no later run meets them again.
"""

import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Literal

from msgspec import Struct

from requisition.runtime.linux import rename_noreplace
from requisition.schemas.diagnostic import BadInput, Failure
from requisition.stdlib.action import ActionError
from requisition.tree import grexlog, legacy, local
from requisition.tree import pins as lock
from requisition.tree.events import EventLog
from requisition.tree.history import compacted
from requisition.tree.legacy import WORKSPACE, Moving, Place
from requisition.tree.local import Clock
from requisition.tree.paths import check_no_links, path_fault

Outcome = Literal["migrated", "skipped: target exists", "skipped: both present", "failed"]
LOGS = (".grex/events.jsonl", ".grex/grex.jsonl", "grex.jsonl")
LOCK = ".grex/grex.lock.jsonl"
_MAX_BYTES = 256 << 20


class Attempt(Struct, frozen=True):
    """One thing at an old place, by paths relative to the root's folder, and what became of it. `why` says more."""

    source: str
    target: str
    outcome: Outcome
    why: str = ""


def migrate(root: str, *, clock: Clock = local.now) -> list[Attempt]:
    """Move everything that lies in an old layout; nothing is found a second time once it was migrated. For who holds
    the claim of the root."""
    root = os.path.abspath(root)
    if not _is_legacy(root):
        return []
    found = legacy.look(root)
    attempts = [Attempt(path or ".", "", "failed", why) for path, why in found.unread]
    attempts += [_move(root, one) for one in found.moving]
    _tidy(root)
    attempts += _logs(root, found.paths, clock)
    attempts += _lock(root, found.places)
    return attempts


def _is_legacy(root: str) -> bool:
    """Whether grex was ever here; asked at each sync, so it is quick."""
    return os.path.isdir(os.path.join(root, ".grex")) or os.path.lexists(os.path.join(root, "grex.jsonl"))


# packages ----------------------------------------------------------------------------------------


def _move(root: str, one: Moving) -> Attempt:
    source, target = os.path.join(root, one.source), os.path.join(root, one.target)
    try:
        why = _why_not(source, one)
        if why:
            return Attempt(one.source, one.target, "failed", why)
        check_no_links(root, one.source)
        check_no_links(root, os.path.dirname(one.target))
        if os.path.lexists(target):
            both = os.path.lexists(os.path.join(target, ".git"))
            return Attempt(one.source, one.target, *(_BOTH if both else _TAKEN))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        _rename(source, target)
    except FileExistsError:
        return Attempt(one.source, one.target, *_TAKEN)
    except ActionError as error:
        return Attempt(one.source, one.target, "failed", f"{error}; {error.hint}" if error.hint else str(error))
    except OSError as error:
        return Attempt(one.source, one.target, "failed", f"{error.strerror}; move it by hand")
    return Attempt(one.source, one.target, "migrated")


_TAKEN: tuple[Outcome, str] = ("skipped: target exists", "something else lies there; move it away, then try again")
_BOTH: tuple[Outcome, str] = ("skipped: both present", "compare the two repositories, then remove one")


def _why_not(source: str, one: Moving) -> str:
    if not one.target:
        return "no manifest names it; name it, or move it to where you want it"
    if not stat.S_ISDIR(os.lstat(os.path.join(source, ".git")).st_mode):
        return "its .git is no folder: a work tree or submodule cannot be moved from here; clone it anew"
    return path_fault(one.target)


def _rename(source: str, target: str) -> None:
    """Raises FileExistsError when there is something, even an empty folder."""
    folders = [os.path.dirname(source), os.path.dirname(target)]
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    from_dir, to_dir = (os.open(folder, flags) for folder in folders)
    try:
        rename_noreplace(from_dir, os.path.basename(source), to_dir, os.path.basename(target))
        os.fsync(to_dir)
        os.fsync(from_dir)
    finally:
        os.close(from_dir)
        os.close(to_dir)


def _tidy(root: str) -> None:
    """The old workspace goes when nothing but grex's lock is left in it."""
    folder = os.path.join(root, WORKSPACE)
    with suppress(OSError):  # it is there no more, or holds what was told of above
        if os.listdir(folder) == [".grex.sync.lock"]:
            os.unlink(os.path.join(folder, ".grex.sync.lock"))
        os.rmdir(folder)


# log and lock file -------------------------------------------------------------------------------


def _logs(root: str, paths: dict[str, str], clock: Clock) -> Iterator[Attempt]:
    """The newest of grex's logs becomes ours; older ones beside it tell nothing more."""
    for name in LOGS:

        def take_over(data: bytes, name: str = name) -> str | None:
            told = compacted(grexlog.events(data, name, paths))
            with EventLog.open(root, clock) as log:
                return "" if log.adopt(told) else None

        yield from _file(root, name, ".plan/events.jsonl", take_over)


def _lock(root: str, places: tuple[Place, ...]) -> Iterator[Attempt]:
    path = os.path.join(root, lock.LOCK_NAME)

    def take_over(data: bytes) -> str | None:
        pinned, lost = grexlog.pins(data, LOCK, places)
        if os.path.lexists(path) and lock.read(path) != pinned:
            return None
        text = lock.text_of(pinned)
        lock.parse(text, LOCK)
        if not os.path.lexists(path):
            _publish(path, text)
        return f"no pin for {', '.join(lost)}" if lost else ""

    yield from _file(root, LOCK, lock.LOCK_NAME, take_over)


def _file(root: str, name: str, target: str, take_over: Callable[[bytes], str | None]) -> Iterator[Attempt]:
    """One file of grex, if it is there. `take_over` returns what to tell, None when ours says something else; when it
    says the same, a migration was cut off between the two steps."""
    source = os.path.join(root, name)
    try:
        with open(os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise BadInput.of(f"it is larger than {_MAX_BYTES >> 20} MiB", where=name, next="move it away")
        told = take_over(data)
        if told is None:
            yield Attempt(name, target, "skipped: both present", f"{target} is the one that counts; remove {name}")
            return
        trash = local.make(root, "trash")
        _rename(source, os.path.join(trash, name.replace("/", "-").removeprefix(".")))
        yield Attempt(name, target, "migrated", told)
    except FileNotFoundError:
        return
    except Failure as error:
        yield Attempt(name, target, "failed", str(error))
    except OSError as error:
        yield Attempt(name, target, "failed", f"{error.strerror}; move {name} away by hand")


def _publish(path: str, data: bytes) -> None:
    """A new file, whole or not at all, and never over another. Raises FileExistsError."""
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.{secrets.token_hex(4)}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        with open(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        _rename(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
