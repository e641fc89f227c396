"""A folder read into a manifest: all of it, in parallel, and no file twice that did not change.

Threads, not processes: hashlib works without the interpreter's lock (docs/decisions/delivery.md has the measurement). A
digest is remembered by path, size, times of modification and change, and inode; one of a file that changed a moment ago
is not, since a write within the same tick of the clock would leave no trace (as git's index, "racily clean").
"""

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from requisition.services.clock import Clock
from requisition.services.database import Database
from requisition.services.delivery.aside import Stopped, aside
from requisition.services.delivery.diagnosis import of_errno
from requisition.services.delivery.manifest import Entry, Manifest
from requisition.services.delivery.transport import TransportFailure

_BLOCK = 1 << 18
_FRESH_NS = 2 * 10**9
_BATCH = 512
_MIGRATIONS = (
    """CREATE TABLE digests (
        path BLOB PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, ctime_ns INTEGER NOT NULL,
        inode INTEGER NOT NULL, sha256 TEXT NOT NULL
    ) WITHOUT ROWID, STRICT""",
)
_Known = dict[bytes, tuple[int, int, int, int, str]]


class Cache(Database):
    """Digests of files that were read before."""

    def __init__(self, path: str) -> None:
        super().__init__(path, _MIGRATIONS)

    def below(self, folder: bytes) -> _Known:
        """What is known of files below a folder: size, mtime, ctime, inode, digest by absolute path."""
        with self.reading() as connection:
            rows = connection.execute(
                "SELECT path, size, mtime_ns, ctime_ns, inode, sha256 FROM digests WHERE path > ? AND path < ?",
                (folder + b"/", folder + b"0"),  # "0" follows "/"
            )
            return {row[0]: tuple(row)[1:] for row in rows}

    def remember(self, folder: bytes, entries: Iterable[Entry]) -> None:
        """Keep digests."""
        rows = [
            (os.path.join(folder, one.path), one.size, one.mtime_ns, one.ctime_ns, one.inode, one.sha256)
            for one in entries
        ]
        if rows:
            with self.transaction() as connection:
                connection.executemany("INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?, ?, ?)", rows)

    def forget(self, paths: Iterable[bytes]) -> None:
        """Drop digests of files that are gone."""
        rows = [(path,) for path in paths]
        if rows:
            with self.transaction() as connection:
                connection.executemany("DELETE FROM digests WHERE path = ?", rows)


async def scanned(folder: str, cache: Cache | None = None, jobs: int = 0, clock: Clock = Clock()) -> Manifest:  # noqa: B008  (immutable)
    """`scan`, beside the loop; being cancelled it stops within a block of every file in work."""
    return await aside(lambda stop: scan(folder, cache, jobs, clock, stop.is_set))


def scan(
    folder: str,
    cache: Cache | None = None,
    jobs: int = 0,
    clock: Clock = Clock(),  # noqa: B008  (immutable)
    stopped: Callable[[], bool] = lambda: False,
) -> Manifest:
    """The manifest of a folder as it is now. Without a cache every byte is read. `jobs`: threads, 0 for one a core.
    Raises TransportFailure: `local_vanished`, `local_permission`, `local_changed` (while it was read), `usage` (not a
    folder; a socket, pipe or device in it)."""
    root = os.fsencode(folder)
    try:
        listed = sorted(_walk(root))
    except OSError as error:
        raise _failure(error, folder) from error
    known = cache.below(root) if cache else {}
    files = [one for one in listed if one.kind == "file"]
    entries = {one.path: one for one in listed}
    unknown = []
    for one in files:
        found = known.pop(os.path.join(root, one.path), None)
        if found and found[:4] == (one.size, one.mtime_ns, one.ctime_ns, one.inode):
            entries[one.path] = _with(one, found[4])
        else:
            unknown.append(one)
    unknown.sort(key=lambda one: -one.size)  # the largest first, so that none is left alone at the end
    with ThreadPoolExecutor(jobs or os.cpu_count() or 1, thread_name_prefix="hash") as pool:
        done = pool.map(lambda one: _hashed(root, one, stopped), unknown)
        while batch := list(islice(done, _BATCH)):
            entries.update((one.path, one) for one in batch)
            if cache:
                settled = clock.now() * 10**9 - _FRESH_NS
                cache.remember(root, (one for one in batch if max(one.ctime_ns, one.mtime_ns) < settled))
    if cache:
        cache.forget(known)
    return Manifest(tuple(entries.values()))


def _walk(root: bytes) -> Iterator[Entry]:
    if not stat.S_ISDIR(os.stat(root, follow_symlinks=False).st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), root)
    waiting = [b""]
    while waiting:
        folder = waiting.pop()
        with os.scandir(os.path.join(root, folder)) as children:
            for child in children:
                one = _entry(os.path.join(folder, os.fsencode(child.name)), child)
                if one.kind == "dir":
                    waiting.append(one.path)
                yield one


def _entry(path: bytes, child: os.DirEntry[bytes]) -> Entry:
    info = child.stat(follow_symlinks=False)
    mode = stat.S_IMODE(info.st_mode)
    if stat.S_ISDIR(info.st_mode):
        return Entry(path, "dir", 0, mode, info.st_mtime_ns, info.st_ino, info.st_ctime_ns)
    if stat.S_ISLNK(info.st_mode):
        return Entry(
            path, "link", 0, mode, info.st_mtime_ns, info.st_ino, info.st_ctime_ns, "", os.readlink(child.path)
        )
    if stat.S_ISREG(info.st_mode):
        return Entry(path, "file", info.st_size, mode, info.st_mtime_ns, info.st_ino, info.st_ctime_ns)
    raise TransportFailure("usage", f"{os.fsdecode(path)!r} is a socket, a pipe or a device, which nothing ships")


def _hashed(root: bytes, one: Entry, stopped: Callable[[], bool]) -> Entry:
    path = os.path.join(root, one.path)
    digest, left = hashlib.sha256(), one.size  # no more is read of one that grows: it is told by its size
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            while left and (block := os.read(descriptor, min(left, _BLOCK))):
                digest.update(block)
                left -= len(block)
                if stopped():
                    raise Stopped
            after = os.fstat(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _failure(error, os.fsdecode(path)) from error
    then = (one.size, one.mtime_ns, one.ctime_ns, one.inode)
    if left or (after.st_size, after.st_mtime_ns, after.st_ctime_ns, after.st_ino) != then:
        raise TransportFailure("local_changed", f"{os.fsdecode(path)!r} changed while it was read")
    return _with(one, digest.hexdigest())


def _with(one: Entry, digest: str) -> Entry:
    return Entry(one.path, "file", one.size, one.mode, one.mtime_ns, one.inode, one.ctime_ns, digest)


def _failure(error: OSError, path: str) -> TransportFailure:
    where = os.fsdecode(error.filename) if error.filename else path
    if error.errno in (errno.ENOTDIR, errno.ELOOP):  # replaced by a link, say, since it was listed
        return TransportFailure("local_changed" if where != path else "usage", f"{where!r}: {error.strerror}")
    return of_errno(error, remote=False)
