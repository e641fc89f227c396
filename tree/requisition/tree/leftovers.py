"""What a killed process left behind: temporary files of ours, half-made clones, locks of holders that are gone."""

import fcntl
import os
import re
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from requisition.tree import claims, local
from requisition.tree.finding import Finding, Kind, Mended, done, gone, left
from requisition.tree.paths import KEPT

KINDS: tuple[Kind, ...] = ("half-made clone", "temporary file", "stale lock")
CLONES = "clones"
_TEMPORARY = {
    "": re.compile(r"\.(plan\.lock|package\.yaml)\.[0-9a-f]{8}"),
    KEPT: re.compile(r"\.(\.gitignore|events\.jsonl|installed\.json)\.[0-9a-f]{8}"),
}
"""By folder, what `runtime/layout.py` writes before it gets its name."""


def find(root: str) -> Iterator[Finding]:
    """Findings among the files. Changes nothing."""
    for folder, name in _temporaries(root):
        yield Finding(
            kind="temporary file",
            root=root,
            path=os.path.join(folder, name),
            text="it was written for a file that did not get it",
            mend="it is removed",
        )
    for name in _names(local.path(root, CLONES)) if not claims.held(_walk_lock(root)) else ():
        yield Finding(
            kind="half-made clone",
            root=root,
            path=os.path.join(KEPT, CLONES, name),
            text="it was being cloned and did not get to its place",
            mend="it is removed; the next sync clones it again",
        )
    for file in _locks(root):
        if claims.held(file):
            continue
        found = claims.holder(file)
        who = f"{found.owner.what} (process {found.owner.pid}) since {found.since}" if found else "nobody that it names"
        yield Finding(
            kind="stale lock",
            root=root,
            path=os.path.relpath(file, root),
            text=f"it was held by {who}, which is gone",
            mend="it is removed",
        )


def in_use(root: str) -> Iterator[Finding]:
    """Packages that another process works on now."""
    here = claims.Owner.this_process("").same_process
    for file in _locks(root):
        found = claims.holder(file)
        if not claims.held(file) or (found is not None and here(found.owner)):
            continue
        who = f"{found.owner.what} (process {found.owner.pid}) since {found.since}" if found else "another process"
        yield Finding(
            kind="in use",
            root=root,
            path=found.path if found else os.path.relpath(file, root),
            text=f"{who} works on it",
            next=f"wait until it is done; if it runs on another machine and is gone, remove {file}",
        )


def mend(findings: Sequence[Finding]) -> Iterator[Mended]:
    """Remove what is left over, if it still is."""
    for one in findings:
        file = os.path.join(one.root, one.path)
        if not os.path.lexists(file):
            yield gone(one)
        elif one.kind == "stale lock":
            yield done(one) if claims.clear(file) else left(one, "it is held again")
        elif one.kind == "half-made clone":
            with no_walk(one.root) as free:
                if free:
                    _remove(file)
            yield done(one) if free else left(one, "git still works in it; it is removed once that ends")
        else:
            with _alone(local.path(one.root, "events.lock"), wait=True):  # no compaction is writing it
                there = _is_file(file)
                if there:
                    os.unlink(file)
            yield done(one) if there else gone(one)


@contextmanager
def no_walk(root: str) -> Iterator[bool]:
    """Keep walks away for a block; whether that could be had."""
    local.make(root, claims.LOCKS)
    with _alone(_walk_lock(root)) as free:
        yield free


def _walk_lock(root: str) -> str:
    """Held by a walk, and by the git processes that it started, also when it was killed (`walk.py`)."""
    return local.path(root, claims.LOCKS, ".walk")


def _locks(root: str) -> list[str]:
    """The locks of packages; names that begin with a dot are others', and what is no file is nobody's."""
    folder = local.path(root, claims.LOCKS)
    files = [os.path.join(folder, name) for name in _names(folder) if not name.startswith(".")]
    return [file for file in files if _is_file(file)]


def _temporaries(root: str) -> Iterator[tuple[str, str]]:
    for folder, pattern in _TEMPORARY.items():
        for name in _names(os.path.join(root, folder)):
            if pattern.fullmatch(name) and _is_file(os.path.join(root, folder, name)):
                yield folder, name


def _remove(path: str) -> None:
    """All of `.plan/clones/` is ours: nobody was told of it yet. A link there is removed, not followed."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)


@contextmanager
def _alone(path: str, *, wait: bool = False) -> Iterator[bool]:
    """Hold a lock for a block; whether that could be had, which without `wait` it may not."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        free = True
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            free = False
        yield free
    finally:
        os.close(fd)


def _is_file(path: str) -> bool:
    """Whether it is a file, and ours; a live process may have taken it away meanwhile."""
    try:
        info = os.lstat(path)
    except FileNotFoundError:
        return False
    return stat.S_ISREG(info.st_mode) and info.st_uid == os.geteuid()


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
