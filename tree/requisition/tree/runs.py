"""What the runtime left of a tree's runs: one that was cut off, and what it moved aside for good.

A run under the policy `backup` renames what is in its way to `NAME.before-…`, and its undo renames it back. Where that
could not be done, and nothing of ours is at the old name any more, the thing still lies aside: its run's journal says
that it is ours to put back, its inode that it is the same.
"""

import mmap
import os
from collections.abc import Iterator, Sequence

import msgspec

from requisition.runtime.journal import Intent, read_journal
from requisition.runtime.layout import root_directory
from requisition.runtime.linux import rename_noreplace
from requisition.runtime.lock import is_held
from requisition.runtime.root import TargetRoot
from requisition.runtime.runinfo import RunInfo, read_info
from requisition.runtime.state import RootState
from requisition.schemas.diagnostic import BadInput
from requisition.stdlib.action import ActionError
from requisition.stdlib.host import Move
from requisition.tree.finding import Finding, Kind, Mended, done, gone, left

KINDS: tuple[Kind, ...] = ("run cut off", "backup left behind")


class Aside(msgspec.Struct, frozen=True):
    """Something that was moved, by paths below a target root."""

    target_root: str
    source: str
    path: str
    ino: int


def in_use(root: str, state_dir: str) -> Iterator[Finding]:
    """Runs of a tree that go on: a runtime ends its run when who started it was killed."""
    for info in _runs(root, state_dir):
        if info.state == "running" and is_held(f"{_place(state_dir, info)}/lock"):
            yield Finding(
                kind="in use",
                root=root,
                path=info.run_id,
                text=f"the run that began at {info.started} goes on, or another one on {info.target_root}",
                next="wait until it is done",
            )


def find(root: str, state_dir: str) -> Iterator[Finding]:
    """Findings among the runs of a tree none of which goes on. Changes nothing."""
    for info in _runs(root, state_dir):
        directory = f"{state_dir}/runs/{info.run_id}"
        try:
            if info.state != "running":
                yield from _backups(root, state_dir, info, directory)
            elif read_journal(f"{directory}/journal"):
                yield Finding(
                    kind="run cut off",
                    root=root,
                    path=info.run_id,
                    text=f"the run that began at {info.started} did not end",
                    next=f"plan resume {info.run_id} finishes it, plan rollback {info.run_id} takes it back",
                )
        except BadInput as error:
            if not os.path.lexists(f"{directory}/journal"):
                continue  # it was cut off before it did anything
            told = error.diagnostics[0]
            yield Finding(kind="run cut off", root=root, path=info.run_id, text=str(told), next=told.next)


def mend(findings: Sequence[Finding]) -> Iterator[Mended]:
    """Put back what lies aside, where its old name is still free. Runs are left: whoever asks has to choose."""
    for one in findings:
        if not one.mend:
            yield left(one)
            continue
        aside = msgspec.json.decode(one.other, type=Aside)
        root = TargetRoot(aside.target_root)
        try:
            from_dir, name = root.parent(aside.path)
            if os.lstat(name, dir_fd=from_dir).st_ino != aside.ino:
                yield left(one, f"{one.path} is no longer what was moved there; look at it")
                continue
            to_dir, old = root.parent(aside.source)
            rename_noreplace(from_dir, name, to_dir, old)
            yield done(one)
        except FileExistsError:
            yield left(one, f"something is at its old name now; compare it with {one.path}, then remove one of them")
        except FileNotFoundError:
            yield gone(one)
        except (OSError, ActionError) as error:
            yield left(one, f"{error}; move it back by hand")
        finally:
            root.close()


def _runs(root: str, state_dir: str) -> Iterator[RunInfo]:
    try:
        names = sorted(os.listdir(f"{state_dir}/runs"))
    except (FileNotFoundError, NotADirectoryError):
        return
    here = os.path.realpath(root)
    for name in names:
        try:
            info = read_info(f"{state_dir}/runs/{name}")
        except (BadInput, NotADirectoryError):
            continue  # of which tree it is cannot be said; plan receipts tells of it
        if info is not None and info.source_root and os.path.realpath(info.source_root) == here:
            yield info


def _backups(root: str, state_dir: str, info: RunInfo, directory: str) -> Iterator[Finding]:
    moves = list(_moves(info, directory))
    if not moves:
        return
    entries = RootState(_place(state_dir, info), info.target_root).entries
    target = info.target_root.rstrip("/")
    for move in moves:
        place, old = target + move.path, target + move.source
        if move.source in entries or not _is(place, move.ino):
            continue
        free = not os.path.lexists(old)
        yield Finding(
            kind="backup left behind",
            root=root,
            path=place,
            text=f"{old} was moved there by {info.run_id}, and nothing of ours is at its old name",
            mend=f"it is moved back to {old}" if free else "",
            next="" if free else f"compare it with {old}, which came later, then remove one of them",
            other=msgspec.json.encode(Aside(info.target_root, move.source, move.path, move.ino)).decode(),
        )


def _moves(info: RunInfo, directory: str) -> Iterator[Move]:
    """What a run moved aside. Most did not: their journals are searched for the name, and not decoded."""
    suffix = f".before-{info.run_id[-6:]}"
    try:
        with (
            open(f"{directory}/journal", "rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as journal,
        ):
            if journal.find(suffix.encode()) < 0:
                return
    except (FileNotFoundError, ValueError):  # a run that changed nothing; an empty journal
        return
    for record in read_journal(f"{directory}/journal"):
        if isinstance(record, Intent):
            yield from (move for move in record.moves if move.path == move.source + suffix)


def _place(state_dir: str, info: RunInfo) -> str:
    return root_directory(state_dir, info.target_root)


def _is(path: str, ino: int) -> bool:
    try:
        return os.lstat(path).st_ino == ino
    except OSError:
        return False
