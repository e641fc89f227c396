"""What a folder holds, file by file with SHA-256: the one truth that both ends are compared with.

The text form is one that `sha256sum -c` reads: `<hex>  <path>` lines, escaped as coreutils escape them, and comments
(`#`) with what it does not know of. Paths are bytes, as the kernel gives them.

Policy, recorded in every manifest: files by content; symbolic links as links, never followed; folders, empty ones too;
permission bits without set-user-ID and set-group-ID, folders writable by their owner; times of modification. Owners,
hard links and extended attributes do not travel. Sockets, pipes and devices are refused.
"""

import hashlib
import re
from functools import cached_property
from itertools import pairwise
from typing import Literal, NoReturn

from msgspec import Struct

from requisition.schemas.diagnostic import BadInput

POLICY = b"files by content, links as links, empty folders kept; modes without suid and sgid, times; no owners"
_HEAD = b"# requisition manifest 1: " + POLICY
_ESCAPES = {b"\\": b"\\\\", b"\n": b"\\n", b"\r": b"\\r"}
_MEANT = {written: meant for meant, written in _ESCAPES.items()}
_SPECIAL = re.compile(rb"[\\\n\r]")
_ESCAPE = re.compile(rb"\\.?", re.DOTALL)
_NOTE = re.compile(rb"# (file|link|dir) ([0-7]{4}) (\d{1,19}) (-?\d{1,20}) (\d{1,20}) (-?\d{1,20})\Z")
_SUM = re.compile(rb"(\\?)([0-9a-f]{64})  (.+)\Z", re.DOTALL)


class Entry(Struct, frozen=True, order=True):
    """One thing in a folder. `path` is relative to it; `size` in bytes (of files); `mode` the permission bits; times in
    ns since 1970; `inode` and `ctime_ns` are of this machine, and tell whether it still is what was read; `link`: what
    a link points to."""

    path: bytes
    kind: Literal["file", "link", "dir"]
    size: int = 0
    mode: int = 0
    mtime_ns: int = 0
    inode: int = 0
    ctime_ns: int = 0
    sha256: str = ""
    link: bytes = b""


class Manifest(Struct, frozen=True, dict=True):
    """The entries of a folder, sorted by path."""

    entries: tuple[Entry, ...]

    @cached_property
    def files(self) -> dict[bytes, Entry]:
        """Files by path."""
        return {one.path: one for one in self.entries if one.kind == "file"}

    @cached_property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(one.size for one in self.entries)

    @cached_property
    def largest(self) -> int:
        """Bytes of the largest file."""
        return max((one.size for one in self.entries), default=0)

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of the text form."""
        return hashlib.sha256(self.text()).hexdigest()

    def text(self) -> bytes:
        """The one text form of these entries."""
        lines = [_HEAD]
        for one in self.entries:
            note = f"# {one.kind} {one.mode:04o} {one.size} {one.mtime_ns} {one.inode} {one.ctime_ns}"
            lines.append(note.encode())
            if one.kind == "file":
                written = escape(one.path)
                mark = b"\\" if written != one.path else b""
                lines.append(mark + one.sha256.encode() + b"  ./" + written)  # "-" alone would be standard input
            else:
                lines.append(b"# " + escape(one.path))
            if one.kind == "link":
                lines.append(b"# " + escape(one.link))
        return b"\n".join(lines) + b"\n"


def parse(text: bytes, where: str = "") -> Manifest:
    """The manifest in a text. Raises BadInput for anything but the one form of what it says."""
    lines = iter(text.split(b"\n"))
    next(lines)
    entries = []
    for line in lines:
        if not line:
            break
        note = _NOTE.match(line) or _wrong(where, line)
        kind = _KINDS[note[1]]
        mode, size, mtime, inode, ctime = int(note[2], 8), *map(int, note.group(3, 4, 5, 6))
        said = next(lines, b"")
        if kind == "file":
            path, digest = parse_sum(said) or _wrong(where, said)
            link = b""
        else:
            path, digest = _comment(said, where), ""
            link = _comment(next(lines, b""), where) if kind == "link" else b""
        entries.append(Entry(path, kind, size, mode, mtime, inode, ctime, digest, link))
    made = Manifest(tuple(entries))
    paths = [one.path for one in entries]
    if made.text() != text or any(not before < after for before, after in pairwise(paths)):
        _wrong(where, b"the text as a whole")
    for path in paths:
        if any(part in (b"", b".", b"..") for part in path.split(b"/")):
            _wrong(where, path)
    return made


def escape(path: bytes) -> bytes:
    """A path as one line, as coreutils write it in lines that begin with a backslash."""
    return _SPECIAL.sub(lambda found: _ESCAPES[found[0]], path)


def parse_sum(line: bytes) -> tuple[bytes, str] | None:
    """Path, without a `./` before it, and digest in a line of sha256sum(1); None when it is none."""
    found = _SUM.match(line)
    if not found:
        return None
    path = _unescaped(found[3]) if found[1] else found[3]
    return None if path is None else (path.removeprefix(b"./"), found[2].decode())


def _unescaped(written: bytes) -> bytes | None:
    if any(escape_ not in _MEANT for escape_ in _ESCAPE.findall(written)):
        return None
    return _ESCAPE.sub(lambda found: _MEANT[found[0]], written)


def _comment(line: bytes, where: str) -> bytes:
    path = _unescaped(line[2:]) if line.startswith(b"# ") else None
    return path or _wrong(where, line)


def _wrong(where: str, line: bytes) -> NoReturn:
    raise BadInput.of(
        "this is no manifest",
        where=where,
        why=f"not as we write it: {line[:80]!r}",
        next="it was changed; deliver the folder again",
    )


_KINDS: dict[bytes, Literal["file", "link", "dir"]] = {b"file": "file", b"link": "link", b"dir": "dir"}
