"""Whether what lies at the far end, or here, is what the manifest says: byte for byte, and nothing besides.

The manifest is the reference. It is never made again to fit what is found.
"""

from msgspec import Struct

from requisition.services.delivery.hashing import Cache, scanned
from requisition.services.delivery.manifest import Manifest
from requisition.services.delivery.transport import Found, Transport


class Verification(Struct, frozen=True):
    """What differs, by relative path, sorted. `strategy`: how digests were had (see `Found`). `unproved`: empty
    folders, where the far end knows none; they are in the manifest only."""

    strategy: str
    missing: tuple[bytes, ...] = ()
    mismatched: tuple[bytes, ...] = ()
    extra: tuple[bytes, ...] = ()
    unproved: tuple[bytes, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether everything is there, as it was, and nothing else."""
        return not (self.missing or self.mismatched or self.extra)

    def __str__(self) -> str:
        """One line for a person."""
        if self.ok:
            return f"all there ({self.strategy})"
        parts = [("missing", self.missing), ("different", self.mismatched), ("too many", self.extra)]
        return "; ".join(
            f"{len(paths)} {word}: {', '.join(repr(one.decode(errors='backslashreplace')) for one in paths[:3])}"
            for word, paths in parts
            if paths
        )


async def verify(transport: Transport, place: str, manifest: Manifest) -> Verification:
    """Compare what lies at a place of the far end. Raises TransportFailure when that cannot be told."""
    return compare(await transport.digests(place, manifest), manifest)


async def verify_local(folder: str, manifest: Manifest, cache: Cache | None = None) -> Verification:
    """Compare the source; without a cache every byte is read. Raises TransportFailure as `hashing.scan`."""
    return compare(await found_in(folder, "read", cache), manifest)


async def found_in(folder: str, strategy: str, cache: Cache | None = None) -> Found:
    """What lies in a folder of this machine. Raises TransportFailure as `hashing.scan`."""
    seen = await scanned(folder, cache)
    return Found(
        {one.path: one.sha256 for one in seen.files.values()},
        {one.path: one.link for one in seen.entries if one.kind == "link"},
        frozenset(one.path for one in seen.entries if one.kind == "dir"),
        strategy,
    )


def compare(found: Found, manifest: Manifest) -> Verification:
    """What differs."""
    there: dict[bytes, object] = {**found.files, **found.links, **dict.fromkeys(found.folders or (), True)}
    missing, mismatched, unproved = [], [], []
    for one in manifest.entries:
        wanted = {"file": one.sha256, "link": one.link, "dir": True}[one.kind]
        if one.path in there:
            if there.pop(one.path) != wanted:
                mismatched.append(one.path)
        elif one.kind == "dir" and found.folders is None:
            unproved.append(one.path)
        else:
            missing.append(one.path)
    full = {one.path.rpartition(b"/")[0] for one in manifest.entries}
    empty = (path for path in unproved if path not in full)
    return Verification(found.strategy, tuple(missing), tuple(mismatched), tuple(sorted(there)), tuple(empty))
