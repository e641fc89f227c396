"""What happened to a tree of packages: the kinds of events, and each as one line of JSON.

A line is an object with `kind`, `version`, `at` (RFC 3339, UTC) and what the kind says; it ends with a newline and
holds none. Paths are those of packages, relative to the root's folder; the root's own is empty. A version is raised
when an old reader could misread a new line; such a line is kept as it is, as `Later`.
"""

from typing import Literal

import msgspec
from msgspec import Struct, field

from requisition.schemas.diagnostic import BadInput

VERSION = 1
MAX_LINE = 64 << 10
"""Bytes of a line, its newline among them."""
MAX_TEXT = 2048
"""Bytes of UTF-8 to which texts are clipped: what a tool printed may be of any length."""


class _Event(Struct, frozen=True, kw_only=True, tag_field="kind"):
    """`at` is given by the log that the event is appended to."""

    version: Literal[1] = 1
    at: str = ""


class Sync(_Event, frozen=True, kw_only=True, tag="sync"):
    """A sync begins, or ended: the checksum of its order, how many packages it is about, how it ended."""

    step: Literal["begin", "end"]
    order: str = ""
    packages: int = 0
    outcome: Literal["", "done", "failed", "cut off"] = ""


class Started(_Event, frozen=True, kw_only=True, tag="started"):
    """A package is about to be installed: the commit that is checked out, the hash of its content."""

    path: str
    commit: str = ""
    hash: str = ""


class Completed(_Event, frozen=True, kw_only=True, tag="completed"):
    """A package was installed."""

    path: str
    commit: str = ""
    hash: str = ""


class Halted(_Event, frozen=True, kw_only=True, tag="halted"):
    """A package was not: at which action, why, and what to do."""

    path: str
    commit: str = ""
    hash: str = ""
    action: str = ""
    why: str = ""
    next: str = ""


class Added(_Event, frozen=True, kw_only=True, tag="add"):
    """A package became part of the tree."""

    path: str
    url: str = ""
    ref: str = ""


class Removed(_Event, frozen=True, kw_only=True, tag="rm"):
    """A package is no longer part of the tree."""

    path: str


class Updated(_Event, frozen=True, kw_only=True, tag="update"):
    """A pin was moved from one commit to another."""

    path: str
    was: str = field(name="from", default="")
    to: str = ""


class Later(Struct, frozen=True):
    """A line by a newer version of requisition, byte for byte, without its newline."""

    line: bytes


Known = Sync | Started | Completed | Halted | Added | Removed | Updated
Event = Known | Later


class _Head(Struct):
    kind: str
    version: int


_known = msgspec.json.Decoder(Known)
_head = msgspec.json.Decoder(_Head)
_encoder = msgspec.json.Encoder()


def to_line(event: Event) -> bytes:
    """The event with its newline; texts are clipped. Raises BadInput when something else in it is too long, or when
    a path is not UTF-8."""
    if isinstance(event, Later):
        return event.line + b"\n"
    if isinstance(event, Halted):
        event = msgspec.structs.replace(event, action=clip(event.action), why=clip(event.why), next=clip(event.next))
    try:
        line = _encoder.encode(event) + b"\n"
    except UnicodeEncodeError as error:
        raise BadInput.of("an event cannot be told: its path is not UTF-8", why=str(error)) from error
    if len(line) > MAX_LINE:
        raise BadInput.of(f"an event is longer than {MAX_LINE} bytes", why=f"it begins {line[:80]!r}")
    return line


def from_line(line: bytes) -> Event:
    """The event of a line without its newline. Raises ValueError, with what is wrong with it."""
    try:
        event: Known = _known.decode(line)
    except (ValueError, RecursionError) as error:
        try:
            head = _head.decode(line)
        except (ValueError, RecursionError):
            raise ValueError(str(error)) from error
        if head.version <= VERSION:
            raise ValueError(str(error)) from error
        return Later(line)
    return event


def clip(text: str, limit: int = MAX_TEXT) -> str:
    """The text in at most `limit` bytes of UTF-8, cut between characters and then ended by `…`. What no UTF-8 can
    hold (half of a surrogate pair, as in names that are not text) becomes `?`."""
    data = text.encode("utf-8", "replace")
    if len(data) <= limit:
        return data.decode()
    return data[: limit - 3].decode("utf-8", "ignore") + "…"
