"""What a build is asked, and what it gives."""

import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from requisition.schemas.diagnostic import BadInput, Diagnostic
from requisition.schemas.document import Order, Platform

ARCHITECTURES = ("amd64", "arm64", "386", "arm", "riscv64")
_PART = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}\Z")


class Limits(Struct, frozen=True):
    """Bounds of an evaluation: what a package may cost before it is refused."""

    cpu_seconds: int = 10
    wall_seconds: float = 60.0
    memory_bytes: int = 2 << 30
    order_bytes: int = 256 << 20
    call_depth: int = 200
    nodes: int = 500_000
    script_bytes: int = 8 << 20


class BuildRequest(Struct, frozen=True, kw_only=True):
    """One build. `source` is a package folder or a lone .star file; `settings` are `key=value` texts.
    `target_root` None leaves the choice to the package; empty leaves the order unbound. `checkout` is the absolute
    folder in which the package will lie on the target, empty for what its manifest says; whoever applies where it
    builds gives the source. `teardown` builds the order that takes the package away, from its own teardown."""

    source: str
    target: Platform
    features: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    settings: Mapping[str, str] = {}
    segments: tuple[str, ...] = ()
    target_root: str | None = None
    serial: int | None = None
    expires: str = ""
    hosts: tuple[str, ...] = ()
    checkout: str = ""
    teardown: bool = False
    limits: Limits = Limits()


class BuildResult(Struct, frozen=True):
    """The order, what a person should know, and where the content of each input lies, by digest."""

    order: Order
    warnings: tuple[Diagnostic, ...]
    contents: Mapping[str, str]


class PackageFacts(Struct, frozen=True):
    """What scripts may know of their package and target."""

    name: str
    version: str
    target_root: str
    features: tuple[str, ...]
    settings: dict[str, Any]
    platform: Platform


def parse_target(text: str) -> Platform:
    """`linux/debian/amd64`, `linux/amd64`, `darwin` … as a platform. Raises BadInput."""
    parts = text.lower().split("/")
    if len(parts) > 3 or not all(_PART.match(part) for part in parts):
        raise BadInput.of(f"{text!r} is not a platform", next="write it as linux/debian/amd64, linux/amd64 or darwin")
    if len(parts) == 2 and parts[1] in ARCHITECTURES:
        return Platform(parts[0], "", parts[1])
    return Platform(*parts)
