"""Groups and who is in them, by shadow's own tools (groupadd(8), groupmod(8), groupdel(8), usermod(8))."""

from typing import Annotated, Any

from msgspec import Struct

from requisition.schemas.receipt import Left
from requisition.stdlib.action import ActionError, BaseAction, Change, Done, Satisfied, UndoConflict, action
from requisition.stdlib.host import Host
from requisition.stdlib.providers.account_files import Group, read_accounts
from requisition.stdlib.providers.user import AccountName, check_name, tool
from requisition.stdlib.spec import Output, slot


class PresentSlots(Struct, frozen=True):
    name: AccountName
    gid: Annotated[int, slot("int", "its number; −1: the next free one")] = -1
    system: Annotated[bool, slot("bool", "a group for a service: a low number")] = False


@action("group.present", outputs=(Output("name", "string", "its name"),), effect="outside", blocking=True)
class Present(BaseAction[PresentSlots]):
    """Have a group. A rollback removes one that was made, or gives back its number."""

    slots = PresentSlots

    def observe(self, host: Host, slots: PresentSlots) -> Satisfied | Change:
        """Looks into group."""
        check_name(slots.name)
        found = read_accounts(host).groups.get(slots.name)
        if found is None:
            return Change("no such group", undo={"name": slots.name, "was": -1})
        if slots.gid in (-1, found.gid):
            return Satisfied({"name": slots.name}, (_left(found),))
        return Change(f"its number is {found.gid}", undo={"name": slots.name, "was": found.gid})

    def do(self, host: Host, slots: PresentSlots, change: Change) -> Done:
        """Make it, or give it its number."""
        number = ["-g", str(slots.gid)] if slots.gid >= 0 else []
        if read_accounts(host).groups.get(slots.name) is None:
            tool(host, ["groupadd", *number, *(["-r"] if slots.system else []), slots.name])
        else:
            tool(host, ["groupmod", *number, slots.name])
        return Done({"name": slots.name}, (_left(read_accounts(host).groups[slots.name]),))

    def undo(self, host: Host, undo: Any) -> None:
        """See the class. A group that has members since is left."""
        host.forget_answers()
        found = read_accounts(host).groups.get(undo["name"])
        if found is None or found.gid == undo["was"]:
            return
        if undo["was"] >= 0:
            tool(host, ["groupmod", "-o", "-g", str(undo["was"]), undo["name"]])
            return
        if found.members:
            raise UndoConflict(f"the group {found.name} has members since: {', '.join(found.members)}")
        tool(host, ["groupdel", undo["name"]])

    def fingerprint(self, host: Host, left: tuple[Left, ...]) -> tuple[Left, ...]:
        """Numbers as they are now."""
        groups = read_accounts(host).groups
        found = [groups.get(one.path.removeprefix("group:")) for one in left]
        return tuple(
            _left(group) if group else Left(one.path, "absent") for one, group in zip(left, found, strict=True)
        )


class AbsentSlots(Struct, frozen=True):
    name: AccountName


@action("group.absent", effect="outside", blocking=True)
class Absent(BaseAction[AbsentSlots]):
    """Have no such group. A rollback makes it again, with its number and members."""

    slots = AbsentSlots

    def observe(self, host: Host, slots: AbsentSlots) -> Satisfied | Change:
        """Looks into group."""
        check_name(slots.name)
        found = read_accounts(host).groups.get(slots.name)
        if found is None:
            return Satisfied(left=(Left(f"group:{slots.name}", "absent"),))
        if found.gid == 0:
            raise ActionError("the group of root stays", "name another")
        return Change(f"gid {found.gid} is there", undo=found._asdict())

    def do(self, host: Host, slots: AbsentSlots, change: Change) -> Done:
        """Remove it; groupdel refuses a group that is somebody's primary one."""
        tool(host, ["groupdel", slots.name])
        return Done(left=(Left(f"group:{slots.name}", "absent"),))

    def undo(self, host: Host, undo: Any) -> None:
        """Make it again."""
        host.forget_answers()
        accounts = read_accounts(host)
        if undo["name"] not in accounts.groups:
            tool(host, ["groupadd", "-g", str(undo["gid"]), undo["name"]])
        for member in undo["members"]:
            if member in accounts.users:
                tool(host, ["usermod", "-a", "-G", undo["name"], member])


class MemberSlots(Struct, frozen=True):
    group: Annotated[str, slot("string", "the group")]
    user: Annotated[str, slot("string", "the user")]
    absent: Annotated[bool, slot("bool", "the user must not be in it")] = False


@action("group.member", effect="outside", blocking=True)
class Member(BaseAction[MemberSlots]):
    """Have a user in a group, or not in it."""

    slots = MemberSlots

    def observe(self, host: Host, slots: MemberSlots) -> Satisfied | Change:
        """Looks into group."""
        accounts = read_accounts(host)
        group = accounts.groups.get(slots.group)
        if group is None:
            raise ActionError(f"there is no group {slots.group!r}", "make it first: plan.group.present")
        if slots.user not in accounts.users:
            raise ActionError(f"there is no user {slots.user!r}", "make it first: plan.user.present")
        if (slots.user in group.members) is not slots.absent:
            return Satisfied(left=(_membership(slots),))
        undo = {"group": slots.group, "user": slots.user, "was": slots.absent}
        return Change("is a member" if slots.absent else "is no member", undo=undo)

    def do(self, host: Host, slots: MemberSlots, change: Change) -> Done:
        """Add or remove it."""
        _set(host, slots.group, slots.user, member=not slots.absent)
        return Done(left=(_membership(slots),))

    def undo(self, host: Host, undo: Any) -> None:
        """As it was; where one of the two is gone there is nothing to give back."""
        host.forget_answers()
        accounts = read_accounts(host)
        if undo["group"] in accounts.groups and undo["user"] in accounts.users:
            _set(host, undo["group"], undo["user"], member=undo["was"])

    def fingerprint(self, host: Host, left: tuple[Left, ...]) -> tuple[Left, ...]:
        """Memberships as they are now."""
        groups = read_accounts(host).groups
        return tuple(_now(groups, one) for one in left)


def _set(host: Host, group: str, user: str, *, member: bool) -> None:
    now = set(read_accounts(host).groups_of(user))
    wanted = now | {group} if member else now - {group}
    if wanted != now:
        tool(host, ["usermod", "-G", ",".join(sorted(wanted)), user])


def _left(group: Group) -> Left:
    return Left(f"group:{group.name}", "token", token=str(group.gid))


def _membership(slots: MemberSlots) -> Left:
    return Left(f"member:{slots.group}/{slots.user}", "token", token="out" if slots.absent else "in")


def _now(groups: Any, left: Left) -> Left:
    group, _, user = left.path.removeprefix("member:").partition("/")
    found = groups.get(group)
    return Left(left.path, "token", token="in" if found is not None and user in found.members else "out")
