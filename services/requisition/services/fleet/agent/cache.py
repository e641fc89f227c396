"""Orders and what they read, fetched by digest and kept as bundles that a run needs no network for.

An order's document is bounded by a fixed size, and known by the digest that the signed rollout names before it is
parsed. What it reads is then known by digest and size. Files that an order kept here has already are not fetched again.
"""

import asyncio
import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Collection, Iterator
from typing import BinaryIO

from requisition.schemas import orderfile
from requisition.schemas.checksum import checksum
from requisition.schemas.diagnostic import BadInput, Failed, Failure
from requisition.schemas.document import Order
from requisition.schemas.envelope import ORDER_TYPE
from requisition.schemas.orderfile import Sealed
from requisition.services.fleet import sealed
from requisition.services.fleet.agent.link import Link, received, whole
from requisition.services.fleet.rollout import digest
from requisition.services.fleet.trustslots import Untrusted

_HEX = re.compile(r"[0-9a-f]{64}")


class Cache:
    """The folder: `orders/HEX.plan` are whole; what lies in `contents` is on its way there."""

    def __init__(self, folder: str, most: int) -> None:
        """`most`: bytes that an order may read, all in all."""
        self._sound: dict[str, tuple[int, ...]] = {}
        self._orders, self._contents, self._most = f"{folder}/orders", f"{folder}/contents", most
        for made in (folder, self._orders, self._contents):
            os.makedirs(made, mode=0o700, exist_ok=True)

    def path(self, order: str) -> str:
        """Where the bundle of an order is, once it is there."""
        return f"{self._orders}/{order.removeprefix('sha256:')}.plan"

    async def has(self, order: str) -> bool:
        """Whether all of an order is here, every byte as it should be. What is damaged goes; what was looked at and was
        not touched since is not read again, which may take longer than an offer stands."""
        path = self.path(order)
        if not (now := _touched(path)) or self._sound.get(order) != now:
            self._sound.pop(order, None)
            if await asyncio.to_thread(_is_sound, path, order):
                self._sound[order] = _touched(path)
        return order in self._sound

    async def fetch(self, order: str, link: Link) -> str:
        """Get all of an order; its checksum. Raises Unreachable when that may succeed later, Untrusted or BadInput when
        what came is not what was asked for, Failed when there is no room."""
        data = await whole(link.document(order), sealed.MAX_BYTES, "order")
        document, found = await asyncio.to_thread(_opened, data, order)
        sizes = {item.sha256: item.size for item in found.inputs}
        if strange := next((name for name in sizes if not _HEX.fullmatch(name)), ""):
            raise BadInput.of(f"{strange[:80]!r} is no digest", where=f"order {found.name}")
        await asyncio.to_thread(self._make_room, sizes)
        for name, size in sizes.items():
            if not await asyncio.to_thread(self._have, name):
                await self._get(name, size, link)
        places = {name: f"{self._contents}/{name}" for name in sizes}
        await asyncio.to_thread(orderfile.write, self.path(order), document, places)
        self._sound[order] = _touched(self.path(order))  # each byte was looked at when it was written
        await asyncio.to_thread(_empty, self._contents)
        return checksum("order", found.name, document.payload)

    def keep_only(self, orders: Collection[str]) -> None:
        """Forget the bundles of all others."""
        kept = {os.path.basename(self.path(order)) for order in orders if order}
        for name in set(os.listdir(self._orders)) - kept:
            os.unlink(f"{self._orders}/{name}")

    def _make_room(self, sizes: dict[str, int]) -> None:
        """Raises BadInput for an order that reads too much, Failed when the disk has too little."""
        for name in set(os.listdir(self._contents)) - sizes.keys():
            os.unlink(f"{self._contents}/{name}")
        wanted = sum(sizes.values())
        if wanted > self._most:
            raise BadInput.of(f"the order reads {wanted} bytes; this host takes {self._most}")
        there = sum(os.stat(f"{self._contents}/{name}").st_size for name in os.listdir(self._contents))
        disk = os.statvfs(self._contents)
        if 2 * wanted - there > disk.f_bavail * disk.f_frsize:
            raise Failed.of(f"the order reads {wanted} bytes, and has no room here", where=self._contents)

    def _have(self, name: str) -> bool:
        """Whether a content lies there, of this try or an earlier one or of another order's bundle."""
        place = f"{self._contents}/{name}"
        if os.path.exists(place):
            if _digest_of(place) == name:
                return True
            os.unlink(place)
        return any(_copied(bundle, name, place) for bundle in self._bundles())

    def _bundles(self) -> Iterator[str]:
        for name in sorted(os.listdir(self._orders)):
            if name.endswith(".plan") and not name.startswith("."):
                yield f"{self._orders}/{name}"

    async def _get(self, name: str, size: int, link: Link) -> None:
        """Fetch a content into its place, whole or not at all. Raises Untrusted when it is another one."""
        partial, actual, length = f"{self._contents}/.partial", hashlib.sha256(), 0
        with open(partial, "wb") as file:
            pieces = received(link.content(f"sha256:{name}"), size, "content")
            async with contextlib.aclosing(pieces):
                async for piece in pieces:
                    length += len(piece)
                    await asyncio.to_thread(_take, file, actual, piece)
        if length != size or actual.hexdigest() != name:
            os.unlink(partial)
            raise Untrusted.of(
                f"the content {name[:12]}… that came is not the one that the order reads",
                why=f"{length} bytes of {size}" if length != size else "its digest is another one",
            )
        os.rename(partial, f"{self._contents}/{name}")


def _take(file: BinaryIO, actual: "hashlib._Hash", piece: bytes) -> None:
    actual.update(piece)
    file.write(piece)


def _opened(data: bytes, order: str) -> tuple[Sealed, Order]:
    """The order of these bytes: its digest is compared before anything in it is parsed. Raises Untrusted, BadInput."""
    came = sealed.read(data, "order")
    if came.payload_type != ORDER_TYPE or digest(came.payload) != order:
        raise Untrusted.of("the order that came is not the one that the rollout names", why="its digest is another one")
    document = Sealed("order", came.payload, came.signatures)
    return document, orderfile.decode_order(document)


def _touched(path: str) -> tuple[int, ...]:
    """What is another when a file is; nothing where none is."""
    try:
        info = os.stat(path)
    except FileNotFoundError:
        return ()
    return info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns


def _is_sound(path: str, order: str) -> bool:
    if not os.path.exists(path):
        return False
    try:
        document = orderfile.read(path)
        try:
            if digest(document.payload) == order:
                if document.blobs is not None:
                    document.blobs.check()
                return True
        finally:
            document.close()
    except Failure:
        pass
    os.unlink(path)
    return False


def _digest_of(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _copied(bundle: str, name: str, place: str) -> bool:
    """Copy a content out of a bundle, if it is there as it should be."""
    try:
        document = orderfile.read(bundle)
    except Failure:
        return False
    try:
        if document.blobs is None or name not in document.blobs:
            return False
        with open(f"{place}.copy", "wb") as file:
            for piece in document.blobs.chunks(name):
                file.write(piece)
        os.rename(f"{place}.copy", place)
    except BadInput:
        os.unlink(f"{place}.copy")
        return False  # that bundle is damaged: the network has another one
    finally:
        document.close()
    return True


def _empty(folder: str) -> None:
    shutil.rmtree(folder)
    os.makedirs(folder, mode=0o700)
