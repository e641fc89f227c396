"""A folder of this machine, or one that is mounted: written and read back by ourselves.

A file is written beside the data and renamed into it when whole; what was written of a large one is gone on with. What
is whole is known by size and time of modification, as rsync does; whether it is right, verification says.
"""

import asyncio
import contextlib
import hashlib
import os
import shutil
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping

from requisition.services.delivery.aside import Stopped, aside
from requisition.services.delivery.config import Destination
from requisition.services.delivery.diagnosis import of_errno
from requisition.services.delivery.manifest import Entry, Manifest
from requisition.services.delivery.transport import (
    BESIDE,
    Found,
    Kind,
    Progress,
    TransportFailure,
    checked_target,
    incoming,
)
from requisition.services.delivery.verify import compare, found_in
from requisition.services.processes import Limits, run

_BLOCK = 1 << 20
_TELL_EVERY = 0.5
_AS_REMOTE: dict[Kind, Kind] = {
    "local_permission": "remote_permission",
    "local_vanished": "unknown",
    "local_changed": "unknown",
}


class Local:
    """`destination.path`, which must be there: an unmounted disk is not a place to write to."""

    def __init__(self, destination: Destination, environ: Mapping[str, str]) -> None:
        self._at = destination
        self._environ = dict(environ)

    async def probe(self) -> None:
        """See `Transport`."""

        def look() -> None:
            if not os.path.isdir(self._at.path):
                raise TransportFailure("usage", f"{self._at.path} is not there, or not a folder")
            if not os.access(self._at.path, os.W_OK | os.X_OK):
                raise TransportFailure("remote_permission", f"{self._at.path} may not be written to")

        await asyncio.to_thread(look)

    async def stage(
        self, source: str, manifest: Manifest, job: str, limit: int | None, on_progress: Callable[[Progress], None]
    ) -> None:
        """See `Transport`."""
        await self.probe()
        loop = asyncio.get_running_loop()
        folder = os.path.dirname(self._path(incoming(job)))

        def tell(said: Progress) -> None:
            loop.call_soon_threadsafe(on_progress, said)

        await aside(lambda stop: _Push(source, folder, manifest, limit, tell, stop).run())

    async def digests(self, place: str, manifest: Manifest) -> Found:
        """See `Transport`."""
        path = self._path(place)
        if not os.path.lexists(path):
            await self.probe()
            return Found({}, {}, frozenset(), "read")
        if os.path.islink(path) or not os.path.isdir(path):
            raise TransportFailure("conflict", f"{path} is not a folder")
        try:
            return await found_in(path, "read")
        except TransportFailure as failure:
            kind = _AS_REMOTE.get(failure.kind, failure.kind)
            raise TransportFailure(kind, failure.message) from failure

    async def publish(self, job: str, target: str, manifest: Manifest) -> None:
        """See `Transport`."""
        data, there = self._path(incoming(job)), self._path(checked_target(target))
        if os.path.lexists(there):
            if not compare(await self.digests(target, manifest), manifest).ok:
                raise TransportFailure("conflict", f"something else is at {target!r} of {self._at.name}")
        else:
            await self._flush(data)
            try:
                await asyncio.to_thread(self._rename, data, there, target)
            except OSError as error:
                raise of_errno(error, remote=True) from error
            await self._flush(os.path.dirname(there))
        await self.discard(job)

    async def put(self, target: str, name: str, content: bytes) -> None:
        """See `Transport`."""
        folder = self._path(checked_target(target)) + BESIDE

        def write() -> None:
            os.makedirs(folder, exist_ok=True)
            new = os.path.join(folder, f".{name}.{os.getpid()}")
            with open(new, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.rename(new, os.path.join(folder, name))

        try:
            await asyncio.to_thread(write)
        except OSError as error:
            raise of_errno(error, remote=True) from error

    async def discard(self, job: str) -> None:
        """See `Transport`."""
        folder = os.path.dirname(self._path(incoming(job)))
        try:
            await asyncio.to_thread(shutil.rmtree, folder)
        except FileNotFoundError:
            await self.probe()
        except OSError as error:
            raise of_errno(error, remote=True) from error

    def _path(self, place: str) -> str:
        return os.path.join(self._at.path, place)

    def _rename(self, data: str, there: str, target: str) -> None:
        parent = there
        for _ in range(target.count("/")):
            parent = os.path.dirname(parent)
            if os.path.lexists(parent + BESIDE):
                raise TransportFailure("conflict", f"{parent} was delivered: nothing is put into it")
        parent = os.path.dirname(there)
        os.makedirs(parent, exist_ok=True)
        os.rename(data, there)  # rename(2): fails on all that is there but an empty folder, and never copies

    async def _flush(self, path: str) -> None:
        """All of the filesystem on the disk: by syncfs(2), not file by file, where sync(1) knows how."""
        limits = Limits(grace=0.5)
        ended = await run(["sync", "-f", "--", path], env=self._environ, limits=limits)
        if not ended.good:
            ended = await run(["sync"], env=self._environ, limits=limits)
        if not ended.good:
            raise TransportFailure("unknown", f"sync: {ended.err.decode(errors='replace').strip()}")


class _Push:
    """One push into a job's folder, in a thread."""

    def __init__(
        self,
        source: str,
        folder: str,
        manifest: Manifest,
        limit: int | None,
        tell: Callable[[Progress], None],
        stop: threading.Event,
    ) -> None:
        self._source = os.fsencode(source)
        self._data, self._part = os.fsencode(folder) + b"/data", os.fsencode(folder) + b"/part"
        self._manifest, self._limit, self._tell, self._stop = manifest, limit, tell, stop
        self._begun = self._told = time.monotonic()
        self._moved = self._done = 0

    def run(self) -> None:
        """Push all of it. Raises TransportFailure."""
        try:
            for folder in (self._data, self._part):
                os.makedirs(folder, exist_ok=True)
            for one in self._manifest.entries:
                if self._stop.is_set():
                    raise Stopped
                self._one(one)
            for one in reversed(self._manifest.entries):
                if one.kind == "dir":  # last, since what is made in it changes its time
                    os.chmod(self._there(one), (one.mode | 0o700) & ~0o6000)
                    os.utime(self._there(one), ns=(one.mtime_ns, one.mtime_ns))
        except OSError as error:
            raise of_errno(error, remote=True) from error
        self._report()

    def _one(self, one: Entry) -> None:
        there = self._there(one)
        if one.kind == "dir":
            if not _is(there, one):
                _remove(there)
                os.mkdir(there, 0o700)
        elif one.kind == "link":
            _remove(there)
            os.symlink(one.link, there)
            os.utime(there, ns=(one.mtime_ns, one.mtime_ns), follow_symlinks=False)
        elif _is(there, one):
            self._done += one.size
        else:
            _remove(there)
            self._file(one, there)

    def _file(self, one: Entry, there: bytes) -> None:
        name = hashlib.sha256(one.path + b"\0" + one.sha256.encode()).hexdigest().encode()
        new = os.path.join(self._part, name)
        with open(new, "ab") as target:
            begun = target.tell()
            if begun > one.size:
                begun = target.truncate(0)
            self._done += begun
            for block in self._blocks(one, begun):
                target.write(block)
                self._count(len(block))
            os.fchmod(target.fileno(), one.mode & ~0o6000)
        os.utime(new, ns=(one.mtime_ns, one.mtime_ns))
        os.rename(new, there)

    def _blocks(self, one: Entry, begun: int) -> Iterator[bytes]:
        """The source from an offset on. Raises TransportFailure when it is no longer what the manifest names."""
        path = os.path.join(self._source, one.path)
        step = min(_BLOCK, max(4096, self._limit // 8)) if self._limit else _BLOCK
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(descriptor, "rb", buffering=0) as source:
                source.seek(begun)
                while source.tell() <= one.size and (block := source.read(step)):  # one that grows has an end, too
                    yield block
                after = os.fstat(descriptor)
        except OSError as error:
            raise of_errno(error, remote=False) from error
        if (after.st_size, after.st_mtime_ns, after.st_ino) != (one.size, one.mtime_ns, one.inode):
            raise TransportFailure("local_changed", f"{os.fsdecode(path)!r} changed since it was hashed")

    def _count(self, moved: int) -> None:
        self._moved += moved
        self._done += moved
        ahead = self._moved / self._limit - (time.monotonic() - self._begun) if self._limit else 0
        if self._stop.wait(ahead) if ahead > 0 else self._stop.is_set():
            raise Stopped
        if time.monotonic() - self._told >= _TELL_EVERY:
            self._report()

    def _report(self) -> None:
        self._told = time.monotonic()
        rate = self._moved / max(self._told - self._begun, 1e-6)
        left = self._manifest.size - self._done
        self._tell(Progress(self._done, self._manifest.size, rate, left / rate if rate else None))

    def _there(self, one: Entry) -> bytes:
        return os.path.join(self._data, one.path)


def _is(path: bytes, one: Entry) -> bool:
    """Whether an earlier push got this far."""
    try:
        info = os.lstat(path)
    except FileNotFoundError:
        return False
    if one.kind == "dir":
        return stat.S_ISDIR(info.st_mode)
    return stat.S_ISREG(info.st_mode) and (info.st_size, info.st_mtime_ns) == (one.size, one.mtime_ns)


def _remove(path: bytes) -> None:
    """What an earlier push of another manifest left in the way."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
