"""The files of the package that an order pins: found beside it or in its bundle, verified when read.

Preflight reads every input that a change will need and verifies its digest; contents are kept, up to
`KEEP` bytes in all, so that small inputs are read and hashed once. What did not fit is verified again when
it is used, because the file may have changed meanwhile.
"""

import hashlib
import io
import os
import stat
import tempfile
from collections.abc import Iterable, Mapping
from typing import BinaryIO, Protocol

from requisition.runtime.root import TargetRoot
from requisition.schemas.document import Input
from requisition.stdlib.action import ActionError

KEEP = 96 << 20
KEEP_EACH = 1 << 20


class Blobs(Protocol):
    """The bundle of an order file: contents by digest."""

    def __contains__(self, digest: str) -> bool: ...

    def read(self, digest: str) -> bytes:
        """The verified content."""
        ...


class InputError(ActionError):
    """An input is absent, or not what was pinned."""


class Inputs:
    """All inputs of one order."""

    def __init__(self, pinned: Iterable[Input], source_root: str | None, blobs: Blobs | None) -> None:
        self._pinned: Mapping[str, Input] = {item.path: item for item in pinned}
        self._blobs = blobs
        self._root = TargetRoot(source_root) if source_root is not None and self._pinned else None
        self._kept: dict[str, bytes] = {}
        self._verified: set[str] = set()
        self._room = KEEP

    def close(self) -> None:
        """Release descriptors and kept contents."""
        self._kept.clear()
        if self._root is not None:
            self._root.close()
            self._root = None

    def digest(self, path: str) -> tuple[str, int, int]:
        """(SHA-256, size, mode) as pinned."""
        item = self._pinned.get(path)
        if item is None:
            raise InputError(f"{path} is not an input of this order", "build the order again")
        return item.sha256, item.size, item.mode

    def verify(self, path: str) -> None:
        """Read and verify one input that the run will need, once; keep it when it is small. Raises InputError."""
        if path in self._verified:
            return
        self.digest(path)
        item = self._pinned[path]
        content = self._load(item)
        self._verified.add(path)
        if item.size <= KEEP_EACH and item.size <= self._room:
            self._kept[path] = content
            self._room -= item.size

    def content(self, path: str) -> bytes:
        """The verified content."""
        self.verify(path)
        kept = self._kept.get(path)
        return self._load(self._pinned[path]) if kept is None else kept

    def open(self, path: str) -> BinaryIO:
        """A readable file of the verified content: private to this process, so it stays verified."""
        content = self.content(path)
        if len(content) <= KEEP_EACH:
            return io.BytesIO(content)
        file = tempfile.TemporaryFile()  # noqa: SIM115  (handed to the caller)
        file.write(content)
        file.seek(0)
        return file

    def _load(self, item: Input) -> bytes:
        if self._blobs is not None and item.sha256 in self._blobs:
            return self._blobs.read(item.sha256)
        if self._root is None:
            raise InputError(f"the folder of {item.path} is not known", "name it with --source")
        content = _read(self._root, item)
        if len(content) != item.size or hashlib.sha256(content).hexdigest() != item.sha256:
            found = hashlib.sha256(content).hexdigest()
            raise InputError(
                f"{item.path} is not what the order pins: found sha256 {found[:12]}… ({len(content)} bytes), "
                f"expected {item.sha256[:12]}… ({item.size} bytes)",
                "build the order again and have it signed, or restore the file",
            )
        return content


def _read(root: TargetRoot, item: Input) -> bytes:
    try:
        directory, name = root.parent("/" + item.path)
        fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=directory)
    except OSError as error:
        raise InputError(
            f"{item.path} cannot be read below {root.path}: {error.strerror}",
            "name the package's folder with --source, or build with --bundle",
        ) from error
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            raise InputError(f"{item.path} is not a regular file", "build the order again")
        if info.st_size != item.size:
            raise InputError(
                f"{item.path} is not what the order pins: found {info.st_size} bytes, expected {item.size}",
                "build the order again and have it signed, or restore the file",
            )
        content = os.read(fd, item.size + 1)
        while len(content) < item.size:
            more = os.read(fd, item.size - len(content))
            if not more:
                break
            content += more
        return content
    finally:
        os.close(fd)
