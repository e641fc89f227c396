"""Slot values of a call as they stand in the order: paths normalized, times in milliseconds, inputs pinned,
promises by node id. One function a slot type."""

import re
from collections.abc import Callable, Iterable
from posixpath import normpath
from typing import Any

from requisition.schemas.canonical import MAX_INTEGER
from requisition.schemas.diagnostic import BadInput
from requisition.stdlib.spec import ActionSpec, Slot

_DURATION = re.compile(r"(\d{1,9})(ms|s|m|h)\Z")
_MAX_DEPTH = 64
_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}
_PLAIN: dict[str, tuple[type[Any], str]] = {
    "string": (str, "text"),
    "content": (str, "text"),
    "int": (int, "a number"),
    "bool": (bool, "True or False"),
    "strings": (list, "a list of text"),
    "dict": (dict, "a dict"),
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


def convert(spec: ActionSpec, values: Iterable[Any], location: str, mark: Mark, pin: Pin) -> dict[str, Any]:
    """All slots of a call, whose values stand in the order of the catalogue entry. Raises BadInput with the
    call's place."""
    out: dict[str, Any] = {}
    for slot, value in zip(spec.slots, values, strict=True):
        if value is None:
            if slot.required:
                raise bad(location, f"plan.{spec.name}: {slot.name!r} is missing")
            continue
        name, kind = slot.name, slot.type
        if slot.only_secret:
            out[name] = _only_secret(value, spec, slot, location, mark)
        elif value.__class__ is dict and (marked := mark(value)) is not None:
            out[name] = _allowed(marked, spec, slot, location)
        elif kind == "path":
            out[name] = target_path(value, location, name)
        elif kind == "input":
            out[name] = pin(_text(value, location, name), location) if value else value
        elif kind == "duration":
            out[name] = duration_ms(value, location, name)
        elif kind == "mode":
            out[name] = _mode(value, location, name)
        else:
            out[name] = _plain(spec, slot, value, location, mark, pin)
    return out


def _plain(spec: ActionSpec, slot: Slot, value: Any, location: str, mark: Mark, pin: Pin) -> Any:
    kind, expected = _PLAIN.get(slot.type, (object, ""))
    found = value.__class__
    if found is not kind and kind is not object:
        raise bad(location, f"plan.{spec.name}: {slot.name}: found {_shown(value)}, expected {expected}")
    if found is str or found is bool:
        return value
    if slot.name == "includes":
        return [pin(_text(item, location, slot.name), location) for item in value]
    value = _inside(spec, slot, value, location, mark)
    if slot.type == "strings":
        for item in value:
            if item.__class__ is not str and item.__class__ is not dict:
                raise bad(location, f"plan.{spec.name}: {slot.name}: found {_shown(item)} in it, expected {expected}")
    return value


def _inside(spec: ActionSpec, slot: Slot, value: Any, location: str, mark: Mark, depth: int = 0) -> Any:
    """A value at any depth: promises and secrets resolved, and nothing that an order cannot hold."""
    found = value.__class__
    if depth > _MAX_DEPTH:
        raise bad(location, f"plan.{spec.name}: {slot.name}: nested deeper than {_MAX_DEPTH}")
    if found is dict:
        marked = mark(value)
        if marked is not None:
            return _allowed(marked, spec, slot, location)
        for key in value:
            if key.startswith("$") or not key.isascii():
                raise bad(location, f"plan.{spec.name}: {slot.name}: the key {key!r} must be ASCII without a $ first")
        return {key: _inside(spec, slot, inner, location, mark, depth + 1) for key, inner in value.items()}
    if found is list:
        return [_inside(spec, slot, inner, location, mark, depth + 1) for inner in value]
    if found is float or (found is int and abs(value) > MAX_INTEGER):
        raise bad(location, f"plan.{spec.name}: {slot.name}: found {value!r}, expected text or a number within ±2^53")
    return value


def _allowed(marked: dict[str, Any], spec: ActionSpec, slot: Slot, location: str) -> dict[str, Any]:
    """A secret stands only where nobody else can read it."""
    if "$secret" not in marked or slot.secret:
        return marked
    raise misplaced_secret(spec, slot, location)


def misplaced_secret(spec: ActionSpec, slot: Slot, location: str) -> BadInput:
    """The finding for a secret, or what was made of one, in a slot that others can read."""
    fitting = ", ".join(one.name for one in spec.slots if one.secret)
    return BadInput.of(
        f"plan.{spec.name}: a secret may not stand in {slot.name!r}",
        where=location,
        why="it would end up where others can read it: arguments, environment, names",
        next=f"use one of: {fitting}" if fitting else "write it into a file with plan.file.write, mode 0o600",
    )


def _only_secret(value: Any, spec: ActionSpec, slot: Slot, location: str, mark: Mark) -> dict[str, Any]:
    marked = mark(value) if isinstance(value, dict) else None
    if marked is not None and "$secret" in marked:
        return marked
    raise BadInput.of(
        f"plan.{spec.name}: {slot.name}: the value itself has no place in an order",
        where=location,
        why="whoever reads the order would have it",
        next=f'{slot.name} = plan.secret("name"), and plan apply --secret name=file:PATH',
    )


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


def bad(location: str, what: str) -> BadInput:
    """A finding at a call."""
    return BadInput.of(what, where=location, next="see plan actions for what each action takes")
