"""Slot values of a call as they stand in the order: paths normalized, times in milliseconds, inputs pinned,
promises by node id. One function a slot type."""

import re
from collections.abc import Callable
from posixpath import normpath
from typing import Any

from requisition.schemas.diagnostic import BadInput
from requisition.stdlib.spec import ActionSpec

_DURATION = re.compile(r"(\d{1,9})(ms|s|m|h)\Z")
_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}
_SIMPLE: dict[str, tuple[type[Any], ...]] = {
    "string": (str,),
    "int": (int,),
    "bool": (bool,),
    "strings": (list,),
    "dict": (dict,),
    "content": (str,),
}
_EXPECTED = {
    "strings": "a list of text",
    "dict": "a dict",
    "content": "text",
    "string": "text",
    "int": "a number",
}
Mark = Callable[[dict[str, Any]], dict[str, Any] | None]
Pin = Callable[[str, str], str]


def duration_ms(value: Any, location: str, name: str) -> int:
    """ "200ms", "5s", "2m", "1h" or a number of milliseconds."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    found = _DURATION.match(value) if isinstance(value, str) else None
    if found is None:
        raise bad(location, f"{name}: found {value!r}, expected a time as 200ms, 5s, 2m or 1h")
    return int(found[1]) * _UNITS[found[2]]


def target_path(value: Any, location: str, name: str) -> str:
    """A path below the target root. `~/x` and `x` are below it too; `..` may not lead out."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise bad(location, f"{name}: found {value!r}, expected a path")
    if value[0] == "/" and "/." not in value and "//" not in value and (value[-1] != "/" or value == "/"):
        return value
    text = value[1:] if value.startswith("~/") else value
    path = normpath("/" + text.lstrip("/"))
    if ".." in text.split("/") and not _stays_inside(text):
        raise bad(location, f"{name}: {value!r} leads out of the target root")
    return path


def _stays_inside(path: str) -> bool:
    depth = 0
    for part in path.split("/"):
        depth += -1 if part == ".." else 1 if part not in ("", ".") else 0
        if depth < 0:
            return False
    return True


def convert(spec: ActionSpec, slots: dict[str, Any], location: str, mark: Mark, pin: Pin) -> dict[str, Any]:
    """All slots of a call. Raises BadInput with the call's place."""
    out: dict[str, Any] = {}
    for slot in spec.slots:
        value = slots.get(slot.name)
        if value is None:
            if slot.required:
                raise bad(location, f"plan.{spec.name}: {slot.name!r} is missing")
            continue
        kind = type(value)
        if kind is dict and (marked := mark(value)) is not None:
            if "$secret" in marked and not slot.secret:
                raise _secret_misplaced(spec, slot.name, location)
            out[slot.name] = marked
        elif slot.type == "path":
            out[slot.name] = target_path(value, location, slot.name)
        elif slot.type == "input":
            out[slot.name] = pin(_text(value, location, slot.name), location) if value else value
        elif slot.type == "duration":
            out[slot.name] = duration_ms(value, location, slot.name)
        elif slot.type == "mode":
            out[slot.name] = _mode(value, location, slot.name)
        else:
            out[slot.name] = _other(spec, slot.name, slot.type, value, location, mark, slot.secret, pin)
    return out


def _other(
    spec: ActionSpec,
    name: str,
    kind: str,
    value: Any,
    location: str,
    mark: Mark,
    secret: bool,
    pin: Pin,
) -> Any:
    expected = _SIMPLE.get(kind)
    if expected is not None and type(value) not in expected:
        raise bad(location, f"plan.{spec.name}: {name}: found {_shown(value)}, expected {_EXPECTED.get(kind, kind)}")
    if name == "includes":
        return [pin(_text(item, location, name), location) for item in value]
    if type(value) in (dict, list):
        return _inside(spec, name, value, location, mark, secret)
    return value


def _inside(spec: ActionSpec, name: str, value: Any, location: str, mark: Mark, secret: bool) -> Any:
    if isinstance(value, dict):
        marked = mark(value)
        if marked is not None:
            if "$secret" in marked and not secret:
                raise _secret_misplaced(spec, name, location)
            return marked
        for key in value:
            if key.startswith("$"):
                raise bad(location, f"plan.{spec.name}: {name}: the key {key!r} may not begin with $")
        return {key: _inside(spec, name, inner, location, mark, secret) for key, inner in value.items()}
    if isinstance(value, list):
        return [_inside(spec, name, inner, location, mark, secret) for inner in value]
    return value


def _mode(value: Any, location: str, name: str) -> int:
    if type(value) is not int or not 0 <= value <= 0o7777:
        raise bad(location, f"{name}: found {value!r}, expected permission bits as 0o644")
    return value


def _text(value: Any, location: str, name: str) -> str:
    if not isinstance(value, str):
        raise bad(location, f"{name}: found {_shown(value)}, expected a file of the package")
    return value


def _shown(value: Any) -> str:
    return f"{value!r} ({type(value).__name__})" if not isinstance(value, (dict, list)) else type(value).__name__


def _secret_misplaced(spec: ActionSpec, name: str, location: str) -> BadInput:
    fitting = ", ".join(slot.name for slot in spec.slots if slot.secret)
    return BadInput.of(
        f"plan.{spec.name}: a secret may not stand in {name!r}",
        where=location,
        why="it would end up where others can read it: arguments, environment, names",
        next=f"use one of: {fitting}" if fitting else "write it into a file with plan.file.write, mode 0o600",
    )


def bad(location: str, what: str) -> BadInput:
    """A finding at a call."""
    return BadInput.of(what, where=location, next="see plan actions for what each action takes")
