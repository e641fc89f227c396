"""The `.yaml` form: an order that people read in a pull request, with the same signatures.

The text is a function of the payload: this module's emitter is part of the format (docs/order-format.md).
Reading goes back to the canonical bytes and then compares the text with what the emitter gives for them,
so that every byte of the file is bound, comments and spaces included.
"""

import base64
import re
from typing import Any

import msgspec
from msgspec import Struct

from requisition.schemas import canonical, strictyaml
from requisition.schemas.checksum import Altered, Kind, checksum
from requisition.schemas.diagnostic import BadInput
from requisition.schemas.envelope import Signature

MAX_TEXT = 1 << 28
_HEAD = {
    "order": "# Purchase order: read it, then `plan sign` it. Edits break its signatures.\n",
    "receipt": "# Receipt: what a run did. Edits break its signature.\n",
}
_ORDER = """
    version name tool serial expires min_runtime run_id state outcome message started finished host
    target_root platform context package package_version scope os distro arch id kind action phase slots
    path sha256 size mode needs retry on_conflict elevate project layer location annotations max_attempts
""".split()  # noqa: SIM905  (a list of words reads better so)
_RANK = {name: rank for rank, name in enumerate(_ORDER)}
_LATE = ("members", "phases", "nodes", "inputs", "collisions", "secrets", "order", "rollback", "summary")
_PLAIN = re.compile(r"[A-Za-z_/.$][A-Za-z0-9_/.$@+%=~-]*(?::[A-Za-z0-9_/.$@+%=~-]+)*\Z")
_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n", "~"})
_LINE = 100


class EditedFile(BadInput):
    """The content is whole, but the text is not what the emitter writes for it."""


class Parts(Struct, frozen=True):
    """What the file holds."""

    kind: Kind
    payload: bytes
    signatures: tuple[Signature, ...] = ()
    source: str = ""


def write(parts: Parts) -> bytes:
    """The file's text."""
    document = msgspec.json.decode(parts.payload)
    lines = [_HEAD[parts.kind], f"{parts.kind}:\n"]
    _mapping(document, 1, lines)
    lines.append(f"checksum: {checksum(parts.kind, str(document.get('name', '')), parts.payload)}\n")
    if parts.source:
        lines.append(f"source: {_scalar(parts.source)}\n")
    if parts.signatures:
        lines.append("signatures:\n")
        for one in parts.signatures:
            sig = base64.b64encode(one.sig).decode()
            lines.append(f"  - keyid: {_scalar(one.keyid)}\n    method: {one.method}\n    sig: {_scalar(sig)}\n")
    return "".join(lines).encode()


def read(text: bytes, where: str) -> Parts:
    """The parts of a file. Raises BadInput, or Altered when the checksum is not that of the content; the payload is
    not interpreted."""
    found, _ = strictyaml.load(text, where, limit=MAX_TEXT)
    kind: Kind = "receipt" if isinstance(found, dict) and "receipt" in found else "order"
    if not isinstance(found, dict) or not isinstance(found.get(kind), dict):
        raise BadInput.of("this is not an order or receipt", where=where, next="plan build makes an order")
    listed = found.get("signatures") or ()
    if not isinstance(listed, list | tuple):
        raise BadInput.of("signatures must be a list", where=where)
    signatures = tuple(_signature(one, where) for one in listed)
    parts = Parts(kind, canonical.encode(found[kind]), signatures, str(found.get("source") or ""))
    _check(parts, found, where)
    again = write(parts)
    if again != text:
        raise EditedFile.of(
            "this file was edited by hand, or damaged",
            where=f"{where}:{_first_difference(text, again)}",
            why="its text is not the one that belongs to its content",
            next="change the package and build again",
        )
    return parts


def _check(parts: Parts, found: dict[str, Any], where: str) -> None:
    stated = found.get("checksum")
    if not isinstance(stated, str):
        raise BadInput.of("the file has no checksum", where=where, why="it may be cut short", next="get it again")
    actual = checksum(parts.kind, str(found[parts.kind].get("name", "")), parts.payload)
    if stated != actual:
        raise Altered.of(
            f"this {parts.kind} was altered, by hand or on its way",
            where=where,
            why=f"it says {stated[:71]}, its content is {actual}",
            next="get the file again; or change the package and build again",
        )


def _signature(found: Any, where: str) -> Signature:
    try:
        return msgspec.convert(found, Signature)
    except msgspec.ValidationError as error:
        raise BadInput.of("a signature below the document is malformed", where=where, why=str(error)) from error


def _first_difference(text: bytes, again: bytes) -> int:
    ours = again.split(b"\n")
    for number, line in enumerate(text.split(b"\n"), 1):
        if number > len(ours) or ours[number - 1] != line:
            return number
    return len(ours)


# emitting ----------------------------------------------------------------------------------------


def _rank(item: tuple[str, Any]) -> tuple[int, int, str]:
    name = item[0]
    return (name in _LATE, _LATE.index(name) if name in _LATE else _RANK.get(name, len(_RANK)), name)


def _mapping(value: dict[str, Any], depth: int, lines: list[str], first: str | None = None) -> None:
    """Lines of a block mapping; `first` replaces the indentation of the first line (after `- `)."""
    pad = "  " * depth
    for name, inner in sorted(value.items(), key=_rank):
        lines.append((first if first is not None else pad) + _scalar(name) + ":")
        first = None
        _inner(inner, depth, lines)


def _inner(value: Any, depth: int, lines: list[str]) -> None:
    """What follows a colon."""
    if isinstance(value, dict) and value:
        lines.append("\n")
        _mapping(value, depth + 1, lines)
    elif isinstance(value, list) and value and (flow := _flow(value)) is None:
        lines.append("\n")
        for item in value:
            _item(item, depth + 1, lines)
    elif isinstance(value, list) and value:
        lines.append(f" {flow}\n")
    elif isinstance(value, str) and _is_block(value):
        chomp = "" if value.endswith("\n") else "-"
        pad = "  " * (depth + 1)
        body = "".join(f"{pad}{line}\n" if line else "\n" for line in value.removesuffix("\n").split("\n"))
        lines.append(f" |{chomp}\n{body}")
    else:
        lines.append(f" {_scalar(value)}\n")


def _item(value: Any, depth: int, lines: list[str]) -> None:
    pad = "  " * depth
    if isinstance(value, dict) and value:
        _mapping(value, depth + 1, lines, first=f"{pad}- ")
    elif isinstance(value, list) and value:
        lines.append(f"{pad}-")
        _inner(value, depth, lines)
    else:
        lines.append(f"{pad}- {_scalar(value)}\n")


def _flow(items: list[Any]) -> str | None:
    """A short list of scalars in one line."""
    if any(isinstance(item, (dict, list)) and item for item in items):
        return None
    text = "[" + ", ".join(_scalar(item) for item in items) + "]"
    return text if len(text) <= _LINE else None


def _scalar(value: Any) -> str:
    if value is None:
        return "null"
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, (dict, list)):
        return "{}" if isinstance(value, dict) else "[]"
    if _PLAIN.match(value) and value.lower() not in _WORDS and not value.startswith("..."):
        return str(value)
    return '"' + "".join(_escaped(c) for c in value) + '"'


def _escaped(char: str) -> str:
    code = ord(char)
    if char in '"\\':
        return "\\" + char
    if 32 <= code < 127 or (0xA0 <= code < 0xD800 and char.isprintable()):
        return char
    if char in "\n\t\r":
        return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}[char]
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"


def _is_block(text: str) -> bool:
    """Readable as a literal block: several printable lines without spaces at their ends."""
    body = text.removesuffix("\n")
    lines = body.split("\n")
    return (
        "\n" in body
        and not body.endswith("\n")
        and bool(lines[0])
        and not lines[0].startswith((" ", "\t"))
        and all(line.isascii() and line.isprintable() and not line.endswith(" ") for line in lines)
    )
