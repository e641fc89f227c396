"""`text.line` and `text.block`: one line, or a block between markers, in a file that others write too."""

import re
from typing import Annotated

from msgspec import Struct

from requisition.stdlib.action import ActionError, BaseAction, Change, Done, Satisfied, action
from requisition.stdlib.host import Host
from requisition.stdlib.providers.file import PATH
from requisition.stdlib.providers.text.edit import (
    Create,
    EditedPath,
    New,
    NewGroup,
    NewMode,
    NewOwner,
    Validate,
    line_end,
    observe_edit,
    put_edit,
)
from requisition.stdlib.spec import slot


class LineSlots(Struct, frozen=True):
    path: EditedPath
    line: Annotated[str, slot("string", "the whole line; with absent = True, the line that is to go")]
    match: Annotated[
        str,
        slot("string", "regular expression of the line it stands for: the last that matches is replaced, others go"),
    ] = ""
    below: Annotated[str, slot("string", "regular expression: a new line goes below the last that matches")] = ""
    absent: Annotated[bool, slot("bool", "remove the line, and every one that `match` finds")] = False
    create: Create = False
    mode: NewMode = 0o644
    owner: NewOwner = ""
    group: NewGroup = ""
    validate: Validate = []


@action("text.line", outputs=PATH, blocking=True)
class Line(BaseAction[LineSlots]):
    """Have a line in a file exactly once, or not at all."""

    slots = LineSlots

    def observe(self, host: Host, slots: LineSlots) -> Satisfied | Change:
        """Compares the file with what it would be."""
        if "\n" in slots.line or "\r" in slots.line:
            raise ActionError("a line has no line break in it", "use plan.text.block for several lines")
        match, below = _pattern("match", slots.match), _pattern("below", slots.below)
        new = New(slots.create and not slots.absent, slots.mode, slots.owner, slots.group)
        if slots.absent and host.stat(slots.path) is None:
            return Satisfied({"path": slots.path})
        return observe_edit(host, slots.path, new, lambda text: with_line(text, slots.line, match, below, slots.absent))

    def do(self, host: Host, slots: LineSlots, change: Change) -> Done:
        """Put the new text in place."""
        return put_edit(host, change, slots.validate)


def with_line(text: str, line: str, match: re.Pattern[str] | None, below: re.Pattern[str] | None, absent: bool) -> str:
    """The text with the line in it once, or without it."""
    lines = text.splitlines(keepends=True)
    bare = [one.rstrip("\r\n") for one in lines]
    hits = [at for at, one in enumerate(bare) if one == line or (match is not None and match.search(one))]
    if absent:
        return "".join(one for at, one in enumerate(lines) if at not in set(hits))
    if hits:
        at = hits[-1]
        if len(hits) == 1 and bare[at] == line:
            return text
        lines[at] = line + (lines[at][len(bare[at]) :])
        gone = set(hits[:-1])
        return "".join(one for at, one in enumerate(lines) if at not in gone)
    place = len(lines)
    if below is not None:
        place = next((at + 1 for at in range(len(bare) - 1, -1, -1) if below.search(bare[at])), place)
    end = line_end(text)
    if place and not lines[place - 1].endswith("\n"):
        lines[place - 1] += end
    lines.insert(place, line + end)
    return "".join(lines)


class BlockSlots(Struct, frozen=True):
    path: EditedPath
    name: Annotated[str, slot("string", "tells this block from others in the file")]
    text: Annotated[str, slot("string", "the lines of the block", secret=True)] = ""
    comment: Annotated[str, slot("string", "what begins a comment in this file, for the markers")] = "#"
    comment_end: Annotated[str, slot("string", "what ends it, where something must")] = ""
    below: Annotated[str, slot("string", "regular expression: a new block goes below the last line that matches")] = ""
    absent: Annotated[bool, slot("bool", "remove the block")] = False
    create: Create = False
    mode: NewMode = 0o644
    owner: NewOwner = ""
    group: NewGroup = ""
    validate: Validate = []


@action("text.block", outputs=PATH, blocking=True)
class Block(BaseAction[BlockSlots]):
    """Have a block of lines between two marker comments in a file. What stands outside of the markers stays."""

    slots = BlockSlots

    def observe(self, host: Host, slots: BlockSlots) -> Satisfied | Change:
        """Compares the file with what it would be."""
        if not re.fullmatch(r"[\w.:/ -]{1,80}", slots.name):
            raise ActionError(f"{slots.name!r} cannot name a block", "use letters, digits and . : / - _")
        if slots.absent and host.stat(slots.path) is None:
            return Satisfied({"path": slots.path})
        new = New(slots.create and not slots.absent, slots.mode, slots.owner, slots.group)
        return observe_edit(host, slots.path, new, lambda text: with_block(text, slots))

    def do(self, host: Host, slots: BlockSlots, change: Change) -> Done:
        """Put the new text in place."""
        return put_edit(host, change, slots.validate)


def with_block(text: str, slots: BlockSlots) -> str:
    """The text with the block as wanted, at its place if it has one, at the end otherwise."""
    first, last = _markers(slots)
    wanted = slots.text.splitlines()
    if first in wanted or last in wanted:
        raise ActionError(f"the text of block {slots.name!r} has its own marker in it")
    end = line_end(text)
    lines = text.splitlines(keepends=True)
    bare = [one.rstrip("\r\n") for one in lines]
    new = [] if slots.absent else [one + end for one in (first, *wanted, last)]
    starts, stops = bare.count(first), bare.count(last)
    if not starts and not stops:
        place = len(lines)
        if new and slots.below:
            below = re.compile(slots.below)
            place = next((at + 1 for at in range(len(bare) - 1, -1, -1) if below.search(bare[at])), place)
        if new and place and not lines[place - 1].endswith("\n"):
            lines[place - 1] += end
        return "".join([*lines[:place], *new, *lines[place:]])
    if starts != 1 or stops != 1 or bare.index(first) > bare.index(last):
        what = f"{slots.path}: the markers of block {slots.name!r} are not one pair"
        raise ActionError(what, "somebody edited them; mend the file by hand")
    return "".join([*lines[: bare.index(first)], *new, *lines[bare.index(last) + 1 :]])


def _markers(slots: BlockSlots) -> tuple[str, str]:
    around = f"{slots.comment} {{}} {slots.name}" + (f" {slots.comment_end}" if slots.comment_end else "")
    return around.format("begin managed block:"), around.format("end managed block:")


def _pattern(slot_name: str, text: str) -> re.Pattern[str] | None:
    if not text:
        return None
    try:
        return re.compile(text)
    except re.error as error:
        raise ActionError(f"{slot_name} is no regular expression: {error}") from error
