"""Owner and group slots: names or numbers, as numbers."""

import grp
import pwd
from collections.abc import Callable

from requisition.stdlib.action import ActionError
from requisition.stdlib.host import Host
from requisition.stdlib.providers.account_files import read_accounts

MAX_ID = (1 << 32) - 2
"""The highest number is −1 in the kernel's eyes, which would mean: leave it."""


def uid_of(host: Host, owner: str) -> int:
    """User id of a name or number; −1, meaning whoever runs, for an empty one."""
    if not owner:
        return -1

    def local() -> int | None:
        users = read_accounts(host).users
        return (users[owner].uid if owner in users else -1) if users else None

    return _id(host, owner, "user", local, lambda: pwd.getpwnam(owner).pw_uid)


def gid_of(host: Host, group: str) -> int:
    """Group id of a name or number; −1 for an empty one."""
    if not group:
        return -1

    def local() -> int | None:
        groups = read_accounts(host).groups
        return (groups[group].gid if group in groups else -1) if groups else None

    return _id(host, group, "group", local, lambda: grp.getgrnam(group).gr_gid)


def _id(host: Host, name: str, kind: str, local: Callable[[], int | None], known: Callable[[], int]) -> int:
    """A number as it is. A name by the accounts of the target root; where that is the machine, or holds none, by
    the machine's, which may come from a directory service."""
    if name.isascii() and name.isdigit():
        if len(name) > 10 or int(name) > MAX_ID:
            raise ActionError(f"{name} is no {kind} id", f"ids go up to {MAX_ID}")
        return int(name)

    def look() -> int:
        found = local() if host.real_path("/") != "/" else None
        if found is None:
            try:
                return known()
            except (KeyError, ValueError):
                found = -1
        if found < 0:
            raise ActionError(f"there is no {kind} {name!r} here", f"make the {kind} first, or check the name")
        return found

    return host.recall(f"{kind} id:{name}", look)
