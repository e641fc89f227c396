"""What a package was built from, as one digest: its files, what was chosen for it, its target.

Files are read, whatever git says of them: an edit that was not committed is a change too.
"""

import hashlib
import os
from collections.abc import Collection, Iterator, Mapping

from requisition.schemas.canonical import encode
from requisition.schemas.document import Platform
from requisition.schemas.version import TOOL
from requisition.tree.pins import LOCK_NAME

_LEFT_OUT = frozenset((".git", ".plan"))
_CHUNK = 1 << 20


def digest(folder: str, below: Collection[str], target: Platform, root: str, chosen: Mapping[str, object]) -> str:
    """Hex SHA-256 of a package: its files without those of the packages `below` (relative paths), its target and
    target root, what was chosen for it, and the version of this tool, which may build another order of the same."""
    whole = hashlib.sha256()
    whole.update(encode([TOOL, target, root, dict(chosen)]))
    inner = {os.path.join(folder, path) for path in (*below, LOCK_NAME)}  # pins say what is below, not what is here
    for path, entry in sorted(_files(folder, inner)):
        whole.update(f"\0{path[len(folder) :]}\0".encode("utf-8", "surrogateescape"))
        if entry.is_symlink():
            whole.update(b"l" + os.fsencode(os.readlink(path)))
            continue
        whole.update(b"x" if entry.stat(follow_symlinks=False).st_mode & 0o100 else b"f")
        with open(path, "rb") as file:
            content = hashlib.sha256()
            while chunk := file.read(_CHUNK):
                content.update(chunk)
            whole.update(content.digest())
    return whole.hexdigest()


def _files(folder: str, inner: Collection[str]) -> Iterator[tuple[str, os.DirEntry[str]]]:
    pending = [folder]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.name in _LEFT_OUT or entry.path in inner:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                elif entry.is_symlink() or entry.is_file(follow_symlinks=False):
                    yield entry.path, entry
