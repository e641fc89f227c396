"""What is at a path now, beside how a run left it, and what lies below a folder. Changes nothing."""

import hashlib
import os
import stat
from collections.abc import Collection, Iterable, Iterator
from typing import BinaryIO

import msgspec

from requisition.runtime.root import Escapes, TargetRoot
from requisition.schemas.receipt import Left, LeftKind

_CHUNK = 1 << 20
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def changed_since(state_dir: str, root: str, left: Left) -> list[str]:
    """What somebody changed at a path since it was left so, in words; empty when nothing. A resource that is no file is
    not looked at."""
    if left.kind == "token":
        return []
    try:
        target = TargetRoot(root)
    except OSError as error:
        return [f"the target root cannot be opened: {error.strerror}"]
    try:
        return _differences(state_dir, target, left)
    except FileNotFoundError:
        return [] if left.kind == "absent" else ["missing"]
    except Escapes as error:
        return [str(error)]
    except OSError as error:
        return [f"cannot be looked at: {error.strerror}"]
    finally:
        target.close()


def _differences(state_dir: str, target: TargetRoot, left: Left) -> list[str]:
    above, name = target.parent(left.path)
    info = os.stat(name or ".", dir_fd=above, follow_symlinks=False)
    kind: LeftKind = _kind(info.st_mode)
    link = os.readlink(name, dir_fd=above) if kind == "link" else ""
    now = Left(left.path, kind, stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid, info.st_size, "", link)
    found = []
    if kind == "file" and left.kind == "file":
        fd = os.open(name, _READ, dir_fd=above)
        with open(fd, "rb") as file:
            same = left.size in (-1, info.st_size) and _digest(file, state_dir, sealed=left.sealed) == left.sha256
        found += [] if same else [f"the content is another one, of {info.st_size:,} bytes"]
    open_owner = msgspec.structs.replace(
        now, uid=now.uid if left.uid >= 0 else -1, gid=now.gid if left.gid >= 0 else -1
    )
    from requisition.runtime.diffs import difference

    return [
        line.removeprefix(f"{left.path}: ") for line in difference(left.path, left, open_owner).splitlines()
    ] + found


def _digest(file: BinaryIO, state_dir: str, *, sealed: bool) -> str:
    if sealed:
        from requisition.runtime.store import UndoStore

        store = UndoStore(f"{state_dir}/store")
        try:
            return store.keyed_digest(file.read())
        finally:
            store.close()
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def _kind(mode: int) -> LeftKind:
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "dir"
    return "link" if stat.S_ISLNK(mode) else "token"


def unmanaged(folders: Iterable[str], managed: Collection[str]) -> Iterator[str]:
    """Paths below folders that are none of `managed`. A directory that is none of them, and has none of them in it, is
    named with a slash at its end and not entered; links are not followed."""
    above = set(managed)
    for path in managed:
        while (path := path.rpartition("/")[0]) and path not in above:
            above.add(path)
    pending, entered = list(folders), set[str]()
    while pending:
        folder = pending.pop()
        if folder in entered:
            continue
        entered.add(folder)
        try:
            with os.scandir(folder) as entries:
                found = [(entry.path, entry.is_dir(follow_symlinks=False)) for entry in entries]
        except OSError:
            yield f"{folder}/ (cannot be read)"
            continue
        for path, inside in found:
            if inside and path in above:
                pending.append(path)
            elif path not in managed:
                yield f"{path}/" if inside else path
