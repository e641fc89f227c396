"""The one YAML reader for everything that people write, and for orders in their readable form.

A subset that means what it looks like: no tags, anchors, aliases or merge keys, no duplicate keys, text
keys only, bounded size and depth; `true` and `false` are the only booleans (`yes`, `on` stay text), numbers
are decimal integers, dates stay text. Every finding has file, line and column.
"""

import difflib
import types
from collections.abc import Iterator
from functools import cache
from typing import Any, TypeVar

import msgspec
import yaml

from requisition.schemas.diagnostic import BadInput, Diagnostic

MAX_BYTES = 4 << 20
MAX_DEPTH = 64

T = TypeVar("T")
Path = tuple[str | int, ...]
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Positions(dict[Path, tuple[int, int]]):
    """Line and column (from 1) of every value by its path; of keys in `of_keys`."""

    def __init__(self) -> None:
        super().__init__()
        self.of_keys: dict[Path, tuple[int, int]] = {}


class BadYaml(BadInput):
    """The text is not in the subset."""


def load(text: bytes | str, file: str, *, limit: int = MAX_BYTES, depth: int = MAX_DEPTH) -> tuple[Any, Positions]:
    """(value, position of every path as 1-based line and column). Raises BadYaml."""
    if len(text) > limit:
        raise BadYaml.of(f"the file is larger than {limit} bytes", where=file)
    positions = Positions()
    try:
        return _Reader(text, file, positions, depth).document(), positions
    except yaml.YAMLError as error:
        raise BadYaml(_yaml_finding(error, file)) from error
    except (UnicodeDecodeError, RecursionError, ValueError) as error:
        raise BadYaml.of(f"this is not readable YAML: {error}", where=file) from error


def load_typed(text: bytes | str, file: str, kind: type[T]) -> T:
    """The value as a record. Raises BadYaml naming place, what was found and what was expected."""
    return typed(*load(text, file), file, kind)


def typed(value: Any, positions: Positions, file: str, kind: type[T]) -> T:
    """What `load` gave, as a record. Raises BadYaml with every mistake, each naming place, what was found and what
    was expected."""
    unknown = _unknown_keys(value, kind, (), positions, file)
    try:
        found = msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        mistakes = []
        for path, what in _mistakes(value, kind, ()):
            line, column = _nearest(path, positions)
            shown = ".".join(map(str, path)) or "the document"
            where = f"{file}:{line}:{column}"
            mistakes.append(Diagnostic(what=f"{shown}: {what}", where=where, next="correct it"))
        raise BadYaml([*unknown, *mistakes]) from error
    if unknown:
        raise BadYaml(unknown)
    return found


class _Reader:
    """Builds values from parser events, so that nothing is expanded before it was looked at."""

    def __init__(self, text: bytes | str, file: str, positions: Positions, depth: int) -> None:
        self._events = _Loader(text)
        self._file = file
        self._positions = positions
        self._deepest = depth

    def document(self) -> Any:
        """The only document of the stream."""
        self._next(yaml.StreamStartEvent)
        if self._events.check_event(yaml.StreamEndEvent):
            return None
        self._next(yaml.DocumentStartEvent)
        value = self._value((), 0)
        self._next(yaml.DocumentEndEvent)
        if not self._events.check_event(yaml.StreamEndEvent):
            raise self._bad("only one document is expected", self._events.peek_event())
        return value

    def _next(self, kind: type[Any]) -> Any:
        event = self._events.get_event()
        if not isinstance(event, kind):
            raise self._bad("unexpected structure", event)
        return event

    def _value(self, path: Path, depth: int) -> Any:
        event = self._events.get_event()
        if isinstance(event, yaml.AliasEvent):
            raise self._bad("aliases are not allowed", event)
        if event.anchor is not None:
            raise self._bad("anchors are not allowed", event)
        if event.tag is not None:
            raise self._bad(f"tags are not allowed, found {event.tag}", event)
        if depth > self._deepest:
            raise self._bad(f"nested deeper than {self._deepest}", event)
        self._positions[path] = _place(event)
        if isinstance(event, yaml.ScalarEvent):
            return event.value if event.style else _plain(event.value)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(path, depth)
        return self._mapping(path, depth)

    def _sequence(self, path: Path, depth: int) -> list[Any]:
        items: list[Any] = []
        while not self._events.check_event(yaml.SequenceEndEvent):
            items.append(self._value((*path, len(items)), depth + 1))
        self._events.get_event()
        return items

    def _mapping(self, path: Path, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not self._events.check_event(yaml.MappingEndEvent):
            event = self._events.get_event()
            if not isinstance(event, yaml.ScalarEvent) or event.tag or event.anchor:
                raise self._bad("a key must be plain text", event)
            key = event.value
            if key == "<<":
                raise self._bad("merge keys are not allowed", event)
            if key in found:
                raise self._bad(f"the key {key!r} stands here twice", event)
            self._positions.of_keys[*path, key] = _place(event)
            found[key] = self._value((*path, key), depth + 1)
        self._events.get_event()
        return found

    def _bad(self, what: str, event: Any) -> BadYaml:
        line, column = _place(event)
        return BadYaml.of(what, where=f"{self._file}:{line}:{column}", next="write it out plainly")


def _place(event: Any) -> tuple[int, int]:
    return event.start_mark.line + 1, event.start_mark.column + 1


def _plain(text: str) -> Any:
    if text in ("", "~", "null"):
        return None
    if text in ("true", "false"):
        return text == "true"
    digits = text[1:] if text.startswith("-") else text
    if digits.isascii() and digits.isdigit() and len(digits) < 20 and (digits == "0" or digits[0] != "0"):
        return int(text)
    return text


def _yaml_finding(error: yaml.YAMLError, file: str) -> Diagnostic:
    mark = getattr(error, "problem_mark", None)
    where = f"{file}:{mark.line + 1}:{mark.column + 1}" if mark is not None else file
    problem = getattr(error, "problem", None) or str(error)
    return Diagnostic(what=f"this is not YAML: {problem}", where=where, next="check indentation and quotes there")


def _split(message: str) -> tuple[str, Path]:
    """msgspec's message without its path, and the path (`$.a[0].b`)."""
    what, _, place = message.partition(" - at `")
    path: list[str | int] = []
    for part in place.rstrip("`").removeprefix("$").replace("[", ".[").split("."):
        if part.startswith("["):
            inner = part.strip("[]")
            path.append(int(inner) if inner.isdigit() else inner)
        elif part:
            path.append(part)
    return what, tuple(path)


def _nearest(path: Path, positions: Positions) -> tuple[int, int]:
    for end in range(len(path), -1, -1):
        if path[:end] in positions:
            return positions[path[:end]]
    return 1, 1


def _mistakes(value: Any, kind: Any, path: Path) -> Iterator[tuple[Path, str]]:
    """Every place whose value has not the type it must have, unknown keys left out."""
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        what, at = _split(str(error))
    else:
        return
    kind, record = _without_none(kind), record_of(kind)
    arguments = _inner_kinds(kind)
    inner: list[tuple[Path, str]] = []
    if isinstance(value, dict) and record is not None:
        for name, inside in _fields(record).items():
            if name in value:
                inner += _mistakes(value[name], inside, (*path, name))
        required = [field.encode_name for field in msgspec.structs.fields(record) if field.required]
        inner += [(path, f"Object missing required field `{name}`") for name in required if name not in value]
    elif isinstance(value, dict) and arguments:
        inner = [one for key, item in value.items() for one in _mistakes(item, arguments[-1], (*path, key))]
    elif isinstance(value, list) and arguments and record is None:
        inner = [one for n, item in enumerate(value) for one in _mistakes(item, arguments[0], (*path, n))]
    if not inner and "unknown field" not in what:
        inner = [((*path, *at), what)]
    yield from inner


def _unknown_keys(value: Any, kind: Any, path: Path, positions: Positions, file: str) -> list[Diagnostic]:
    """Keys that a record does not have, at every level, each with the nearest known one."""
    kind = _without_none(kind)
    record = record_of(kind)
    if isinstance(value, dict) and record is not None:
        fields = _fields(record)
        found = []
        for key, inner in value.items():
            if key in fields:
                found += _unknown_keys(inner, fields[key], (*path, key), positions, file)
                continue
            near = difflib.get_close_matches(key, fields, 1)
            line, column = positions.of_keys[*path, key]
            found.append(
                Diagnostic(
                    what=f"unknown key {key!r}",
                    where=f"{file}:{line}:{column}",
                    why=f"known here: {', '.join(sorted(fields))}",
                    next=f"did you mean {near[0]!r}?" if near else "remove it",
                )
            )
        return found
    arguments = _inner_kinds(kind)
    if isinstance(value, dict) and arguments:
        return [f for k, v in value.items() for f in _unknown_keys(v, arguments[-1], (*path, k), positions, file)]
    if isinstance(value, list) and arguments:
        return [f for i, v in enumerate(value) for f in _unknown_keys(v, arguments[0], (*path, i), positions, file)]
    return []


def _without_none(kind: Any) -> Any:
    """`list[X]` of `list[X] | None`."""
    others = [one for one in getattr(kind, "__args__", ()) if one is not type(None)]
    return others[0] if isinstance(kind, types.UnionType) and len(others) == 1 else kind


@cache
def _fields(record: type[msgspec.Struct]) -> dict[str, Any]:
    """Types of a record's fields by their keys."""
    return {field.encode_name: field.type for field in msgspec.structs.fields(record)}


def _inner_kinds(kind: Any) -> tuple[Any, ...]:
    """The types inside of a list, tuple or dict."""
    return kind.__args__ if getattr(kind, "__origin__", None) in (list, tuple, dict) else ()


def record_of(kind: Any) -> type[msgspec.Struct] | None:
    """The record that a type is, or may be (`X | None`); None for other types."""
    kind = _without_none(kind)
    return kind if isinstance(kind, type) and issubclass(kind, msgspec.Struct) else None
