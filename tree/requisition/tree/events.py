"""`.plan/events.jsonl`: what happened to a tree, one line a step, told before or after its effect as its kind says.

Writers take turns by an flock on `.plan/events.lock` (not on the log, which compaction replaces). What `append`
returned from is durable. A writer that was killed leaves at most a line without an end, which was never announced:
the next writer cuts it off. Any other damage is an error that names the line; nothing is dropped in silence.
"""

import errno
import fcntl
import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Self

import msgspec

from requisition.runtime.layout import sync_directory, write_durably
from requisition.schemas.diagnostic import BadInput, Diagnostic, Failed
from requisition.schemas.treeevent import (
    MAX_LINE,
    Added,
    Completed,
    Event,
    Halted,
    Known,
    Later,
    Removed,
    Started,
    Sync,
    Updated,
    from_line,
    to_line,
)
from requisition.tree import history, local
from requisition.tree.history import State
from requisition.tree.local import Clock

__all__ = [
    "Added",
    "Completed",
    "Event",
    "EventLog",
    "Halted",
    "Known",
    "Later",
    "Removed",
    "Started",
    "Sync",
    "Updated",
    "log_path",
    "read_events",
    "torn_bytes",
]

MAX_LOG = 256 << 20
_APPEND = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


def log_path(root: str) -> str:
    """Where the log of a tree lies."""
    return local.path(root, "events.jsonl")


class EventLog:
    """Appender and reader of one tree's log; for many threads and processes at once.

    `healed` tells of every line without an end that this log cut off. `sync` is a seam for fault injection: it must
    not return before the data is durable.
    """

    def __init__(self, root: str, clock: Clock, sync: Callable[[int], None]) -> None:
        self.path = log_path(root)
        self.healed: list[Diagnostic] = []
        self._clock, self._sync = clock, sync
        self._turn = threading.Lock()  # an flock does not part threads that share its descriptor
        self._lock = _open(local.path(root, "events.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW)
        self._fd = -1

    @classmethod
    def open(cls, root: str, clock: Clock = local.now, *, sync: Callable[[int], None] = os.fdatasync) -> Self:
        """The log of the tree at a root's folder, made when there is none; a line without an end is cut off.
        Raises BadInput."""
        local.make(root)
        log = cls(root, clock, sync)
        try:
            with log._writing():
                return log
        except BaseException:
            log.close()
            raise

    def close(self) -> None:
        """Release both files."""
        for fd in (self._fd, self._lock):
            if fd >= 0:
                os.close(fd)
        self._fd = self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def append(self, event: Known) -> Known:
        """The event as it was written, with its time; durable. Raises Failed when that cannot be had: the log is
        then as it was before."""
        return self.append_many((event,))[0]

    def append_many(self, events: Iterable[Known]) -> list[Known]:
        """The same for several: next to each other, durable by one fdatasync, all or (after a power loss) the
        first of them."""
        at = local.stamp(self._clock())
        stamped = [msgspec.structs.replace(event, at=at) for event in events]
        data = b"".join(map(to_line, stamped))
        if data:
            with self._writing() as end:
                self._write(data, end)
        return stamped

    def read(self) -> Iterator[Event]:
        """All events, oldest first. Raises BadInput that names a damaged line."""
        return read_events(self.path)

    def fold(self) -> State:
        """The state that the log implies."""
        return history.fold(self.read())

    def compact(self, above: int = 0) -> int:
        """Keep only what the state depends on; bytes that were saved. A log of at most `above` bytes is left as it
        is. Raises BadInput for a damaged log, which is left as it is too."""
        with self._writing() as end:
            kept = b"".join(map(to_line, history.compacted(self.read()))) if end > above else b""
            if end <= above or len(kept) == end:
                return 0
            write_durably(self.path, kept, 0o644)
            return end - len(kept)

    def adopt(self, events: Sequence[Event]) -> bool:
        """Begin with events that already have their times, all or none. Whether the log begins with them now: one
        that begins otherwise is left as it is."""
        with self._writing() as end:
            if not end:
                write_durably(self.path, b"".join(map(to_line, events)), 0o644)
            return list(islice(self.read(), len(events))) == list(events)

    @contextmanager
    def _writing(self) -> Iterator[int]:
        """This writer's turn: the log is open and ends with a whole line, at the given offset."""
        with self._turn:
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            try:
                self._reopen()
                yield self._heal()
            finally:
                fcntl.flock(self._lock, fcntl.LOCK_UN)

    def _reopen(self) -> None:
        """Open the log at its name: another process may have compacted it."""
        try:
            named = os.lstat(self.path)
            ours = os.fstat(self._fd) if self._fd >= 0 else None
            if ours is not None and (ours.st_dev, ours.st_ino) == (named.st_dev, named.st_ino):
                return
        except FileNotFoundError:
            named = None
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = _open(self.path, _APPEND)
        if named is None:
            sync_directory(os.path.dirname(self.path))

    def _heal(self) -> int:
        size = os.fstat(self._fd).st_size
        torn = _torn(self._fd, size)
        if torn:
            os.ftruncate(self._fd, size - torn)
            self._sync(self._fd)
            self.healed.append(
                Diagnostic(
                    what=f"a line of {torn} bytes without an end was cut off",
                    where=self.path,
                    why="whoever wrote it was killed before it was announced",
                    severity="warning",
                    code="healed",
                )
            )
        return size - torn

    def _write(self, data: bytes, end: int) -> None:
        try:
            if os.write(self._fd, data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._sync(self._fd)
        except OSError as error:
            os.ftruncate(self._fd, end)
            raise Failed.of(
                f"the event log cannot be written: {error.strerror}",
                where=self.path,
                why="nothing is done that could not be told first",
                next="make room, then do it again",
            ) from error


def read_events(path: str) -> Iterator[Event]:
    """All events of a log that may not be there, oldest first; a last line without an end is none yet. Changes
    nothing. Raises BadInput."""
    try:
        file = open(_open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW), "rb", buffering=1 << 18)  # noqa: SIM115
    except FileNotFoundError:
        return
    with file:
        if os.fstat(file.fileno()).st_size > MAX_LOG:
            raise BadInput.of(f"the event log is larger than {MAX_LOG >> 20} MiB", where=path, next="move it away")
        number = 0
        while line := file.readline(MAX_LINE + 1):
            number += 1
            if len(line) > MAX_LINE:
                raise _damaged(path, number, f"it is longer than {MAX_LINE} bytes")
            if not line.endswith(b"\n"):
                return
            try:
                yield from_line(line[:-1])
            except ValueError as error:
                raise _damaged(path, number, str(error)) from error


def torn_bytes(path: str) -> int:
    """How many bytes of a last line without an end a log has."""
    try:
        fd = _open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return 0
    try:
        return _torn(fd, os.fstat(fd).st_size)
    finally:
        os.close(fd)


def _torn(fd: int, size: int) -> int:
    """Bytes after the last newline; the last one alone is read when it is one."""
    if size == 0 or os.pread(fd, 1, size - 1) == b"\n":
        return 0
    start = size
    while start > 0:
        start = max(0, start - MAX_LINE)
        found = os.pread(fd, MAX_LINE, start).rfind(b"\n")
        if found >= 0:
            return size - (start + found + 1)
    return size


def _open(path: str, flags: int) -> int:
    why = "it is no file"
    try:
        fd = os.open(path, flags | os.O_NONBLOCK, 0o644)
        if stat.S_ISREG(os.fstat(fd).st_mode):
            return fd
        os.close(fd)
    except FileNotFoundError:
        raise
    except OSError as error:
        why = error.strerror or str(error)
    raise BadInput.of("this must be a plain file of yours", where=path, why=why, next="move it away")


def _damaged(path: str, number: int, why: str) -> BadInput:
    return BadInput.of(
        "the event log has a damaged line",
        where=f"{path}:{number}",
        why=why,
        next="correct that line, or take it out if it tells of nothing that is still so",
    )
