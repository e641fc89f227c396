"""The way to a server, as the agent sees it: bytes there, bytes back. Nothing that comes is believed here; who asks
bounds how much of it is read, and for how long.

What is asked for work (`Ask`) and answered (`Answer`) is JSON; documents and contents are named by their digest.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Annotated, Literal, Protocol

from msgspec import Meta, Struct

from requisition.schemas.diagnostic import Failed
from requisition.services.fleet.events import Heartbeat, Moment
from requisition.services.fleet.rollout import Digest
from requisition.services.fleet.trustslots import Untrusted

Pieces = AsyncGenerator[bytes, None]

SILENCE = 60.0
PATIENCE = 300.0
SLOWEST = 1024
"""Seconds without a piece; seconds after which slowness counts; bytes a second that are slow."""


class Unreachable(Failed):
    """Nobody answers now; asking again later may help."""


class Ask(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`word`: that the host is there. `reports`: the oldest that were not acknowledged, as they were signed
    (`sealed.write`), without gaps."""

    version: Literal[1] = 1
    word: Heartbeat
    reports: tuple[bytes, ...] = ()


class Failing(Struct, frozen=True):
    """A host's signed report, and its public key as an OpenSSH line (`authority.Proof`)."""

    report: bytes
    key: str


class Offer(Struct, frozen=True, omit_defaults=True):
    """What the host is to do (`state.Dispatch`), and why it should believe that: `tip`, or, to go back, `verb`, an
    operator's, or `proofs` that other hosts failed. All as they were signed."""

    number: Annotated[int, Meta(ge=1, le=1 << 53)]
    rollout: Digest
    order: Digest
    recall: bool = False
    tip: bytes = b""
    verb: bytes = b""
    proofs: tuple[Failing, ...] = ()


class Answer(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """At which time of the server's it was given; of which stream all reports up to `acknowledged` are on its disk, and
    from which on they are `missing` (0 for nowhere). Unknown fields are of a newer server, and left out."""

    version: Literal[1] = 1
    at: Moment
    stream: str
    acknowledged: Annotated[int, Meta(ge=0, le=1 << 53)] = 0
    missing: Annotated[int, Meta(ge=0, le=1 << 53)] = 0
    offer: Offer | None = None


class Link(Protocol):
    """A server. Each raises Unreachable when it cannot be asked, or breaks off."""

    def ask(self, body: bytes) -> Pieces:
        """Send an `Ask`; an `Answer` comes back."""
        ...

    def document(self, digest: str) -> Pieces:
        """A signed document (`sealed.write`): the digest is that of its payload."""
        ...

    def content(self, digest: str) -> Pieces:
        """A file that an order reads: the digest is that of its bytes."""
        ...


async def received(pieces: Pieces, limit: int, what: str) -> Pieces:
    """The pieces, as long as they are no more than `limit` bytes in all. Raises Untrusted for more, Unreachable when
    they come too slowly to be waited for."""
    loop = asyncio.get_running_loop()
    begun, size = loop.time(), 0
    async with contextlib.aclosing(pieces):
        while True:
            try:
                async with asyncio.timeout(SILENCE):
                    piece = await anext(pieces, b"")
            except TimeoutError as error:
                raise Unreachable.of(f"the {what} does not come", why=f"nothing came for {SILENCE:g} s") from error
            if not piece:
                return
            size += len(piece)
            if size > limit:
                raise Untrusted.of(f"the {what} is larger than the {limit} bytes that it may have")
            if (took := loop.time() - begun) > PATIENCE and size < SLOWEST * took:
                raise Unreachable.of(f"the {what} comes too slowly", why=f"{size} bytes in {took:.0f} s")
            yield piece


async def whole(pieces: Pieces, limit: int, what: str) -> bytes:
    """All of them together. Raises as `received` does."""
    async with contextlib.aclosing(received(pieces, limit, what)) as found:
        return b"".join([piece async for piece in found])
