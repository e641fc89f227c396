"""What every way to a destination can do, and how it says that it could not.

A destination is a folder at a far end. A job's data is pushed into `.incoming/<job>/data` of it, verified there, and
then renamed to its target, the full relative path. What is known of it, manifest and receipt, lies beside the target in
`<target>.delivery/`. So `.incoming` and names that end with `.delivery` are not for targets.
"""

import re
from collections.abc import Callable, Mapping
from typing import Literal, Protocol

from msgspec import Struct

from requisition.schemas.diagnostic import BadInput
from requisition.services.delivery.manifest import Manifest

Kind = Literal[
    "auth",
    "conflict",
    "disk_full_local",
    "disk_full_remote",
    "hash_mismatch",
    "host_key",
    "local_changed",
    "local_permission",
    "local_vanished",
    "missing_program",
    "network",
    "quota",
    "remote_permission",
    "timeout",
    "unknown",
    "usage",
]
INCOMING = ".incoming"
BESIDE = ".delivery"
TWICE = "said twice"
"""In the place of a digest, where a far end named a file more than once."""
_JOB = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,63}\Z")


class TransportFailure(Exception):
    """Why data did not move or could not be looked at. `failures.policy` says what to do about a kind; the message is
    for people and holds no secret."""

    def __init__(self, kind: Kind, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind: Kind = kind
        self.message = message


class Progress(Struct, frozen=True):
    """How far a push is. `sent` and `total` in bytes, `rate` in bytes a second, `eta` in seconds (None: not known)."""

    sent: int
    total: int
    rate: float = 0
    eta: float | None = None


class Found(Struct, frozen=True):
    """What lies at a place of the far end: SHA-256 (hex) of files, targets of links, folders; all by relative path.

    `folders` is None where the far end knows no empty folders (buckets). `strategy`: how the digests were had:
    `read` (the disk is ours), `ssh` (sha256sum over there), `backend` (rclone asked the remote), `stream` (read back).
    """

    files: Mapping[bytes, str]
    links: Mapping[bytes, bytes]
    folders: frozenset[bytes] | None
    strategy: str


class Transport(Protocol):
    """One destination. All methods raise TransportFailure; being cancelled, each leaves no process behind, within a
    second. Whatever is done twice is as if it was done once."""

    async def probe(self) -> None:
        """Return when the destination can be reached and written to now."""

    async def stage(
        self, source: str, manifest: Manifest, job: str, limit: int | None, on_progress: Callable[[Progress], None]
    ) -> None:
        """Push what the manifest names into `incoming(job)`, going on where an earlier push ended. `limit` is in bytes
        a second, None for none. For another limit, cancel and stage again; to pause, cancel."""

    async def digests(self, place: str, manifest: Manifest) -> Found:
        """What really lies at a place: `incoming(job)` or a target. Everything is looked at, not only what the manifest
        names; a place that is not there is one where nothing lies."""

    async def publish(self, job: str, target: str, manifest: Manifest) -> None:
        """Rename what was staged to its target, durably. A target that is already there and the same is good (an
        earlier publish was cut off); one that is different raises kind `conflict` and stays as it is."""

    async def put(self, target: str, name: str, content: bytes) -> None:
        """Write a small file about a target into `<target>.delivery/`, all of it or nothing, over an older one."""

    async def discard(self, job: str) -> None:
        """Delete what was staged of a job, so that the next push begins anew."""


def incoming(job: str) -> str:
    """The place, relative to the destination, of a job's data until it is published. Raises BadInput for an id that is
    not made of letters, digits, `-` and `_`."""
    if not _JOB.match(job):
        raise BadInput.of(f"{job!r} is no id of a job", why="letters, digits, - and _, at most 64")
    return f"{INCOMING}/{job}/data"


def checked_target(target: str) -> str:
    """The target, when it is a relative path below the destination that is its own normal form. Raises BadInput."""
    parts = target.split("/")
    if not target or "\0" in target or any(part in ("", ".", "..") for part in parts):
        raise BadInput.of(
            f"{target!r} is no target", why="a relative path without empty, . or .. parts", next="write it like a/b/c"
        )
    if parts[0] == INCOMING or any(part.endswith(BESIDE) for part in parts):
        raise BadInput.of(
            f"{target!r} is no target", why=f"{INCOMING} and names that end with {BESIDE} are used by delivery itself"
        )
    return target
