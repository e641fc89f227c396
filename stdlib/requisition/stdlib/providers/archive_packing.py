"""Archives as streams of bytes: what members say decides every byte, and nothing of the machine does.

No owner, no time but the one that is asked for, two modes, and no name or system in any header. Compressed streams are
the same wherever zlib and zstd are of the same version. Pure; formats: POSIX pax (IEEE 1003.1), gzip (RFC 1952),
zstd (RFC 8878), zip (APPNOTE.TXT 6.3).
"""

import io
import stat
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple

from requisition.stdlib.action import ActionError

ZIP_TIMES = range(315532800, 4354819200)
"""What a zip can say: the years 1980 to 2107."""
TAR_TIMES = range(8**11)
_GZIP_HEAD = b"\x1f\x8b\x08\0" + bytes(4) + b"\0\xff"  # no name, no time, no extra speed or effort, unknown system
_GZIP_LEVEL = 6
_ZSTD_LEVEL = 9
_BLOCK = 512
_RECORD = 20 * _BLOCK

Kind = Literal["file", "dir", "link"]


class Packed(NamedTuple):
    """One member: `name` relative, without `/` at its end; `data` the content of a file or the target of a link."""

    name: str
    kind: Kind
    data: bytes = b""
    executable: bool = False

    @property
    def mode(self) -> int:
        """Permission bits, of which there are two sorts."""
        return 0o777 if self.kind == "link" else 0o755 if self.executable or self.kind == "dir" else 0o644


Form = Callable[[Iterable[Packed], int], Iterator[bytes]]


def form_of(path: str) -> Form:
    """How to pack what goes to a path of this name. Raises ActionError for a name that says nothing."""
    for suffix, form in _FORMS.items():
        if path.endswith(suffix):
            return form
    raise ActionError(f"{path} names no form of archive", f"end it in one of {', '.join(_FORMS)}")


def tar(members: Iterable[Packed], mtime: int) -> Iterator[bytes]:
    """A tar. Raises ActionError for a time it cannot hold."""
    _check_time("tar", mtime, TAR_TIMES)
    types = {"file": tarfile.REGTYPE, "dir": tarfile.DIRTYPE, "link": tarfile.SYMTYPE}
    total = 0
    for member in members:
        info = tarfile.TarInfo(member.name)
        info.type, info.mode, info.mtime = types[member.kind], member.mode, mtime
        content = b""
        if member.kind == "link":
            info.linkname = member.data.decode()
        else:
            content, info.size = member.data, len(member.data)
        for part in (info.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict"), content, bytes(-len(content) % _BLOCK)):
            total += len(part)
            yield part
    yield bytes(2 * _BLOCK + -(total + 2 * _BLOCK) % _RECORD)


def tar_gz(members: Iterable[Packed], mtime: int) -> Iterator[bytes]:
    """The same in gzip."""
    squeeze = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    check = size = 0
    yield _GZIP_HEAD
    for part in tar(members, mtime):
        check, size = zlib.crc32(part, check), size + len(part)
        yield squeeze.compress(part)
    yield squeeze.flush()
    yield check.to_bytes(4, "little") + (size % (1 << 32)).to_bytes(4, "little")


def tar_zst(members: Iterable[Packed], mtime: int) -> Iterator[bytes]:
    """The same in zstd, by one thread: several would cut it elsewhere."""
    import zstandard

    squeeze = zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True, threads=0).compressobj()
    for part in tar(members, mtime):
        yield squeeze.compress(part)
    yield squeeze.flush()


def zipped(members: Iterable[Packed], mtime: int) -> Iterator[bytes]:
    """A zip; sizes stand in front of each member, so that it can also be read as a stream."""
    _check_time("zip", mtime, ZIP_TIMES)
    when = time.gmtime(mtime)[:6]
    types = {"file": stat.S_IFREG, "dir": stat.S_IFDIR, "link": stat.S_IFLNK}
    tail = _Tail()
    with zipfile.ZipFile(tail, "w") as archive:  # type: ignore[call-overload]
        for member in members:
            info = zipfile.ZipInfo(member.name + "/" * (member.kind == "dir"), when)
            info.create_system = 3  # Unix, whatever this is
            info.external_attr = (types[member.kind] | member.mode) << 16 | 0x10 * (member.kind == "dir")
            squeezed = member.kind == "file" and len(member.data) > 0
            archive.writestr(info, member.data, zipfile.ZIP_DEFLATED if squeezed else zipfile.ZIP_STORED, _GZIP_LEVEL)
            yield tail.taken()
    yield tail.taken()


class _Tail:
    """The end of a file that is written: `zipfile` goes back no further than to the head of the member at work."""

    def __init__(self) -> None:
        self._start = 0
        self._buffer = io.BytesIO()

    def write(self, data: bytes) -> int:
        """Into what was not taken yet."""
        return self._buffer.write(data)

    def tell(self) -> int:
        """From the start of the file."""
        return self._start + self._buffer.tell()

    def seek(self, position: int) -> int:
        """The same."""
        return self._start + self._buffer.seek(position - self._start)

    def flush(self) -> None:
        """There is nothing behind it."""

    def taken(self) -> bytes:
        """Everything since it was taken last."""
        data = self._buffer.getvalue()
        self._start += len(data)
        self._buffer = io.BytesIO()
        return data


def _check_time(form: str, mtime: int, can: range) -> None:
    if mtime not in can:
        raise ActionError(f"a {form} cannot hold the time {mtime}", f"give mtime from {can.start} to {can.stop - 1}")


_FORMS: dict[str, Form] = {
    ".tar": tar,
    ".tar.gz": tar_gz,
    ".tgz": tar_gz,
    ".tar.zst": tar_zst,
    ".zip": zipped,
}
