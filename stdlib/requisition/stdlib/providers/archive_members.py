"""Members of an archive, read one after another and checked before anyone acts on them.

Nothing here writes. The rules (docs/decisions/archives.md): names stay below the destination, links point
below it, no member lies behind a link, hard links name an earlier file, no devices; count, size and
compression ratio are bounded. CPython's own extraction is not used: `tarfile` filters had holes
(CVE-2025-4517 and others), and this must be safe on every interpreter that we support.
"""

import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from posixpath import normpath
from typing import IO, Any, BinaryIO, Literal, NamedTuple

from requisition.stdlib.action import ActionError

MAX_MEMBERS = 200_000
MAX_TOTAL = 8 << 30
MAX_DEPTH = 100
MAX_RATIO = 1000
RATIO_FLOOR = 64 << 20
"""Below this size a high ratio is harmless: sparse text compresses well."""

_CHUNK = 1 << 20
DAMAGES = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    ValueError,
    OverflowError,
    RecursionError,
)
Kind = Literal["file", "dir", "link", "hard"]


class Member(NamedTuple):
    """One checked member: `name` relative and normalized; `target` of a link as written, or the name of
    the earlier file that a hard link repeats; `data` to be read before the next member is asked for."""

    kind: Kind
    name: str
    mode: int
    size: int
    target: str
    data: IO[bytes] | None


class _Rules:
    """What has been seen so far of one archive."""

    def __init__(self, label: str, packed: int) -> None:
        self._label = label
        self._packed = max(packed, 1)
        self._links: set[str] = set()
        self._files: set[str] = set()
        self._count = 0
        self._total = 0

    def name(self, raw: str, strip: int) -> str | None:
        """The member's name below the destination, None when `strip` leaves nothing of it."""
        self._count += 1
        if self._count > MAX_MEMBERS:
            raise self._bad(f"more than {MAX_MEMBERS} members")
        if raw.startswith("/") or "\0" in raw or "\\" in raw or ".." in raw.split("/"):
            raise self._bad(f"the member {raw[:200]!r} would land outside of the destination")
        parts = [part for part in normpath(raw).split("/") if part not in ("", ".")][strip:]
        if any(len(part.encode()) > 255 for part in parts) or len(parts) > MAX_DEPTH:
            raise self._bad(f"the member {raw[:60]!r}… has a name that is too long or too deep")
        name = "/".join(parts)
        for depth in range(1, len(parts)):
            if "/".join(parts[:depth]) in self._links:
                raise self._bad(f"the member {raw!r} lies behind a link of the archive")
        return name or None

    def size(self, raw: str, size: int) -> int:
        """The size, once it is known to be bearable."""
        if size < 0:
            raise self._bad(f"the member {raw!r} has a negative size")
        self._total += size
        if self._total > MAX_TOTAL:
            raise self._bad(f"it unpacks to more than {MAX_TOTAL >> 30} GiB")
        if self._total > RATIO_FLOOR and self._total // self._packed > MAX_RATIO:
            raise self._bad(f"it unpacks to more than {MAX_RATIO} times its size")
        return size

    def link(self, name: str, target: str) -> str:
        """The target, if it stays below the destination."""
        where = normpath("/".join([*name.split("/")[:-1], target]))
        if target.startswith("/") or not target or where == ".." or where.startswith("../") or "\0" in target:
            raise self._bad(f"the link {name!r} points outside of the destination, to {target[:200]!r}")
        self._links.add(name)
        return target

    def hard(self, name: str, target: str | None) -> str:
        """The earlier file that a hard link repeats."""
        if target is None or target not in self._files:
            raise self._bad(f"the hard link {name!r} names no earlier file of the archive")
        self._files.add(name)
        return target

    def file(self, name: str) -> None:
        """A regular file was seen."""
        if name in self._links:
            raise self._bad(f"the member {name!r} would replace a link of the archive")
        self._files.add(name)

    def _bad(self, why: str) -> ActionError:
        return ActionError(f"{self._label}: {why}", "this archive is not extracted; look at where it comes from")


def members(file: BinaryIO, label: str, packed: int, strip: int) -> Iterator[Member]:
    """Every member, in order. Raises ActionError for a foreign, damaged or hostile archive."""
    head = file.read(6)
    file.seek(0)
    try:
        if head.startswith(b"PK"):
            yield from _zip(file, _Rules(label, packed), strip, label)
        else:
            yield from _tar(_unpacked(file, head), _Rules(label, packed), strip, label)
    except DAMAGES as error:
        raise ActionError(f"{label} is not a sound archive: {error}", "get it again") from error
    except (NotImplementedError, RuntimeError) as error:
        raise ActionError(f"{label} cannot be extracted: {error}", "encrypted archives are not supported") from error


def _unpacked(file: BinaryIO, head: bytes) -> Any:
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        import zstandard

        return _Zstd(zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(file), zstandard.ZstdError)
    return file


class _Zstd:
    """A zstd stream whose damage is an OSError, as that of the other compressions."""

    def __init__(self, stream: Any, damage: type[Exception]) -> None:
        self._stream = stream
        self._damage = damage

    def read(self, size: int = -1) -> bytes:
        try:
            data: bytes = self._stream.read(size)
        except self._damage as error:
            raise OSError(str(error)) from error
        return data


def _tar(file: Any, rules: _Rules, strip: int, label: str) -> Iterator[Member]:
    with tarfile.open(fileobj=file, mode="r|*", errorlevel=2) as archive:
        for info in archive:
            name = rules.name(info.name, strip)
            if name is None:
                continue
            mode = stat.S_IMODE(info.mode) & 0o777
            if info.isdir():
                yield Member("dir", name, mode | 0o700, 0, "", None)
            elif info.issym():
                yield Member("link", name, 0, 0, rules.link(name, info.linkname), None)
            elif info.islnk():
                earlier = rules.hard(name, rules.name(info.linkname, strip))
                yield Member("hard", name, mode, 0, earlier, None)
            elif info.isreg():
                rules.file(name)
                size = rules.size(info.name, info.size)
                yield Member("file", name, mode, size, "", archive.extractfile(info))
            else:
                raise ActionError(
                    f"{label}: the member {info.name!r} is a device or pipe", "this archive is not extracted"
                )


def _zip(file: BinaryIO, rules: _Rules, strip: int, label: str) -> Iterator[Member]:
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            name = rules.name(info.filename, strip)
            if name is None:
                continue
            kind = stat.S_IFMT(info.external_attr >> 16)
            mode = (info.external_attr >> 16) & 0o777
            if info.is_dir():
                yield Member("dir", name, (mode or 0o755) | 0o700, 0, "", None)
            elif kind == stat.S_IFLNK:
                target = archive.read(info)[:4096].decode("utf-8", "strict")
                yield Member("link", name, 0, 0, rules.link(name, target), None)
            elif kind in (0, stat.S_IFREG):
                rules.file(name)
                size = rules.size(info.filename, info.file_size)
                with archive.open(info) as data:
                    yield Member("file", name, mode or 0o644, size, "", data)
            else:
                raise ActionError(
                    f"{label}: the member {info.filename!r} is a device or pipe",
                    "this archive is not extracted",
                )


def chunks(member: Member, label: str) -> Iterator[bytes]:
    """The content of a file, exactly as long as announced."""
    left = member.size
    while member.data is not None and left > 0:
        try:
            chunk = member.data.read(min(_CHUNK, left))
        except DAMAGES as error:
            raise ActionError(
                f"{label}: the member {member.name!r} is damaged: {error}", "get the archive again"
            ) from error
        if not chunk:
            raise ActionError(f"{label}: the member {member.name!r} is cut short", "get the archive again")
        left -= len(chunk)
        yield chunk
