"""Members of an archive, read one after another and checked before anyone acts on them.

Nothing here writes. The rules (docs/decisions/archives.md): names stay below the destination and are taken
once, no member lies behind a link, links point below the destination, hard links name an earlier file, no
devices; count, size, headers and compression ratio are bounded. CPython's own extraction is not used:
`tarfile` filters had holes (CVE-2025-4517 and others), and this must be safe on every interpreter that we
support.
"""

import bz2
import gzip
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, Any, BinaryIO, Literal, NamedTuple

from requisition.stdlib.action import ActionError

MAX_MEMBERS = 200_000
MAX_TOTAL = 8 << 30
MAX_DEPTH = 100
MAX_NAME = 255
MAX_TARGET = 4096
MAX_HEADER = 16 << 10
"""Extended tar headers hold long names and attributes; `tarfile` reads them whole, and looks through them
in quadratic time (CVE-2024-6232)."""

MAX_RATIO = 1000
RATIO_FLOOR = 64 << 20
"""Below this size a high ratio is harmless: sparse text compresses well."""

_CHUNK = 1 << 20
_DISTRUST = "this archive is not extracted; look at where it comes from"
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

    def __init__(self, label: str, packed: int, strip: int) -> None:
        self._label = label
        self._strip = strip
        self.most = min(MAX_TOTAL, max(RATIO_FLOOR, packed * MAX_RATIO))
        self._seen: dict[str, Kind] = {}
        self._links: dict[str, str] = {}
        self._count = 0
        self._total = 0

    def member(self, raw: str, kind: Kind) -> str | None:
        """The name of one more member, None when `strip` leaves nothing of it. A place is taken once; only
        directories may be named again."""
        self._count += 1
        if self._count > MAX_MEMBERS:
            raise self.bad(f"more than {MAX_MEMBERS} members")
        name = self._below(raw)
        if not name:
            return None
        at = name.find("/")
        while at > 0:
            if self._seen.setdefault(name[:at], "dir") != "dir":
                raise self.bad(f"the member {_shown(raw)} lies behind a link or file of the archive")
            at = name.find("/", at + 1)
        if name in self._seen and not kind == self._seen[name] == "dir":
            raise self.bad(f"the place of the member {_shown(raw)} is taken by an earlier one")
        self._seen[name] = kind
        return name

    def _below(self, raw: str) -> str:
        if raw.startswith("/") or "\0" in raw or "\\" in raw or ".." in raw.split("/"):
            raise self.bad(f"the member {_shown(raw)} would land outside of the destination")
        parts = [part for part in raw.split("/") if part not in ("", ".")][self._strip :]
        if any(len(os.fsencode(part)) > MAX_NAME for part in parts) or len(parts) > MAX_DEPTH:
            raise self.bad(f"the member {_shown(raw)} has a name that is too long or too deep")
        return "/".join(parts)

    def size(self, raw: str, size: int) -> int:
        """The size, once it is known to be bearable."""
        if size < 0:
            raise self.bad(f"the member {_shown(raw)} has a negative size")
        self._total += size
        self.unpacked(self._total)
        return size

    def unpacked(self, total: int) -> None:
        """Raise when an archive of this size cannot honestly unpack to so much."""
        if total > self.most:
            raise self.bad(
                f"it unpacks to more than {self.most >> 20} MiB, over {MAX_RATIO} times its size or too much"
            )

    def link(self, name: str, target: str) -> str:
        """The target of a link, to be judged when all links are known; see `finish`."""
        if target.startswith("/") or not target or "\0" in target or len(target) > MAX_TARGET:
            raise self._leads_out(name, target)
        self._links[name] = target
        return target

    def finish(self) -> None:
        """Every link must stay below the destination, also by way of other links of the archive."""
        for name, target in self._links.items():
            where, through = name.split("/")[:-1], False
            for part in target.split("/"):
                if part == "..":
                    if through or not where:
                        raise self._leads_out(name, target)
                    where.pop()
                elif part not in ("", "."):
                    where.append(part)
                    through = through or "/".join(where) in self._links

    def hard(self, name: str, target: str) -> str:
        """The earlier file that a hard link repeats."""
        earlier = self._below(target)
        if earlier == name or self._seen.get(earlier) not in ("file", "hard"):
            raise self.bad(f"the hard link {_shown(name)} names no earlier file of the archive")
        return earlier

    def _leads_out(self, name: str, target: str) -> ActionError:
        return self.bad(f"the link {_shown(name)} points outside of the destination, to {_shown(target)}")

    def bad(self, why: str) -> ActionError:
        """The refusal of this archive."""
        return ActionError(f"{self._label}: {why}", _DISTRUST)


def _shown(text: str) -> str:
    return repr(text if len(text) <= 200 else text[:200] + "…")


def members(file: BinaryIO, label: str, packed: int, strip: int) -> Iterator[Member]:
    """Every member, in order. Raises ActionError for a foreign, damaged or hostile archive; what concerns
    the archive as a whole is raised after the last member, so act on none before all were seen."""
    head = file.read(6)
    file.seek(0)
    rules = _Rules(label, packed, strip)
    try:
        if head.startswith(b"PK"):
            yield from _zip(file, rules)
        else:
            yield from _tar(_Bounded(*_unpacked(file, head), rules), rules)
        rules.finish()
    except DAMAGES as error:
        raise ActionError(f"{label} is not a sound archive: {error}", "get it again") from error
    except (NotImplementedError, RuntimeError) as error:
        raise ActionError(f"{label} cannot be extracted: {error}", "encrypted archives are not supported") from error


def _unpacked(file: BinaryIO, head: bytes) -> tuple[Any, type[Exception]]:
    """The tar stream itself, and the error that its damage is."""
    if head.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=file), OSError
    if head.startswith(b"BZh"):
        return bz2.BZ2File(file), OSError
    if head.startswith((b"\xfd7zXZ", b"\x5d\x00\x00")):
        return lzma.LZMAFile(file), OSError
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        import zstandard

        frames = zstandard.ZstdDecompressor(max_window_size=1 << 27)
        return frames.stream_reader(file, read_across_frames=True), zstandard.ZstdError
    return file, OSError


class _Bounded:
    """A tar stream that ends with an error where it grows beyond belief, headers included."""

    def __init__(self, stream: Any, damage: type[Exception], rules: _Rules) -> None:
        self._stream = stream
        self._damage = damage
        self._rules = rules
        self._total = 0

    def read(self, size: int) -> bytes:
        """Up to `size` bytes. Raises OSError where the compression is damaged."""
        try:
            data: bytes = self._stream.read(size)
        except self._damage as error:
            raise OSError(str(error)) from error
        self._total += len(data)
        self._rules.unpacked(self._total)
        return data


class _Header(tarfile.TarInfo):
    """A tar header that `tarfile` may act on: no absurd sizes (CVE-2025-8194), and damage is an error
    instead of a silent end."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Any:
        """The next header."""
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"it ends in a damaged header: {error}") from error

    def _proc_member(self, archive: tarfile.TarFile) -> Any:
        if self.size < 0 or (self.type not in tarfile.REGULAR_TYPES and self.size > MAX_HEADER):
            raise tarfile.ReadError(f"a header announces {self.size} bytes")
        return super()._proc_member(archive)  # type: ignore[misc]


def _tar(stream: Any, rules: _Rules) -> Iterator[Member]:
    with tarfile.open(fileobj=stream, mode="r|", errorlevel=2, tarinfo=_Header) as archive:
        for info in archive:
            kind = _tar_kind(info)
            if kind is None:
                raise rules.bad(f"the member {_shown(info.name)} is a device or pipe")
            name = rules.member(info.name, kind)
            mode = info.mode & 0o777
            if name is None:
                continue
            if kind == "dir":
                yield Member("dir", name, mode | 0o700, 0, "", None)
            elif kind == "link":
                yield Member("link", name, 0, 0, rules.link(name, info.linkname), None)
            elif kind == "hard":
                yield Member("hard", name, mode, 0, rules.hard(name, info.linkname), None)
            else:
                size = rules.size(info.name, info.size)
                yield Member("file", name, mode, size, "", archive.extractfile(info))


def _tar_kind(info: tarfile.TarInfo) -> Kind | None:
    if info.isdir():
        return "dir"
    if info.issym():
        return "link"
    if info.islnk():
        return "hard"
    return "file" if info.isreg() else None


def _zip(file: BinaryIO, rules: _Rules) -> Iterator[Member]:
    kinds: dict[int, Kind] = {0: "file", stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "link"}
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            kind = "dir" if info.is_dir() else kinds.get(stat.S_IFMT(info.external_attr >> 16))
            if kind is None:
                raise rules.bad(f"the member {_shown(info.filename)} is a device or pipe")
            name = rules.member(info.filename, kind)
            mode = (info.external_attr >> 16) & 0o777
            if name is None:
                continue
            if kind == "dir":
                yield Member("dir", name, (mode or 0o755) | 0o700, 0, "", None)
                continue
            with archive.open(info) as data:
                if kind == "link":
                    target = data.read(MAX_TARGET + 1).decode()
                    yield Member("link", name, 0, 0, rules.link(name, target), None)
                else:
                    size = rules.size(info.filename, info.file_size)
                    yield Member("file", name, mode or 0o644, size, "", data)


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
