"""Children put into a package.yaml and taken out of it, as text: comments and everything else stay as they are."""

import json
import re

from requisition.compiler.manifest import parse_manifest
from requisition.schemas import strictyaml
from requisition.schemas.diagnostic import BadInput

_CHILDREN = re.compile(r"^children:[ \t]*(\[\][ \t]*)?(#.*)?$", re.MULTILINE)
_ITEM = re.compile(r"( *)- ")


def with_child(text: str, where: str, url: str, path: str = "", ref: str = "", version: str = "") -> str:
    """The manifest with one more child, the last of the list. Raises BadInput when it would then be wrong, or its
    children are not written as a list of lines."""
    fields = {"url": url, "path": path, "ref": ref, "version": version}
    said = ", ".join(f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in fields.items() if value)
    found = _CHILDREN.search(text)
    if found is None:
        if re.search(r"^children[ \t]*:", text, re.MULTILINE):
            raise _by_hand(where)
        new = text.rstrip("\n") + f"\nchildren:\n  - {{{said}}}\n"
    else:
        lines = text[found.end() :].split("\n")
        end = _end_of_list(lines)
        first = next((item for line in lines[1:end] if (item := _ITEM.match(line))), None)
        lines.insert(end, f"{first[1] if first else '  '}- {{{said}}}")
        comment = f"  {found[2]}" if found[2] else ""
        new = text[: found.start()] + f"children:{comment}" + "\n".join(lines)
    parse_manifest(new, where)
    return new


def without_child(text: str, where: str, path: str) -> str:
    """The manifest without the child at a path relative to its folder. Raises BadInput when there is none."""
    manifest = parse_manifest(text, where)
    paths = [child.place for child in manifest.children]
    if path not in paths:
        there = ", ".join(paths) or "none"
        raise BadInput.of(f"no child lies at {path!r}", where=where, next=f"its children: {there}")
    at = paths.index(path)
    _, positions = strictyaml.load(text, where)
    lines = text.split("\n")
    start = positions["children", at][0] - 1
    found = _CHILDREN.search(text)
    if found is None or not _ITEM.match(lines[start]):
        raise _by_hand(where)
    top = text[: found.start()].count("\n")
    end = positions["children", at + 1][0] - 1 if at + 1 < len(paths) else top + _end_of_list(lines[top:])
    del lines[start:end]
    if len(paths) == 1:
        lines[top] = "children: []"
    new = "\n".join(lines)
    parse_manifest(new, where)
    return new


def _end_of_list(lines: list[str]) -> int:
    """The first line after the list that begins below line 0; empty lines at its end belong to what comes."""
    end = 1
    while end < len(lines) and (not lines[end].strip() or lines[end][0] in " -"):
        end += 1
    while end > 1 and not lines[end - 1].strip():
        end -= 1
    return end


def _by_hand(where: str) -> BadInput:
    return BadInput.of(
        "its children are not written as a list of lines", where=where, next="change it by hand, then plan sync"
    )
