"""plan.lock: which commit every package of a tree is at. Beside the root's package.yaml, committed and reviewed.

    version: "1"
    packages:
      vendor/nginx:
        url: https://git.example/nginx.git
        ref: v1.4.2
        commit: 3f1c…

Sorted by path, one fact a line, so that a change of one pin is a diff of one or two lines. Unknown keys, odd commits
and paths that no package can have are refused with their line: what it says decides what is cloned.
"""

import os
from typing import Literal

import msgspec
from msgspec import Struct

from requisition.runtime.layout import write_durably
from requisition.schemas import strictyaml
from requisition.schemas.diagnostic import BadInput, Diagnostic
from requisition.schemas.treeevent import Added, Removed, Updated
from requisition.stdlib.action import ActionError
from requisition.stdlib.providers.git_repository import check_commit, remote
from requisition.tree.paths import path_fault

LOCK_NAME = "plan.lock"
_LIMIT = 32 << 20


class Pin(Struct, frozen=True, forbid_unknown_fields=True):
    """One package: `ref` is the branch or tag that `commit` was found by, "" for the remote's HEAD."""

    url: str
    commit: str
    ref: str = ""


class Pins(Struct, frozen=True, forbid_unknown_fields=True):
    """The file."""

    packages: dict[str, Pin] = {}
    version: Literal["1"] = "1"


def read(path: str) -> Pins:
    """The pins in a file; none when there is no file. Raises BadInput with every finding and its place."""
    try:
        with open(path, "rb") as file:
            text = file.read(_LIMIT + 1)
    except FileNotFoundError:
        return Pins()
    except OSError as error:
        raise BadInput.of(f"the pins cannot be read: {error.strerror}", where=path, next="look at that file") from error
    return parse(text, path)


def parse(text: bytes, where: str) -> Pins:
    """The pins in a text. Raises BadInput with every finding and its place."""
    value, positions = strictyaml.load(text, where, limit=_LIMIT)
    if not isinstance(value, dict) or "version" not in value:
        raise BadInput.of("the pins do not say their version", where=f"{where}:1:1", next=_AGAIN)
    try:
        found = msgspec.convert(value, Pins)
    except msgspec.ValidationError:
        strictyaml.load_typed(text, where, Pins)  # says where
        raise
    wrong = []
    for name, pin in found.packages.items():
        fault = path_fault(name) or _fault(pin)
        if fault:
            line, column = positions.of_keys["packages", name]
            wrong.append(Diagnostic(what=f"{name}: {fault}", where=f"{where}:{line}:{column}", next=_AGAIN))
    if wrong:
        raise BadInput(wrong)
    return found


_AGAIN = "take the file from git again, or correct the line; plan sync writes it anew when it is removed"


def _fault(pin: Pin) -> str:
    try:
        remote(pin.url)
        check_commit(pin.commit)
    except ActionError as error:
        return str(error)
    return ""


def text_of(pins: Pins) -> bytes:
    """The file's bytes: the same pins give the same bytes."""
    lines = [f'version: "{pins.version}"', "packages:" if pins.packages else "packages: {}"]
    for path, pin in sorted(pins.packages.items()):
        lines += [f"  {_quoted(path)}:", f"    url: {_quoted(pin.url)}"]
        if pin.ref:
            lines.append(f"    ref: {_quoted(pin.ref)}")
        lines.append(f"    commit: {_quoted(pin.commit)}")
    return ("\n".join(lines) + "\n").encode()


def write(path: str, pins: Pins) -> None:
    """Replace the file, durably and at once; untouched when it says the same already."""
    text = text_of(pins)
    try:
        with open(path, "rb") as file:
            if file.read() == text:
                return
    except FileNotFoundError:
        pass
    write_durably(os.path.abspath(path), text, 0o644)


def _quoted(text: str) -> str:
    """Plain where YAML reads it as this very text, else in double quotes."""
    plain = text.replace("-", "").replace("_", "").replace("/", "").replace(".", "")
    if plain.isascii() and plain.isalnum() and not text.isdigit() and text[0].isalpha() and text not in _WORDS:
        return text
    return '"' + "".join(char if char.isprintable() and char not in '"\\' else _escaped(char) for char in text) + '"'


def _escaped(char: str) -> str:
    return f"\\{char}" if char in '"\\' else f"\\U{ord(char):08x}"


_WORDS = frozenset({"true", "false", "null"})


def moved(before: Pins, after: Pins) -> list[Added | Removed | Updated]:
    """Pure. What the log is told of pins that came, moved or went."""
    found: list[Added | Removed | Updated] = []
    for path in sorted(before.packages.keys() | after.packages.keys()):
        was, now = before.packages.get(path), after.packages.get(path)
        if now is None:
            found.append(Removed(path=path))
        elif was is None:
            found.append(Added(path=path, url=now.url, ref=now.ref))
        elif was.commit != now.commit:
            found.append(Updated(path=path, was=was.commit, to=now.commit))
    return found
