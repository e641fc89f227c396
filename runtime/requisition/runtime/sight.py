"""`Sight`: the looking half of the `Host` protocol, confined below one target root. It changes nothing.

Every path call goes by directory descriptor.
"""

import errno
import hashlib
import os
import stat
import struct
from collections.abc import Iterator, Mapping
from typing import Annotated, BinaryIO

from msgspec import Meta

from requisition.runtime.inputs import Inputs
from requisition.runtime.root import Escapes, TargetRoot
from requisition.runtime.store import UndoStore
from requisition.schemas.receipt import Left, LeftKind
from requisition.stdlib.action import ActionError
from requisition.stdlib.host import ABSENT, Kind, Prior, Stat

_SIGNATURE = struct.Struct("<QIIIqqq")
_IDENTITY = struct.calcsize("<QIII")  # what of a directory does not change with its entries

Signature = Annotated[bytes, Meta(min_length=_SIGNATURE.size, max_length=_SIGNATURE.size)]
"""Of an lstat result, packed: inode, mode, uid, gid, then size, mtime and ctime in nanoseconds. Equal means
untouched, because ctime cannot be set. One is kept for every path, hence bytes: a tuple takes four times the room."""

NEVER: Signature = bytes(_SIGNATURE.size)
"""That of no file."""

Known = tuple[Signature, Left]
"""What stood at a path when we last looked or wrote: `known` spares reading content again."""

_CHUNK = 1 << 20
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_ABSENT_CODES = (errno.ENOENT, errno.ENOTDIR)


def signature(info: os.stat_result) -> Signature:
    """The part of an lstat result that changes whenever the file does."""
    return _SIGNATURE.pack(
        info.st_ino, info.st_mode, info.st_uid, info.st_gid, info.st_size, info.st_mtime_ns, info.st_ctime_ns
    )


def changed_at(seen: Signature) -> int:
    """The ctime in a signature, in nanoseconds."""
    when: int = _SIGNATURE.unpack(seen)[-1]
    return when


def untouched(root: TargetRoot, seen: Signature, left: Left) -> bool:
    """Whether a path is as it was left, by one `lstat`, nothing read. A directory may have other entries
    now: these are not part of how it was left."""
    try:
        directory, name = root.parent(left.path)
        found = signature(os.stat(name, dir_fd=directory, follow_symlinks=False))
    except (OSError, Escapes):
        return False
    return found == seen or (left.kind == "dir" and found[:_IDENTITY] == seen[:_IDENTITY])


class Sight:
    """What stands below a target root. `known` is what we saw or wrote there last; `sealed`: the node at work
    holds a secret."""

    def __init__(self, root: TargetRoot, store: UndoStore, inputs: Inputs, known: dict[str, Known]) -> None:
        self.root = root
        self.store = store
        self.inputs = inputs
        self.known = known
        self.sealed = False

    def lstat(self, path: str) -> os.stat_result | None:
        """`lstat`, None when absent."""
        try:
            directory, name = self.root.parent(path)
            return os.stat(name or ".", dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno in _ABSENT_CODES:
                raise Escapes(f"{path}: a parent is not a directory", "move it away, or change the path") from error
            raise

    def stat(self, path: str) -> Stat | None:
        """See `Host.stat`."""
        info = self.lstat(path)
        return None if info is None else _stat(info)

    def read(self, path: str, limit: int = 1 << 30) -> bytes:
        """See `Host.read`."""
        with self._open(path) as file:
            if os.fstat(file.fileno()).st_size > limit:
                raise ActionError(f"{path} is larger than {limit} bytes")
            return file.read(limit + 1)

    def _open(self, path: str) -> BinaryIO:
        try:
            directory, name = self.root.parent(path)
            fd = os.open(name, READ, dir_fd=directory)
        except OSError as error:
            raise ActionError(f"{path} cannot be read: {error.strerror}") from error
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise ActionError(f"{path} is not a regular file")
        return open(fd, "rb")

    def readlink(self, path: str) -> str:
        """See `Host.readlink`."""
        directory, name = self.root.parent(path)
        return os.readlink(name, dir_fd=directory)

    def listdir(self, path: str) -> list[str]:
        """See `Host.listdir`."""
        directory, name = self.root.parent(path)
        fd = os.open(name or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        try:
            return sorted(os.listdir(fd))
        finally:
            os.close(fd)

    def walk(self, path: str) -> Iterator[tuple[str, Stat]]:
        """See `Host.walk`."""
        found = self.stat(path)
        if found is None:
            return
        yield path, found
        if found.kind == "dir":
            for name in self.listdir(path):
                yield from self.walk(f"{path.rstrip('/')}/{name}")

    def matches(self, expect: Left) -> bool:
        """See `Host.matches`."""
        path = expect.path
        try:
            directory, name = self.root.parent(path)
            info = os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            return expect.kind == "absent"
        except OSError as error:
            raise ActionError(f"{path}: {error.strerror}") from error
        seen = signature(info)
        known = self.known.get(path)
        if known is not None and known[0] == seen and _covers(known[1], expect):
            return True
        if not self._compare(path, info, expect):
            return False
        self.known[path] = (seen, expect)
        return True

    def _compare(self, path: str, info: os.stat_result, expect: Left) -> bool:
        mode, kind = info.st_mode, expect.kind
        if (expect.uid >= 0 and info.st_uid != expect.uid) or (expect.gid >= 0 and info.st_gid != expect.gid):
            return False
        if kind == "link":
            return stat.S_ISLNK(mode) and self.readlink(path) == expect.target
        if kind == "absent" or stat.S_IMODE(mode) != expect.mode:
            return False
        if kind == "dir":
            return stat.S_ISDIR(mode)
        if not stat.S_ISREG(mode) or (expect.size >= 0 and info.st_size != expect.size):
            return False
        return self.digest(path, sealed=expect.sealed) == expect.sha256

    def holds_secret(self, path: str) -> bool:
        """See `Host.holds_secret`."""
        known = self.known.get(path)
        return self.sealed or (known is not None and known[1].sealed)

    def digest(self, path: str, *, sealed: bool | None = None) -> str:
        """SHA-256 of a regular file's content, or its keyed digest where secrets are about."""
        if self.holds_secret(path) if sealed is None else sealed:
            return self.store.keyed_digest(self.read(path))
        digest = hashlib.sha256()
        with self._open(path) as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
        return digest.hexdigest()

    def input(self, path: str) -> bytes:
        """See `Host.input`."""
        return self.inputs.content(path)

    def open_input(self, path: str) -> BinaryIO:
        """See `Host.open_input`."""
        return self.inputs.open(path)

    def input_digest(self, path: str) -> tuple[str, int, int]:
        """See `Host.input_digest`."""
        return self.inputs.digest(path)

    # prior state ---------------------------------------------------------------------------------

    def capture(self, path: str, *, content: bool = True) -> Prior:
        """See `Host.capture`."""
        info = self.lstat(path)
        if info is None:
            return ABSENT
        kind = _kind(info.st_mode)
        if kind == "other":
            raise ActionError(f"{path} is a device, socket or pipe", "move it away, or change the path")
        blob = target = ""
        if kind == "link":
            target = self.readlink(path)
        elif kind == "file" and content:
            blob = self._save(path, sealed=self.holds_secret(path))
        return Prior(
            kind,
            mode=stat.S_IMODE(info.st_mode),
            uid=info.st_uid,
            gid=info.st_gid,
            mtime_ns=info.st_mtime_ns,
            size=info.st_size,
            blob=blob,
            target=target,
            sealed=bool(blob) and self.holds_secret(path),
            xattrs=self._xattrs(path, kind),
            ino=info.st_ino,
            ctime_ns=info.st_ctime_ns,
        )

    def _save(self, path: str, *, sealed: bool) -> str:
        with self._open(path) as file:
            return self.store.put(iter(lambda: file.read(_CHUNK), b""), sealed=sealed)

    def _xattrs(self, path: str, kind: Kind) -> Mapping[str, bytes] | None:
        if kind != "file":
            return None
        with self._open(path) as file:
            fd = file.fileno()
            try:
                return {name: os.getxattr(fd, name) for name in os.listxattr(fd)} or None
            except OSError as error:
                if error.errno in (errno.ENOTSUP, errno.EACCES, errno.EPERM):
                    return None
                raise

    def expect_file(
        self, path: str, content: bytes, mode: int, uid: int, gid: int, *, sealed: bool | None = None
    ) -> Left:
        """See `Host.expect_file`."""
        sealed = self.sealed if sealed is None else sealed
        digest = self.store.keyed_digest(content) if sealed else hashlib.sha256(content).hexdigest()
        return Left(path, "file", mode, uid, gid, len(content), digest, "", "", sealed)


def _kind(mode: int) -> Kind:
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "dir"
    return "link" if stat.S_ISLNK(mode) else "other"


def _stat(info: os.stat_result) -> Stat:
    return Stat(
        _kind(info.st_mode),
        stat.S_IMODE(info.st_mode),
        info.st_uid,
        info.st_gid,
        info.st_size,
        info.st_mtime_ns,
        info.st_ctime_ns,
        info.st_ino,
        info.st_nlink,
    )


def describe(path: str, info: os.stat_result, host: Sight) -> Left:
    """The present state of a path, content not read."""
    kind = _kind(info.st_mode)
    target = host.readlink(path) if kind == "link" else ""
    shown: LeftKind = "token" if kind == "other" else kind
    return Left(path, shown, stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid, info.st_size, "", target)


def _covers(known: Left, expect: Left) -> bool:
    """Whether a state recorded with its owner satisfies an expectation that may leave the owner open."""
    return (
        known.sha256 == expect.sha256
        and known.kind == expect.kind
        and known.mode == expect.mode
        and known.target == expect.target
        and (expect.uid < 0 or known.uid == expect.uid)
        and (expect.gid < 0 or known.gid == expect.gid)
    )
