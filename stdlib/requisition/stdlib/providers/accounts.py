"""Owner and group slots: names or numbers, as numbers."""

import grp
import pwd
from collections.abc import Callable
from functools import cache
from typing import Any

from requisition.stdlib.action import ActionError

MAX_ID = (1 << 32) - 2
"""The highest number is −1 in the kernel's eyes, which would mean: leave it."""


@cache
def uid_of(owner: str) -> int:
    """User id of a name or number; −1, meaning whoever runs, for an empty one."""
    return _id(owner, "user", lambda name: pwd.getpwnam(name).pw_uid) if owner else -1


@cache
def gid_of(group: str) -> int:
    """Group id of a name or number; −1 for an empty one."""
    return _id(group, "group", lambda name: grp.getgrnam(name).gr_gid) if group else -1


def _id(name: str, kind: str, find: Callable[[str], Any]) -> int:
    if name.isascii() and name.isdigit():
        if len(name) > 10 or int(name) > MAX_ID:
            raise ActionError(f"{name} is no {kind} id", f"ids go up to {MAX_ID}")
        return int(name)
    try:
        return int(find(name))
    except (KeyError, ValueError) as error:
        raise ActionError(
            f"this machine has no {kind} {name!r}", f"make the {kind} first, or check the name"
        ) from error
