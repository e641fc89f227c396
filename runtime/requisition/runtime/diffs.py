"""Differences that a person reads before and after a run: content, mode, owner, link target."""

import difflib

from requisition.schemas.receipt import Left
from requisition.stdlib.host import FileChange, Prior

MAX_DIFF_BYTES = 256 << 10
_NAMES = {"absent": "absent", "file": "file", "dir": "directory", "link": "link", "token": "resource"}


def content_diff(path: str, before: bytes | None, after: bytes | None) -> str:
    """A unified diff, or one line where the contents are binary or large; empty when equal."""
    if before == after:
        return ""
    if max(len(before or b""), len(after or b"")) > MAX_DIFF_BYTES:
        return f"{path}: {_size(before)} becomes {_size(after)} (too large to show)\n"
    try:
        old = (before or b"").decode("utf-8").splitlines(keepends=True)
        new = (after or b"").decode("utf-8").splitlines(keepends=True)
    except UnicodeDecodeError:
        return f"{path}: binary, {_size(before)} becomes {_size(after)}\n"
    names = ("/dev/null" if before is None else f"a{path}", "/dev/null" if after is None else f"b{path}")
    lines = [
        line if line.endswith("\n") else line + "\n\\ No newline at end of file\n"
        for line in difflib.unified_diff(old, new, *names)
    ]
    return "".join(lines)


def _size(content: bytes | None) -> str:
    return "nothing" if content is None else f"{len(content)} bytes"


def change_diff(change: FileChange, before: bytes | None, after: bytes | None, *, sealed: bool) -> str:
    """What a change does to one path. Contents that carry a secret are not shown."""
    return difference(change.path, change.prior, change.expect) + (
        _sealed_line(change)
        if sealed and change.expect.kind == "file"
        else content_diff(change.path, before, after)
        if "file" in (change.prior.kind, change.expect.kind)
        else ""
    )


def _sealed_line(change: FileChange) -> str:
    return f"{change.path}: content holds a secret and is not shown\n"


def difference(path: str, before: Prior | Left, after: Prior | Left) -> str:
    """Lines about kind, mode, owner and link target; unset owners (−1) are not compared."""
    lines = []
    if before.kind != after.kind:
        lines.append(f"{path}: {_NAMES[before.kind]} becomes {_describe(after)}")
    else:
        if before.kind in ("file", "dir") and before.mode != after.mode:
            lines.append(f"{path}: mode {before.mode:04o} becomes {after.mode:04o}")
        if before.target != after.target:
            lines.append(f"{path}: link to {before.target} becomes link to {after.target}")
    for name, old, new in (("owner", before.uid, after.uid), ("group", before.gid, after.gid)):
        if old >= 0 and new >= 0 and old != new:
            lines.append(f"{path}: {name} {old} becomes {new}")
    return "".join(line + "\n" for line in lines)


def _describe(state: Prior | Left) -> str:
    if state.kind == "link":
        return f"link to {state.target}"
    if state.kind in ("file", "dir"):
        return f"{_NAMES[state.kind]} with mode {state.mode:04o}"
    return _NAMES[state.kind]
