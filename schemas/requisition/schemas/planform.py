"""The `.plan` form: one file for machines, with the exact signed bytes and, if wanted, every input.

    offset  size  what
    0       8     magic "RQPLAN" and a 2-byte version, big-endian
    8       4     length H of the header, big-endian
    12      H     header, MessagePack: kind, payload, its SHA-256, signatures, source, blobs
    12+H    …     contents of the blobs, one after another, in the order of the header

The payload is verified before it is parsed. Its digest is what the checksum is in the `.yaml` form, for whoever has
no signature or no policy to judge by: the checksum itself holds the name, which is inside of the payload. Blobs are
`(SHA-256, length)` pairs; contents are read when asked for, and verified then, so that a bundle of gigabytes costs no
memory. Version is raised when an older reader could misread a newer file.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import BinaryIO

import msgspec
from msgspec import Struct

from requisition.schemas.checksum import Altered, Kind
from requisition.schemas.diagnostic import BadInput
from requisition.schemas.envelope import Signature

MAGIC = b"RQPLAN"
VERSION = 1
MAX_HEADER = 1 << 30
MAX_BLOBS = 1_000_000
_CHUNK = 1 << 20


class DamagedFile(BadInput):
    """The file is not an order file, or was cut short or altered outside of the document."""


class Blob(Struct, frozen=True, gc=False, array_like=True):
    """Digest (hex) and length of one content in a bundle."""

    sha256: str
    length: int


class Header(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the container says before its blobs. `sha256`: of the payload, hex."""

    kind: Kind
    payload: bytes
    sha256: str
    signatures: tuple[Signature, ...] = ()
    source: str = ""
    blobs: tuple[Blob, ...] = ()


_decoder = msgspec.msgpack.Decoder(Header)


class Bundle:
    """Contents by digest, read from an open `.plan` file."""

    def __init__(self, file: BinaryIO, where: str, places: Mapping[str, tuple[int, int]]) -> None:
        self._file = file
        self._where = where
        self._places = places

    def __contains__(self, digest: str) -> bool:
        return digest in self._places

    def __len__(self) -> int:
        return len(self._places)

    def digests(self) -> tuple[str, ...]:
        """All of them, in the order of the file."""
        return tuple(self._places)

    def size(self, digest: str) -> int:
        """Length in bytes."""
        return self._places[digest][1]

    def read(self, digest: str) -> bytes:
        """The content. Raises DamagedFile when it is not what its digest says."""
        return b"".join(self.chunks(digest))

    def chunks(self, digest: str) -> Iterator[bytes]:
        """The content piece by piece; raises DamagedFile at its end when it is not what its digest says."""
        offset, length = self._places[digest]
        actual, end = hashlib.sha256(), offset + length
        while offset < end and (piece := os.pread(self._file.fileno(), min(_CHUNK, end - offset), offset)):
            actual.update(piece)
            offset += len(piece)
            yield piece
        if actual.hexdigest() != digest:
            raise DamagedFile.of(
                f"the content {digest[:12]}… in the bundle was altered or cut short",
                where=self._where,
                next="get the file again, or build it again",
            )

    def check(self) -> None:
        """Read all contents. Raises DamagedFile when one is not what its digest says."""
        for digest in self._places:
            for _ in self.chunks(digest):
                pass

    def close(self) -> None:
        """Release the file."""
        self._file.close()


class Files:
    """Contents by digest that still lie in files, to be copied into a bundle."""

    def __init__(self, paths: Mapping[str, str]) -> None:
        self._paths = paths

    def digests(self) -> tuple[str, ...]:
        """All of them, sorted."""
        return tuple(sorted(self._paths))

    def size(self, digest: str) -> int:
        """Length in bytes, now."""
        return os.stat(self._paths[digest]).st_size

    def chunks(self, digest: str) -> Iterator[bytes]:
        """The content piece by piece; raises BadInput at its end when the file is another one by now."""
        actual = hashlib.sha256()
        with open(self._paths[digest], "rb") as file:
            while piece := file.read(_CHUNK):
                actual.update(piece)
                yield piece
        if actual.hexdigest() != digest:
            raise BadInput.of("the file changed while it was copied", where=self._paths[digest], next="build again")


Contents = Bundle | Files


def digest(payload: bytes) -> str:
    """What a header says of its payload."""
    return hashlib.sha256(payload).hexdigest()


def pieces(header: Header, contents: Iterable[bytes]) -> Iterator[bytes]:
    """A container, piece by piece; `contents` in the order of `header.blobs`."""
    body = msgspec.msgpack.encode(header)
    yield MAGIC + VERSION.to_bytes(2, "big") + len(body).to_bytes(4, "big")
    yield body
    yield from contents


def read(file: BinaryIO, where: str) -> tuple[Header, Bundle]:
    """Header and bundle; the bundle keeps the file open. Raises DamagedFile, and Altered for another payload."""
    start = file.read(12)
    if start[: len(MAGIC)] != MAGIC:
        raise DamagedFile.of("this is not a .plan file", where=where, why="its first bytes are not RQPLAN")
    version = int.from_bytes(start[6:8], "big")
    if version != VERSION:
        raise DamagedFile.of(
            f"unsupported .plan version {version}",
            where=where,
            why=f"this version reads {VERSION}",
            next="use the version of requisition that wrote it",
        )
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(start[8:12], "big")
    if len(start) < 12 or length > min(MAX_HEADER, size - 12):
        raise DamagedFile.of("the file is cut short", where=where, next="get it again")
    try:
        header = _decoder.decode(file.read(length))
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise DamagedFile.of("the header is damaged", where=where, why=str(error), next="get the file again") from error
    places = _places(header, 12 + length, size, where)
    if header.sha256 != digest(header.payload):
        raise Altered.of(
            f"this {header.kind} was altered, or damaged on its way",
            where=where,
            why="its content is not the one that its digest names",
            next="get the file again, or build it again",
        )
    return header, Bundle(file, where, places)


def _places(header: Header, offset: int, size: int, where: str) -> dict[str, tuple[int, int]]:
    if len(header.blobs) > MAX_BLOBS:
        raise DamagedFile.of(f"the file announces more than {MAX_BLOBS} contents", where=where)
    places: dict[str, tuple[int, int]] = {}
    for blob in header.blobs:
        if blob.length < 0 or offset + blob.length > size:
            raise DamagedFile.of("the file is cut short", where=where, next="get it again")
        places[blob.sha256] = (offset, blob.length)
        offset += blob.length
    if offset != size:
        raise DamagedFile.of("the file has bytes that nothing announces", where=where, next="get it again")
    return places
