"""What stands in the way of a change, and what the policy says to do about it. Decisions only."""

from collections.abc import Callable, Iterable
from typing import Literal

from msgspec import Struct

from requisition.schemas.document import ConflictPolicy
from requisition.stdlib.host import FileChange

Found = Literal["regular file", "directory", "foreign link", "other"]
Remedy = Literal["proceed", "move aside", "clear", "skip", "stop"]


class Conflict(Struct, frozen=True):
    """Something at a path that this order did not put there."""

    path: str
    found: Found
    wanted: str


def conflicts_of(files: Iterable[FileChange], ours: Callable[[str], bool]) -> tuple[Conflict, ...]:
    """The changes that would destroy what someone else put there.

    `ours` tells whether a path still is as one of our runs left it. A directory whose mode changes is
    not in the way; a directory where a file should be is, whoever made it.
    """
    found = []
    for change in files:
        prior, wanted = change.prior.kind, change.expect.kind
        if prior == "absent" or wanted == "absent" or (prior == "dir" and wanted == "dir"):
            continue
        if prior == "dir" or not ours(change.path):
            found.append(Conflict(change.path, _WORDS.get(prior, "other"), wanted))
    return tuple(found)


_WORDS: dict[str, Found] = {"file": "regular file", "dir": "directory", "link": "foreign link"}


def remedy(conflict: Conflict, policy: ConflictPolicy) -> Remedy:
    """What to do about one conflict. A file or link is overwritten by one atomic rename; a directory, or
    anything where a directory is wanted, must be cleared first."""
    if policy == "stop":
        return "stop"
    if policy == "skip":
        return "skip"
    if policy == "backup":
        return "move aside"
    return "clear" if conflict.found == "directory" or conflict.wanted == "dir" else "proceed"
