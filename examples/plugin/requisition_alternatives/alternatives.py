"""`alternatives.set`: which program a group such as `editor` stands for (update-alternatives(1))."""

from typing import Annotated, Any, NamedTuple

from msgspec import Struct

from requisition.schemas.receipt import Left
from requisition.stdlib.action import ActionError, BaseAction, Change, Done, Satisfied, UndoConflict, action
from requisition.stdlib.host import Host
from requisition.stdlib.spec import slot

_KIND = "alternative:"


class SetSlots(Struct, frozen=True):
    """What `plan.alternatives.set` takes."""

    group: Annotated[str, slot("string", "the group of alternatives, such as editor")]
    program: Annotated[str, slot("string", "path of the alternative that it is to stand for")]


class Selection(NamedTuple):
    """One group as it stands: `auto` follows priorities, `manual` was chosen."""

    mode: str
    program: str


@action("alternatives.set", effect="outside", blocking=True)
class Set(BaseAction[SetSlots]):
    """Choose what a group of alternatives stands for. Undo gives back the choice, or the automatic mode, of before."""

    slots = SetSlots

    def observe(self, host: Host, slots: SetSlots) -> Satisfied | Change:
        """One look at all groups, however many nodes ask."""
        found = _selections(host).get(slots.group)
        if found is None:
            raise ActionError(f"there is no group of alternatives {slots.group!r}", "install a package that brings it")
        if found == Selection("manual", slots.program):
            return Satisfied(left=(_left(slots),))
        if slots.program not in _choices(host, slots.group):
            raise ActionError(f"{slots.program} is no alternative for {slots.group}", "install it first")
        undo = {"group": slots.group, "was": list(found), "now": slots.program}
        return Change(f"was {found.program} ({found.mode})", undo=undo)

    def do(self, host: Host, slots: SetSlots, change: Change) -> Done:
        """Choose it."""
        _run(host, "--set", slots.group, slots.program)
        return Done(left=(_left(slots),))

    def undo(self, host: Host, undo: Any) -> None:
        """Back to what was; a choice that someone made since is left alone."""
        group, was = undo["group"], Selection(*undo["was"])
        found = _selections(host).get(group)
        if found == was or found is None:
            return
        if found != Selection("manual", undo["now"]):
            raise UndoConflict(f"{group} was set to {found.program} since")
        if was.mode == "auto":
            _run(host, "--auto", group)
        else:
            _run(host, "--set", group, was.program)

    def fingerprint(self, host: Host, left: tuple[Left, ...]) -> tuple[Left, ...]:
        """What each group stands for now."""
        found = _selections(host)
        now = [found.get(one.path.removeprefix(_KIND)) for one in left]
        return tuple(
            Left(one.path, "absent") if chosen is None else Left(one.path, "token", token=chosen.program)
            for one, chosen in zip(left, now, strict=True)
        )


def _left(slots: SetSlots) -> Left:
    return Left(_KIND + slots.group, "token", token=slots.program)


def _selections(host: Host) -> dict[str, Selection]:
    """Every group of the machine below the target root."""

    def look() -> dict[str, Selection]:
        done = host.ask(_command(host, "--get-selections"))
        rows = (line.split(maxsplit=2) for line in done.stdout.decode().splitlines())
        return {name: Selection(mode, program) for name, mode, program in rows}

    return host.recall("alternatives", look)


def _choices(host: Host, group: str) -> list[str]:
    return host.ask(_command(host, "--list", group)).stdout.decode().splitlines()


def _run(host: Host, *words: str) -> None:
    done = host.run(_command(host, *words))
    if done.status != 0:
        raise ActionError(done.stderr.decode("utf-8", "replace").strip() or "update-alternatives failed")


def _command(host: Host, *words: str) -> list[str]:
    return ["update-alternatives", "--root", host.real_path("/"), *words]
