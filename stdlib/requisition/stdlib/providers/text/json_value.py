"""A value in a JSON text, put at its place: every other byte stays (RFC 8259)."""

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from requisition.stdlib.action import ActionError

_SPACE = re.compile(r"[ \t\r\n]*")
_decoder = json.JSONDecoder()


class _Member(NamedTuple):
    """Where a member's key begins, and where its value begins and ends."""

    key: int
    start: int
    end: int


def set_json(text: str, key: Sequence[str], value: Any) -> str:
    """The text with `value` under the nested `key`; objects on the way are made. Raises ActionError."""
    if not text.strip():
        text = "{}\n"
    try:
        json.loads(text)
        return _set(text, _skip(text, 0), key, value)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ActionError(f"the file is not JSON: {error}") from error


def _set(text: str, at: int, key: Sequence[str], value: Any) -> str:
    if text[at] != "{":
        raise ActionError(f"there is no object to hold {key[0]!r}", "name another key")
    members = _members(text, at)
    found = members.get(key[0])
    if found is None:
        for part in reversed(key[1:]):
            value = {part: value}
        return _insert(text, at, members, key[0], value)
    if len(key) > 1:
        return _set(text, found.start, key[1:], value)
    if _same(json.loads(text[found.start : found.end]), value):
        return text
    return text[: found.start] + _dumped(value, _indent_at(text, found.key), text) + text[found.end :]


def _members(text: str, at: int) -> dict[str, _Member]:
    """Members of the object that begins at `at`, the last of a name winning as it does for parsers."""
    members: dict[str, _Member] = {}
    at = _skip(text, at + 1)
    while text[at] != "}":
        key_at = at
        name, at = _decoder.raw_decode(text, at)
        start = _skip(text, _skip(text, at) + 1)
        _, end = _decoder.raw_decode(text, start)
        members[name] = _Member(key_at, start, end)
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)
    return members


def _insert(text: str, at: int, members: dict[str, _Member], name: str, value: Any) -> str:
    """A new member behind the last one, in the form of its neighbours."""
    if not members:
        close = _skip(text, at + 1)
        outer = _indent_at(text, at)
        inner = outer + _step(text)
        body = f"\n{inner}{json.dumps(name)}: {_dumped(value, inner, text)}\n{outer}"
        return text[: at + 1] + body + text[close:]
    last = max(members.values(), key=lambda member: member.end)
    line_start = text.rfind("\n", at, last.key)
    if line_start < 0:  # all on one line
        return f"{text[: last.end]}, {json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}{text[last.end :]}"
    indent = _indent_at(text, last.key)
    body = f",\n{indent}{json.dumps(name, ensure_ascii=False)}: {_dumped(value, indent, text)}"
    return text[: last.end] + body + text[last.end :]


def _dumped(value: Any, indent: str, text: str) -> str:
    """A value as JSON, its lines indented as the text's own are."""
    return json.dumps(value, indent=_step(text), ensure_ascii=False).replace("\n", "\n" + indent)


def _indent_at(text: str, at: int) -> str:
    """Blanks at the beginning of the line that holds this place."""
    start = text.rfind("\n", 0, at) + 1
    return text[start : start + len(text[start:at]) - len(text[start:at].lstrip(" \t"))]


def _step(text: str) -> str:
    """One level of indentation: that of the first indented line; two blanks where there is none."""
    found = re.search(r"\n([ \t]+)\S", text)
    return found[1] if found else "  "


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _same(found: Any, wanted: Any) -> bool:
    return json.dumps(found, sort_keys=True) == json.dumps(wanted, sort_keys=True)
