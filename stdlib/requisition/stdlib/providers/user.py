"""Users, by shadow's own tools (useradd(8), usermod(8), userdel(8), chpasswd(8))."""

import os
import re
from collections.abc import Sequence
from typing import Annotated, Any

from msgspec import Struct

from requisition.schemas.receipt import Left
from requisition.stdlib.action import (
    ActionError,
    BaseAction,
    Change,
    Done,
    NotCompensable,
    Satisfied,
    UndoConflict,
    action,
)
from requisition.stdlib.host import Host
from requisition.stdlib.providers.account_files import Accounts, User, read_accounts
from requisition.stdlib.spec import Output, slot

NAME = re.compile(r"[a-z_][a-z0-9_-]{0,30}[a-z0-9_$-]?")
_FIELD = re.compile(r"[^:\n\r\0]*")

AccountName = Annotated[str, slot("string", "its name")]


class PresentSlots(Struct, frozen=True):
    name: AccountName
    uid: Annotated[int, slot("int", "its number; −1: the next free one")] = -1
    group: Annotated[str, slot("string", "primary group, which must exist; empty: one of its own name")] = ""
    groups: Annotated[list[str], slot("strings", "supplementary groups that it must be in, at least")] = []
    home: Annotated[str, slot("string", "home directory; empty: the system's default")] = ""
    shell: Annotated[str, slot("string", "login shell; empty: the system's default")] = ""
    comment: Annotated[str, slot("string", "full name or purpose")] = ""
    system: Annotated[bool, slot("bool", "a user for a service: a low number, no home unless asked")] = False
    create_home: Annotated[bool, slot("bool", "make the home directory of a new user, from /etc/skel")] = False
    password_hash: Annotated[str, slot("string", "crypt(5) hash, given to a new user", secret=True)] = ""


@action("user.present", outputs=(Output("name", "string", "its name"),), effect="outside", blocking=True)
class Present(BaseAction[PresentSlots]):
    """Have a user. What is not said stays as it is. A rollback removes a user that was made, or gives back what
    was changed; a home is removed only when it was made here and still holds nothing but /etc/skel."""

    slots = PresentSlots

    def observe(self, host: Host, slots: PresentSlots) -> Satisfied | Change:
        """Compares with passwd and group."""
        _check(slots)
        accounts = read_accounts(host)
        found = accounts.users.get(slots.name)
        if found is None:
            return Change("no such user", undo={"name": slots.name, "was": None, "home": slots.create_home})
        differs = [word for word, _ in _differences(slots, found, accounts)]
        if not differs:
            return Satisfied({"name": slots.name}, (_left(accounts, found),))
        _protect(found)
        was = {**found._asdict(), "groups": accounts.groups_of(slots.name)}
        return Change(f"differs in {', '.join(differs)}", undo={"name": slots.name, "was": was, "home": False})

    def do(self, host: Host, slots: PresentSlots, change: Change) -> Done:
        """Make it, or change what differs."""
        accounts = read_accounts(host)
        found = accounts.users.get(slots.name)
        if found is None:
            tool(host, ["useradd", *_new_user(host, slots), slots.name])
            if slots.password_hash:
                _set_hash(host, slots.name, slots.password_hash)
        else:
            words = [word for _, words in _differences(slots, found, accounts) for word in words]
            tool(host, ["usermod", *words, slots.name])
        return Done({"name": slots.name}, (_left(_fresh(host), _user(host, slots.name)),))

    def undo(self, host: Host, undo: Any) -> None:
        """See the class."""
        name, was = undo["name"], undo["was"]
        accounts = _fresh(host)
        found = accounts.users.get(name)
        if was is None:
            if found is not None:
                _remove_made(host, found, made_home=undo["home"])
            return
        if found is None:
            raise UndoConflict(f"the user {name} was removed since")
        words = _as_before(was, found, accounts.groups_of(name))
        if words:
            tool(host, ["usermod", *words, name])

    def fingerprint(self, host: Host, left: tuple[Left, ...]) -> tuple[Left, ...]:
        """Number, groups, home and shell as they are now."""
        accounts = read_accounts(host)
        users = [accounts.users.get(one.path.removeprefix("user:")) for one in left]
        return tuple(
            _left(accounts, user) if user else Left(one.path, "absent") for one, user in zip(left, users, strict=True)
        )


class AbsentSlots(Struct, frozen=True):
    name: AccountName


@action("user.absent", effect="outside", blocking=True)
class Absent(BaseAction[AbsentSlots]):
    """Have no such user. Its home stays: remove it with plan.file.remove. A rollback makes the user again, but a
    password that it had is gone."""

    slots = AbsentSlots

    def observe(self, host: Host, slots: AbsentSlots) -> Satisfied | Change:
        """Looks into passwd."""
        check_name(slots.name)
        accounts = read_accounts(host)
        found = accounts.users.get(slots.name)
        if found is None:
            return Satisfied(left=(Left(f"user:{slots.name}", "absent"),))
        _protect(found)
        was = {**found._asdict(), "group": accounts.group_name(found.gid), "groups": accounts.groups_of(slots.name)}
        return Change(f"uid {found.uid} is there", undo={"was": was})

    def do(self, host: Host, slots: AbsentSlots, change: Change) -> Done:
        """Remove it."""
        tool(host, ["userdel", slots.name])
        return Done(left=(Left(f"user:{slots.name}", "absent"),))

    def undo(self, host: Host, undo: Any) -> None:
        """Make it again, without its password."""
        was = undo["was"]
        accounts = _fresh(host)
        if was["name"] in accounts.users:
            return
        if was["group"] not in accounts.groups:  # userdel takes a group of the user's own with it
            tool(host, ["groupadd", "-g", str(was["gid"]), was["group"]])
        words = [
            "-M",
            "-u",
            str(was["uid"]),
            "-g",
            str(was["gid"]),
            "-d",
            was["home"],
            "-s",
            was["shell"],
            "-c",
            was["comment"],
        ]
        tool(host, ["useradd", *words, *(["-G", ",".join(was["groups"])] if was["groups"] else []), was["name"]])
        raise NotCompensable(f"the user {was['name']} was made again, but without a password")


def check_name(name: str) -> None:
    """Debian's rule for names of users and groups (adduser(8)); no name can be taken for an option."""
    if not NAME.fullmatch(name):
        raise ActionError(f"{name!r} is no name of a user or group", "use a-z, 0-9, _ and -, a letter first")


def tool(host: Host, words: Sequence[str], stdin: bytes = b"") -> None:
    """Run one of shadow's tools on the target root."""
    root = host.real_path("/").rstrip("/")
    done = host.run([words[0], *(["--prefix", root] if root else []), *words[1:]], stdin=stdin, timeout_ms=60_000)
    host.forget_answers()
    if done.status != 0:
        said = done.stderr.decode("utf-8", "replace").strip().removeprefix(f"{words[0]}: ")
        raise ActionError(
            said[-300:] or f"{words[0]} failed", "accounts are changed by root only" if os.geteuid() else ""
        )


def _check(slots: PresentSlots) -> None:
    check_name(slots.name)
    for name in (*slots.groups, *filter(None, [slots.group])):
        check_name(name)
    for what in (slots.comment, slots.home, slots.shell, slots.password_hash):
        if not _FIELD.fullmatch(what) or what.startswith("-"):
            raise ActionError("a field of a user holds a colon or line break, or begins with -")
    for what in filter(None, (slots.home, slots.shell)):
        if not what.startswith("/"):
            raise ActionError(f"{what} is no absolute path")


def _protect(user: User) -> None:
    if user.uid in (0, os.geteuid()):
        raise ActionError(f"{user.name} is root or whoever applies", "change that one by hand")


def _differences(slots: PresentSlots, found: User, accounts: Accounts) -> list[tuple[str, list[str]]]:
    """(word for people, words for usermod), for each wish that is not so."""
    differs: list[tuple[str, list[str]]] = []
    if slots.uid >= 0 and slots.uid != found.uid:
        differs.append(("uid", ["-u", str(slots.uid)]))
    if slots.group and slots.group not in (accounts.group_name(found.gid), str(found.gid)):
        differs.append(("group", ["-g", slots.group]))
    missing = sorted(set(slots.groups) - set(accounts.groups_of(slots.name)))
    if missing:
        differs.append(("groups", ["-a", "-G", ",".join(missing)]))
    for name, option in (("home", "-d"), ("shell", "-s"), ("comment", "-c")):
        wish = getattr(slots, name)
        if wish and wish != getattr(found, name):
            differs.append((name, [option, wish]))
    return differs


def _new_user(host: Host, slots: PresentSlots) -> list[str]:
    words = ["-m", "-k", host.real_path("/etc/skel")] if slots.create_home else ["-M"]
    for option, wish in (("-g", slots.group), ("-d", slots.home), ("-s", slots.shell), ("-c", slots.comment)):
        if wish:
            words += [option, wish]
    if slots.uid >= 0:
        words += ["-u", str(slots.uid)]
    if slots.groups:
        words += ["-G", ",".join(slots.groups)]
    return [*words, *(["-r"] if slots.system else [])]


def _as_before(was: dict[str, Any], now: User, groups: Sequence[str]) -> list[str]:
    """What usermod needs to be told; a number that was is taken back whoever else has it by now."""
    words = ["-o", "-u", str(was["uid"])] if was["uid"] != now.uid else []
    for option, field in (("-g", "gid"), ("-c", "comment"), ("-d", "home"), ("-s", "shell")):
        if was[field] != getattr(now, field):
            words += [option, str(was[field])]
    return [*words, *(["-G", ",".join(was["groups"])] if tuple(was["groups"]) != tuple(groups) else [])]


def _set_hash(host: Host, name: str, crypted: str) -> None:
    if host.real_path("/") != "/":
        raise ActionError("a password can be set on the machine itself only", "leave out password_hash")
    tool(host, ["chpasswd", "-e"], f"{name}:{crypted}\n".encode())


def _remove_made(host: Host, user: User, *, made_home: bool) -> None:
    keep = made_home and not _pristine(host, user.home)
    tool(host, ["userdel", *(["-r"] if made_home and not keep else []), user.name])
    if keep:
        raise UndoConflict(f"{user.home} holds files of {user.name}; it is left")


def _pristine(host: Host, home: str) -> bool:
    """Whether a home holds nothing but what /etc/skel gave it."""
    for path, found in host.walk(home):
        origin = "/etc/skel" + path.removeprefix(home)
        skel = host.stat(origin)
        if path != home and (skel is None or skel.kind != found.kind):
            return False
        if found.kind == "file" and host.read(path) != host.read(origin):
            return False
    return True


def _fresh(host: Host) -> Accounts:
    host.forget_answers()
    return read_accounts(host)


def _user(host: Host, name: str) -> User:
    found = read_accounts(host).users.get(name)
    if found is None:
        raise ActionError(f"the user {name} was made and is not there")
    return found


def _left(accounts: Accounts, user: User) -> Left:
    groups = ",".join(accounts.groups_of(user.name))
    token = f"{user.uid}:{accounts.group_name(user.gid)}:{user.home}:{user.shell}:{groups}"
    return Left(f"user:{user.name}", "token", token=token)
