"""SOPS files in YAML: sealed values are replaced where they stand, and all else stays as it is written.

Comments that sops encrypted are left out; they are no part of its MAC.
"""

import re
from typing import Any

import yaml

from requisition.schemas import strictyaml
from requisition.schemas.diagnostic import BadInput
from requisition.stdlib.action import ActionError
from requisition.stdlib.providers.encryption.age import Identities
from requisition.stdlib.providers.encryption.sops import SEALED, Leaves, Opener, Plain, metadata, number, shown

_COMMENT = rf"#{SEALED.pattern}"
_COMMENT_LINE = re.compile(rf"\n[ \t]*{_COMMENT}[ \t]*(?=\n)")
_FIRST_LINE = re.compile(rf"\A[ \t]*{_COMMENT}[ \t]*\n")
_BEHIND = re.compile(rf"[ \t]+{_COMMENT}")
_SIMPLE = re.compile(r"[A-Za-z][A-Za-z0-9_./@+-]*\Z")
_WORDS = frozenset(["true", "false", "yes", "no", "on", "off", "y", "n", "null", "nan", "inf"])
_INTEGER = re.compile(r"[-+]?(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|[0-9]+)\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")
_BOOLEANS = ("true", "True", "TRUE", "false", "False", "FALSE")


def open_yaml(text: str, identities: Identities, source: str) -> tuple[bytes, Leaves]:
    """(the plain document, its values). Raises ActionError, and BadInput for YAML that is none of ours."""
    document, _ = strictyaml.load(text, source)
    section = document.get("sops") if isinstance(document, dict) else None
    walk = _Walk(text, Opener(metadata(section, source), identities, source))
    try:
        walk.run()
    except (yaml.YAMLError, ValueError) as error:
        raise BadInput.of(f"this is not readable YAML: {error}", where=source) from error
    if walk.flow:
        raise ActionError(f"{source} is written in braces", "write it as sops does, or as JSON with that ending")
    walk.opener.verify()
    return walk.written().encode(), walk.leaves


class _Walk:
    """One pass over the events of a document that `strictyaml` has found sound."""

    def __init__(self, text: str, opener: Opener) -> None:
        self.opener = opener
        self.leaves: Leaves = {}
        self.flow = False
        self._text = text
        self._events = yaml.parse(text, Loader=yaml.SafeLoader)
        self._spans: list[tuple[int, int, str | None]] = []  # what stands in the text, and what is to

    def run(self) -> None:
        """Look at every value, in the order of the file."""
        for event in self._events:
            if isinstance(event, yaml.MappingStartEvent):
                self.flow = bool(event.flow_style)
                self._mapping((), ())

    def written(self) -> str:
        """The text with everything replaced."""
        parts, end = [], 0
        for start, stop, new in sorted(self._spans):
            parts += [self._between(end, start), self._text[start:stop] if new is None else new]
            end = stop
        parts.append(self._between(end, len(self._text)))
        return "".join(parts)

    def _between(self, start: int, stop: int) -> str:
        gap = self._text[start:stop]
        if start == 0:
            while (shorter := _FIRST_LINE.sub("", gap)) != gap:
                gap = shorter
        return _BEHIND.sub("", _COMMENT_LINE.sub("", gap))

    def _next(self) -> Any:
        return next(self._events)

    def _mapping(self, keys: tuple[str, ...], place: tuple[str, ...]) -> None:
        while not isinstance(key := self._next(), yaml.MappingEndEvent):
            if not keys and key.value == "sops":
                self._spans.append((key.start_mark.index, self._skip(), ""))
                continue
            self._spans.append((key.start_mark.index, key.end_mark.index, None))
            self._value(self._next(), (*keys, key.value), (*place, key.value))

    def _value(self, event: Any, keys: tuple[str, ...], place: tuple[str, ...]) -> None:
        if isinstance(event, yaml.MappingStartEvent):
            self._mapping(keys, place)
        elif isinstance(event, yaml.SequenceStartEvent):
            at = 0
            while not isinstance(item := self._next(), yaml.SequenceEndEvent):
                self._value(item, keys, (*place, str(at)))
                at += 1
        else:
            self._scalar(event, keys, place)

    def _scalar(self, event: Any, keys: tuple[str, ...], place: tuple[str, ...]) -> None:
        new, plain = None, _clear(event)
        if plain is None:
            pass
        elif plain.kind == "str":
            opened = self.opener.text(plain.text, keys)
            if opened is not None:
                plain, new = opened, _scalar_text(opened)
        else:
            self.opener.clear(plain)
        if plain is not None:
            self.leaves[place] = shown(plain)
        self._spans.append((event.start_mark.index, event.end_mark.index, new))

    def _skip(self) -> int:
        """Past one value, whose last text ends a line; the start of the next line."""
        depth, end = 0, 0
        while True:
            event = self._next()
            end = event.end_mark.index if hasattr(event, "value") else end
            depth += isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent))
            depth -= isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent))
            if depth == 0:
                return end + (self._text[end : end + 1] == "\n")


def _clear(event: Any) -> Plain | None:
    """A scalar as go-yaml, and so the MAC, understands it; None for null."""
    text: str = event.value
    if event.style:
        return Plain("str", text)
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text in _BOOLEANS:
        return Plain("bool", text)
    digits = text.replace("_", "")
    if _INTEGER.match(digits):
        bare = digits.lstrip("+-")
        octal = len(bare) > 1 and bare[0] == "0" and bare[1].isdigit()
        return Plain("int", str((-1 if digits[0] == "-" else 1) * int(bare, 8 if octal else 0)))
    if _FLOAT.match(digits):
        return Plain("float", digits)
    return Plain("time", f"{text}T00:00:00Z") if _DATE.match(text) else Plain("str", text)


def _scalar_text(plain: Plain) -> str:
    """A plain value as YAML that means the same to every reader, on one line."""
    if plain.kind == "bool":
        return shown(plain)
    if plain.kind in ("int", "float"):
        number(plain.text)
        return plain.text
    if plain.kind == "time" or (_SIMPLE.match(plain.text) and plain.text.lower() not in _WORDS):
        return plain.text
    quoted: str = yaml.safe_dump(plain.text, default_style='"', allow_unicode=True, width=1 << 30)
    return quoted.rstrip("\n")
