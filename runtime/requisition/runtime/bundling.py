"""An order and what it reads as one stream of bytes: a `.plan` file that need not be written to be sent.

Whoever receives it believes none of it: signatures are judged and digests checked there as in any file.
"""

from collections.abc import Callable, Iterable, Iterator

from msgspec import Struct

from requisition.schemas import planform
from requisition.schemas.document import Input
from requisition.schemas.orderfile import Sealed


class Stream(Struct, frozen=True):
    """`size` bytes, made piece by piece while they are sent."""

    size: int
    pieces: Iterator[bytes]


def bundled(sealed: Sealed, inputs: Iterable[Input], content: Callable[[str], bytes]) -> Stream:
    """The document with its signatures and these inputs. `content` gives the verified content of a path; what
    it raises comes out of `pieces`, and the stream is then too short to be taken for whole."""
    paths = {item.sha256: item.path for item in inputs}
    sizes = {item.sha256: item.size for item in inputs}
    index = tuple(planform.Blob(digest, sizes[digest]) for digest in sorted(paths))
    header = planform.Header(sealed.kind, sealed.payload, planform.digest(sealed.payload), sealed.signatures, "", index)
    before = list(planform.pieces(header, ()))
    size = sum(map(len, before)) + sum(blob.length for blob in index)

    def pieces() -> Iterator[bytes]:
        yield from before
        for blob in index:
            yield content(paths[blob.sha256])

    return Stream(size, pieces())
