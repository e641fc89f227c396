"""Users and groups as a target root's files say them (passwd(5), group(5)). Pure but for `read_accounts`."""

from collections.abc import Mapping
from typing import NamedTuple

from requisition.stdlib.host import Host


class User(NamedTuple):
    """One line of passwd."""

    name: str
    uid: int
    gid: int
    comment: str
    home: str
    shell: str


class Group(NamedTuple):
    """One line of group; `members` are those for whom it is not the primary one."""

    name: str
    gid: int
    members: tuple[str, ...]


class Accounts(NamedTuple):
    """Both files, by name."""

    users: Mapping[str, User]
    groups: Mapping[str, Group]

    def groups_of(self, user: str) -> tuple[str, ...]:
        """Names of the supplementary groups of a user, sorted."""
        return tuple(sorted(group.name for group in self.groups.values() if user in group.members))

    def group_name(self, gid: int) -> str:
        """A group's name; its number where it has none."""
        return next((group.name for group in self.groups.values() if group.gid == gid), str(gid))


def read_accounts(host: Host) -> Accounts:
    """As they are now; asked once a run."""
    return host.recall(
        "accounts", lambda: Accounts(parse_users(_text(host, "/etc/passwd")), parse_groups(_text(host, "/etc/group")))
    )


def parse_users(text: str) -> dict[str, User]:
    """Lines that are not of seven fields are somebody's mistake, and left out."""
    users = {}
    for line in text.splitlines():
        parts = line.split(":")
        if len(parts) == 7 and parts[2].isdigit() and parts[3].isdigit():
            name, _, uid, gid, comment, home, shell = parts
            users[name] = User(name, int(uid), int(gid), comment, home, shell)
    return users


def parse_groups(text: str) -> dict[str, Group]:
    """The same for group."""
    groups = {}
    for line in text.splitlines():
        parts = line.split(":")
        if len(parts) == 4 and parts[2].isdigit():
            name, _, gid, members = parts
            groups[name] = Group(name, int(gid), tuple(filter(None, members.split(","))))
    return groups


def _text(host: Host, path: str) -> str:
    return "" if host.stat(path) is None else host.read(path, 16 << 20).decode("utf-8", "replace")
