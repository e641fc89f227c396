"""A folder as it is found on the disk: what lies in it, without ever following a symbolic link out of it."""

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Self

from msgspec import Struct

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Item(Struct, frozen=True):
    """One thing in a folder. `kind`: file, link, dir, or "other" (sockets, pipes, devices)."""

    path: bytes
    kind: str
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


class Folder:
    """An open folder. Raises OSError when it is none, or cannot be read."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd = -1

    def __enter__(self) -> Self:
        self._fd = os.open(self.path, _DIRECTORY)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    @cached_property
    def items(self) -> tuple[Item, ...]:
        """All that lies in it now, sorted by path."""
        return tuple(sorted(self._walk(self._fd, b""), key=lambda one: one.path))

    def head(self, path: bytes, size: int) -> bytes:
        """The first bytes of a file."""
        with self.parent(path) as (parent, name):
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
        with open(fd, "rb") as file:
            return file.read(size)

    @contextmanager
    def parent(self, path: bytes) -> Iterator[tuple[int, bytes]]:
        """An open descriptor of the folder that holds a path, reached without following links, and the last name."""
        *above, name = path.split(b"/")
        fd = os.dup(self._fd)
        try:
            for part in above:
                below = os.open(part, _DIRECTORY, dir_fd=fd)
                os.close(fd)
                fd = below
            yield fd, name
        finally:
            os.close(fd)

    def _walk(self, fd: int, prefix: bytes) -> Iterator[Item]:
        with os.scandir(fd) as found:
            names = [os.fsencode(one.name) for one in found]
        for name in names:
            one = item(prefix + name, os.stat(name, dir_fd=fd, follow_symlinks=False))
            yield one
            if one.kind == "dir":
                below = os.open(name, _DIRECTORY, dir_fd=fd)
                try:
                    yield from self._walk(below, one.path + b"/")
                finally:
                    os.close(below)


def lies_within(path: str, roots: Iterable[str]) -> bool:
    """Whether a folder really is where its path says, and that is in one of the roots, or one itself."""
    real = [os.path.realpath(root).rstrip("/") for root in roots]
    return os.path.realpath(path) == path and any(path == root or path.startswith(root + "/") for root in real)


def item(path: bytes, found: os.stat_result) -> Item:
    """What lies at a path, as the system tells of it."""
    kinds = {stat.S_IFREG: "file", stat.S_IFLNK: "link", stat.S_IFDIR: "dir"}
    kind = kinds.get(stat.S_IFMT(found.st_mode), "other")
    return Item(path, kind, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
