"""The write-ahead log of one run: what is about to be done, and how to take it back.

Constraints: an fsync costs as much as a node's whole work, so intents are made durable in groups; a
killed run must be resumable from whatever prefix is on disk; the format must be readable years later.

Layout (little more than a list of checked frames; `docs/journal.md` argues crash safety from it):

    offset  size  what
    0       8     magic "RQJRNL" and a 2-byte version, big-endian
    8       …     frames, one a group commit:
                    4  length of the body, big-endian, never 0
                    4  CRC-32 of the body, big-endian
                    n  body: MessagePack array of records

A frame is the unit of commit: it counts whole or not at all. Reading stops at the first frame that is
short or fails its CRC; what follows was never acknowledged, so no effect of it was begun. Version is
raised when an old reader could misread a new journal.
"""

import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

import msgspec
from msgspec import Struct

from requisition.schemas.diagnostic import BadInput
from requisition.schemas.document import ConflictPolicy
from requisition.schemas.receipt import Left
from requisition.stdlib.host import FileChange, Move

MAGIC = b"RQJRNL"
VERSION = 1
HEADER = MAGIC + VERSION.to_bytes(2, "big")
MAX_FRAME = 1 << 30

Scope = tuple[int, ...]


class Begun(Struct, frozen=True, tag="begun", array_like=True):
    """First record: which order, on which target, in which boot of the machine, by which rules."""

    run_id: str
    order_checksum: str
    target_root: str
    source_root: str
    boot_id: str
    started: str
    on_conflict: ConflictPolicy
    keep_failed: bool
    only: tuple[str, ...] | None = None


class Resumed(Struct, frozen=True, tag="resumed", array_like=True):
    """The run was taken up again, in this boot."""

    boot_id: str
    started: str


class Intent(Struct, frozen=True, gc=False, tag="intent", array_like=True):
    """About to do a node: its files with their prior states, its renames (those by which the policy moves a
    conflict aside among them), and what its own `undo` needs."""

    node: int
    scope: Scope
    files: tuple[FileChange, ...]
    undo: Any = None
    moves: tuple[Move, ...] = ()

    @property
    def looks(self) -> bool:
        """Whether the node only looks at something, so that there is nothing to take back."""
        return self.undo == {} and not self.files and not self.moves

    def paths(self) -> Iterator[str]:
        """Every path that it names."""
        for change in self.files:
            yield change.path
        for move in self.moves:
            yield move.source
            yield move.path


class Finished(Struct, frozen=True, gc=False, tag="finished", array_like=True):
    """A node was done (or needed nothing); `outputs` only where another node needs them; `left` what is no file:
    of files the intent tells."""

    node: int
    scope: Scope
    status: Literal["done", "unchanged", "skipped"]
    outputs: dict[str, Any] | None = None
    left: tuple[Left, ...] = ()


class PhaseEnded(Struct, frozen=True, tag="phase", array_like=True):
    """A phase was completed and its effects are durable."""

    phase: str
    scope: Scope


class Unwinding(Struct, frozen=True, tag="unwinding", array_like=True):
    """The run failed, or a person asked: from here on things are taken back."""

    why: str


class Undone(Struct, frozen=True, gc=False, tag="undone", array_like=True):
    """One intent (by its position among the intents) or compensation was taken back."""

    intent: int
    status: Literal["done", "failed", "not_compensable"]


class Compensated(Struct, frozen=True, tag="compensated", array_like=True):
    """The compensation of a completed phase was run."""

    phase: str
    status: Literal["done", "failed"]


class Ended(Struct, frozen=True, tag="ended", array_like=True):
    """The run is over and its receipt is written."""

    state: str


Record = Begun | Resumed | Intent | Finished | PhaseEnded | Unwinding | Undone | Compensated | Ended

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Record])


class JournalError(BadInput):
    """The file is not a journal that this version can read."""


class Journal:
    """Appender. `sync` is a seam for fault injection; it must not return before the data is durable."""

    def __init__(self, path: str, *, sync: Callable[[int], None] = os.fdatasync) -> None:
        """Open for appending; what follows the last whole frame is cut off first."""
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self._sync = sync
        self._pending: list[Record] = []
        size = os.fstat(self._fd).st_size
        if size < len(HEADER):
            os.ftruncate(self._fd, 0)
            _write(self._fd, HEADER)
            self._end = len(HEADER)
        else:
            self._end = sum_of_whole_frames(_read_all(self._fd), path)
            self._cut()

    def note(self, record: Record) -> None:
        """Append with the next commit: facts whose loss costs only repeated work."""
        self._pending.append(record)

    def commit(self, records: Iterable[Record] = ()) -> None:
        """Append these after what was noted, as one frame, and make all of it durable.

        Raises OSError when that fails; the frame is then cut off again, so that a later one can be read.
        """
        self._pending.extend(records)
        if not self._pending:
            return
        body = _encoder.encode(self._pending)
        frame = len(body).to_bytes(4, "big") + zlib.crc32(body).to_bytes(4, "big") + body
        try:
            _write(self._fd, frame)
            self._sync(self._fd)
        except OSError:
            self._cut()
            raise
        self._end += len(frame)
        self._pending.clear()

    def _cut(self) -> None:
        os.ftruncate(self._fd, self._end)
        os.lseek(self._fd, self._end, os.SEEK_SET)

    def close(self) -> None:
        """Release the file; noted records that were not committed are dropped."""
        os.close(self._fd)


def read_journal(path: str) -> list[Record]:
    """Every committed record. Raises JournalError for a foreign file or a newer version."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        raise JournalError.of(
            f"the journal cannot be opened: {error.strerror}", where=path, next="plan recover lists all runs"
        ) from error
    try:
        data = _read_all(fd)
    finally:
        os.close(fd)
    records: list[Record] = []
    for body in _frames(data, path):
        try:
            records.extend(_decoder.decode(body))
        except (ValueError, RecursionError) as error:
            raise JournalError.of(
                "a whole frame of the journal holds an unknown record",
                where=path,
                why=str(error),
                next="read it with the version of requisition that wrote it",
            ) from error
    return records


def sum_of_whole_frames(data: bytes, path: str) -> int:
    """Offset of the first byte after the last whole frame."""
    return len(HEADER) + sum(8 + len(body) for body in _frames(data, path))


def _frames(data: bytes, path: str) -> Iterator[memoryview]:
    if len(data) < len(HEADER):
        return  # killed before the header was written: an empty journal
    if data[: len(MAGIC)] != MAGIC:
        raise JournalError.of("this is not a journal", where=path, why="its first bytes are not RQJRNL")
    version = int.from_bytes(data[len(MAGIC) : len(HEADER)], "big")
    if version != VERSION:
        raise JournalError.of(
            f"unsupported journal version {version}",
            where=path,
            why=f"this runtime reads version {VERSION}",
            next="use the version of requisition that wrote it",
        )
    view, offset = memoryview(data), len(HEADER)
    while offset + 8 <= len(data):
        length = int.from_bytes(view[offset : offset + 4], "big")
        body = view[offset + 8 : offset + 8 + length]
        if not 0 < length <= MAX_FRAME or len(body) < length:
            return
        if zlib.crc32(body) != int.from_bytes(view[offset + 4 : offset + 8], "big"):
            return
        yield body
        offset += 8 + length


def _read_all(fd: int) -> bytes:
    os.lseek(fd, 0, os.SEEK_SET)
    with open(os.dup(fd), "rb") as file:
        return file.read()


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
