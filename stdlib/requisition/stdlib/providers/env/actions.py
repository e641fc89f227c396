"""`env.user` and `env.machine`: a managed block of variables in each file that a shell reads."""

import re
from collections.abc import Sequence
from typing import Annotated

from msgspec import Struct

from requisition.schemas.receipt import Left
from requisition.stdlib.action import ActionError, BaseAction, Change, Done, Satisfied, action
from requisition.stdlib.host import ABSENT, FileChange, Host
from requisition.stdlib.providers.env.places import Home, Place, home_of, of_machine, of_user
from requisition.stdlib.providers.env.words import Variables, check, fish, posix
from requisition.stdlib.providers.file import missing_parents
from requisition.stdlib.providers.text.edit import New, observe_edit
from requisition.stdlib.providers.text.lines import BlockSlots, with_block
from requisition.stdlib.spec import Output, slot

PATHS = (Output("paths", "strings", "the files in which the variables stand"),)

Values = Annotated[dict[str, str], slot("dict", "variables and their values, taken to the letter; never a secret")]
Unset = Annotated[list[str], slot("strings", "variables that shells are to forget")]
Name = Annotated[str, slot("string", "tells these variables from others that are set here")]
Absent = Annotated[bool, slot("bool", "remove all that was set under this name")]


class UserSlots(Struct, frozen=True):
    variables: Values = {}
    path: Annotated[list[str], slot("strings", "folders to have in PATH, in front; ~/ stands for the home")] = []
    unset: Unset = []
    user: Annotated[str, slot("string", "whose; empty: of whoever applies")] = ""
    home: Annotated[
        str,
        slot(
            "path",
            "the home directory, where it is not the account's; then calls below it are done as written",
            writes=True,
        ),
    ] = ""
    shells: Annotated[
        list[str], slot("strings", "of sh, bash, zsh, fish; none given: sh, and those of which the home has a file")
    ] = []
    name: Name = "environment"
    absent: Absent = False


class MachineSlots(Struct, frozen=True):
    variables: Values = {}
    path: Annotated[list[str], slot("strings", "folders to have in PATH, in front")] = []
    unset: Unset = []
    shells: Annotated[
        list[str], slot("strings", "of sh, bash, zsh, fish; none given: sh and bash, and what is installed")
    ] = []
    name: Name = "environment"
    absent: Absent = False


@action("env.user", outputs=PATHS, blocking=True, serial=True)
class User(BaseAction[UserSlots]):
    """Set variables for a user, in the files that the shells sh, bash, zsh and fish read when they start. What was
    started before does not see them, nor do services and cron jobs. Do not put secrets here: others may read it."""

    slots = UserSlots

    def observe(self, host: Host, slots: UserSlots) -> Satisfied | Change:
        """Compares each file with what it would be."""
        wanted = _wanted(slots, home=True)
        home = home_of(host, slots.user, slots.home)
        places = of_user(host, home, _everywhere(slots))
        return _observe(host, places, slots, wanted, home)

    def do(self, host: Host, slots: UserSlots, change: Change) -> Done:
        """Put the new texts in place."""
        return _put(host, change)


@action("env.machine", outputs=PATHS, blocking=True, serial=True)
class Machine(BaseAction[MachineSlots]):
    """Set variables for all users, in the files that login shells (zsh and fish: all shells) read when they start.
    What was started before does not see them, nor do services and cron jobs. Secrets have no place here."""

    slots = MachineSlots

    def observe(self, host: Host, slots: MachineSlots) -> Satisfied | Change:
        """Compares each file with what it would be."""
        wanted = _wanted(slots, home=False)
        return _observe(host, of_machine(host, _everywhere(slots)), slots, wanted, None)

    def do(self, host: Host, slots: MachineSlots, change: Change) -> Done:
        """Put the new texts in place."""
        return _put(host, change)


def _wanted(slots: UserSlots | MachineSlots, *, home: bool) -> Variables:
    if not re.fullmatch(r"[\w.-]{1,64}", slots.name, re.ASCII):
        raise ActionError(f"{slots.name!r} cannot name variables", "use letters, digits and . - _")
    wanted = Variables(slots.variables, slots.unset, slots.path)
    if bool(wanted) == slots.absent:
        raise ActionError(
            "nothing is set" if not slots.absent else "variables are given, and absent = True",
            "give variables, path or unset; or absent = True alone",
        )
    check(wanted, home=home)
    return wanted


def _everywhere(slots: UserSlots | MachineSlots) -> Sequence[str]:
    """The shells asked for; to remove, all of them, whatever is in use by now."""
    return slots.shells or (("sh", "bash", "zsh", "fish") if slots.absent else ())


def _observe(
    host: Host, places: Sequence[Place], slots: UserSlots | MachineSlots, wanted: Variables, home: Home | None
) -> Satisfied | Change:
    """All files as one change."""
    files: list[FileChange] = []
    contents: list[bytes | None] = []
    lefts: list[Left] = []
    for place in places:
        if slots.absent and host.stat(place.path) is None:
            continue
        found = _edited(host, place, slots, wanted, home)
        if isinstance(found, Satisfied):
            lefts += found.left
            continue
        above = _above(host, place, home) if found.files[0].prior is ABSENT else []
        files += [*above, *found.files]
        contents += [*(None for _ in above), *found.contents]
    outputs = {"paths": [place.path for place in places]}
    if not files:
        return Satisfied(outputs, tuple(lefts))
    reason = f"{len([one for one in contents if one is not None])} of {len(places)} files"
    return Change(reason, tuple(files), tuple(contents), None, outputs, any(one.expect.sealed for one in files))


def _edited(
    host: Host, place: Place, slots: UserSlots | MachineSlots, wanted: Variables, home: Home | None
) -> Satisfied | Change:
    """One file, with the block in it or without."""
    found = host.stat(place.path)
    if found is not None and found.kind == "link":
        raise ActionError(
            f"{place.path} is a link: what it points to belongs to somebody else",
            "set the variables where it comes from, or leave this shell out: shells = [...]",
        )
    text = fish(wanted) if place.fish else posix(wanted)
    block = BlockSlots(place.path, slots.name, text, absent=slots.absent)
    owner, group = (str(home.uid), str(home.gid)) if home and home.uid >= 0 else ("", "")
    new = New(not slots.absent, 0o644, owner, group)
    change = observe_edit(host, place.path, new, lambda before: with_block(before, block))
    if isinstance(change, Change) and place.ours and change.contents[0] == b"":
        gone = FileChange(place.path, change.files[0].prior, Left(place.path, "absent"))
        return Change("present", (gone,), (b"",))
    return change


def _above(host: Host, place: Place, home: Home | None) -> list[FileChange]:
    """The folders that a new file needs; in a home they are for its user alone (XDG Base Directory Specification)."""
    mode, uid, gid = (0o700, home.uid, home.gid) if home else (0o755, -1, -1)
    return [FileChange(path, ABSENT, Left(path, "dir", mode, uid, gid)) for path in missing_parents(host, place.path)]


def _put(host: Host, change: Change) -> Done:
    for file, content in zip(change.files, change.contents, strict=True):
        if file.expect.kind == "dir":
            host.make_dir(file)
        elif file.expect.kind == "absent":
            host.delete(file)
        else:
            host.put_file(file, content or b"")
    return Done(change.outputs or {}, tuple(one.expect for one in change.files))
