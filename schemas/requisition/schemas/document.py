"""The graph document: what an order says and what a receipt records.

Both are immutable records. Fields at their default are left out of the encoded form, unknown fields
are refused, and a decoded document must encode to the bytes that were signed (`canonical`), so that
there is exactly one encoding of each document.

Slots of a node hold plain JSON values, or one of these single-purpose objects (`slots` module):

    {"$ref": NODE, "output": NAME}      a promise: an output of another node
    {"$item": GATHER, "field": NAME}    a proxy: (a field of) the item of the gather in progress
    {"$secret": NAME}                   a value that the person who applies the order provides
"""

from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import force_setattr

ORDER_VERSION = 1
"""Raised when an older runtime could misread a newer document; it then refuses it by number."""

# msgspec leaves out a field that is its default by identity, which two numbers beyond 256 need not share though
# they are equal. Records with such a default take it over, so that it is left out however it came to be.
_SECOND, _MINUTE, _PLAIN_MODE = 1000, 60_000, 0o644

PhaseKind = Literal["forward", "body", "compensation"]
Backoff = Literal["none", "linear", "exponential"]
ConflictPolicy = Literal["stop", "backup", "overwrite", "skip"]
CONFLICT_POLICIES: tuple[ConflictPolicy, ...] = ("stop", "backup", "overwrite", "skip")


class Platform(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The machine that the order is for, e.g. linux/debian/amd64; empty fields match any."""

    os: str
    distro: str = ""
    arch: str = ""


class Retry(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How often and after which pauses a phase or node is tried; delays in milliseconds."""

    max_attempts: int
    backoff: Backoff = "none"
    initial_delay_ms: int = _SECOND
    max_delay_ms: int = _MINUTE

    def __post_init__(self) -> None:
        if self.initial_delay_ms == _SECOND:
            force_setattr(self, "initial_delay_ms", _SECOND)
        if self.max_delay_ms == _MINUTE:
            force_setattr(self, "max_delay_ms", _MINUTE)


class Context(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the build was told.

    `target_root` binds the order: an absolute path, `~` (the home of whoever applies), or empty (the
    applier must name one). `hosts` binds it to host names; empty means any.
    """

    package: str
    package_version: str = ""
    scope: Literal["home", "system"] = "system"
    target_root: str = "/"
    features: tuple[str, ...] = ()
    settings: dict[str, Any] = {}
    segments: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    projects: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()


class Input(Struct, frozen=True, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    """A file that the run will read: path relative to the package, digest in hex, size in bytes."""

    path: str
    sha256: str
    size: int
    mode: int = _PLAIN_MODE

    def __post_init__(self) -> None:
        if self.mode == _PLAIN_MODE:
            force_setattr(self, "mode", _PLAIN_MODE)


class Phase(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A step of the life cycle and error boundary; or the body of a flow node, run on demand.

    `id` is `<package>/<phase>` and, for bodies, `<package>/<phase>/<flow node's name>`.
    `compensate` names a phase of kind `compensation`, run when a completed phase is unwound.
    `member` is the path of the package in a tree that it belongs to.
    """

    id: str
    name: str
    kind: PhaseKind = "forward"
    retry: Retry | None = None
    compensate: str = ""
    member: str = ""


class Node(Struct, frozen=True, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    """One unit of work. `needs` lists every node that must be done first, promises included.

    `location` is `file:line` of the call in the package, for every message about this node.
    """

    id: str
    action: str
    phase: str
    slots: dict[str, Any] = {}
    needs: tuple[str, ...] = ()
    location: str = ""
    retry: Retry | None = None
    on_conflict: ConflictPolicy | None = None
    elevate: bool = False
    project: str = ""
    layer: str = ""
    annotations: dict[str, str] = {}


class Source(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One side of a collision: file, its layer, and how specific its platform suffix is."""

    path: str
    layer: str = ""
    specificity: int = 0


class Collision(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Two files that wanted one target, and which one got it."""

    target: str
    winner: Source
    loser: Source


class Secret(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A value that the order needs and does not hold; `doc` tells the applier what it is."""

    name: str
    doc: str = ""


class TreeMember(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A package of a tree that the order installs: where it lies below the root, what is checked out there, the
    digest of all that it was built from, and the paths of the members that must be there before it."""

    path: str
    name: str
    digest: str
    url: str = ""
    commit: str = ""
    needs: tuple[str, ...] = ()


class Order(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A purchase order: a graph before its run. Phases run in the order they are listed; those of `members` that
    do not need each other run side by side, and one that fails takes down only those that need it.

    `name` is the basename that goes into the checksum, so that a renamed file still verifies.
    `serial` only grows for a package; `expires` is RFC 3339 UTC; `min_runtime` a tool version.
    """

    version: int
    name: str
    tool: str
    platform: Platform
    context: Context
    phases: tuple[Phase, ...] = ()
    nodes: tuple[Node, ...] = ()
    inputs: tuple[Input, ...] = ()
    collisions: tuple[Collision, ...] = ()
    secrets: tuple[Secret, ...] = ()
    serial: int = 0
    expires: str = ""
    min_runtime: str = ""
    members: tuple[TreeMember, ...] = ()
