"""The frame protocol: what passes between `plan` and `plan-runtime` over stdio.

A frame is a 4-byte big-endian length and that many bytes of MessagePack. One request goes in; any
number of events come out, then one result, then the process ends. Secret values travel only here,
never as arguments or environment.

A visitor (someone at the far end of ssh, or the unprivileged half of a run) names no file here: its request
says how many bytes of a bundle follow, and the connection stays open for a `Stop`; its end means that the
visitor is gone. Documents that it may keep come back before the result.

Version 2. A peer that sees an unknown version, type or field refuses the frame.
"""

import select
from typing import Any, BinaryIO, Literal

import msgspec
from msgspec import Struct, field

from requisition.schemas.diagnostic import Diagnostic
from requisition.schemas.document import ConflictPolicy

FRAME_VERSION = 2
MAX_FRAME = 1 << 28
MAX_BUNDLE = 1 << 33

Verb = Literal["apply", "dry-run", "resume", "rollback", "status", "runs", "receipt"]
OnDisconnect = Literal["keep", "finish", "rollback"]
ExitStatus = Literal["done", "changes", "failed", "bad_input", "refused", "conflict", "interrupted"]
EXIT_CODES: dict[ExitStatus, int] = {
    "done": 0,
    "changes": 2,
    "failed": 1,
    "refused": 3,
    "bad_input": 4,
    "conflict": 5,
    "interrupted": 6,
}


class FrameError(Exception):
    """The peer sent something that is not a frame of this protocol."""


def readable(stream: BinaryIO, wait_ms: int = 0) -> bool:
    """Whether the peer has something to say, or is gone. Not select(2), which knows no descriptor beyond 1023."""
    waiting = select.poll()
    waiting.register(stream, select.POLLIN | select.POLLHUP)
    return bool(waiting.poll(wait_ms))


class Visit(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A request from outside of this machine or account. `bundle` bytes of a `.plan` file follow it.

    `on_disconnect`, when the visitor is gone before the end: `keep` leaves the run as a journal, to be
    resumed or rolled back; `finish` goes on; `rollback` takes it back.
    """

    bundle: int = 0
    on_disconnect: OnDisconnect = "keep"


class Request(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What the runtime is asked to do.

    `order_path` is an order or receipt file (apply, dry-run). `run_id` names the run to resume or roll
    back (empty: the only interrupted one / the newest). `source_root` is where inputs lie; empty: the
    hint in the order file, then the folder of the file. `only` restricts to these node ids (and what
    they need). `members`: a rollback of these packages of a tree only. `trust_path` empty: `<state>/trust.yaml`
    when present, else unsigned orders are refused unless `allow_unsigned`. `elevate`: how nodes that need root get
    it. `packages` and `runs`: a status of what these left only. The verb `runs` lists runs; `receipt` sends the receipt
    of one.
    """

    version: int = field(default_factory=lambda: FRAME_VERSION)  # so that it is always sent
    verb: Verb
    state_dir: str
    order_path: str = ""
    run_id: str = ""
    source_root: str = ""
    target_root: str = ""
    trust_path: str = ""
    allow_unsigned: bool = False
    allow_downgrade: bool = False
    on_conflict: ConflictPolicy = "stop"
    keep_failed: bool = False
    diff: bool = False
    jobs: int = 4
    only: tuple[str, ...] | None = None
    secrets: dict[str, str] = {}
    after_power_loss: bool = False
    force: bool = False
    elevate: Literal["", "sudo"] = ""
    visit: Visit | None = None
    members: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    runs: frozenset[str] | None = None


class Stop(Struct, frozen=True, tag_field="type", tag="stop"):
    """The visitor asks to stop: as SIGINT would."""


class Event(Struct, frozen=True, omit_defaults=True, tag_field="type", tag="event", kw_only=True):
    """Something that happened. `kind` is one of KINDS; `at` microseconds since the request.

    `data` is stable and documented by `plan schema event`; `text` is one line for people. Neither ever
    holds a secret.
    """

    kind: str
    at: int = 0
    phase: str = ""
    node: str = ""
    scope: tuple[int, ...] = ()
    location: str = ""
    status: str = ""
    text: str = ""
    data: dict[str, Any] = {}


KINDS = (
    "verified",  # the order was admitted; data: checksum, signatures[]
    "plan",  # preflight is done; data: nodes, changes, unchanged, unknown, inputs, bytes, members
    "conflict",  # data: path, found, policy, owner
    "preview",  # one node's prospect; status: change|unchanged|unknown; data: paths[], diff
    "phase",  # status: started|done|failed|retrying|rolled_back|skipped
    "node",  # status as in the receipt; data: paths[], attempt
    "progress",  # many nodes at once; data: done, total
    "log",  # a line from an action
    "drift",  # plan status: status: ok|changed|missing|extra; data: path, diff
    "rollback",  # one step of the unwind; status: done|failed|not_compensable
    "warning",
)


class Result(Struct, frozen=True, omit_defaults=True, tag_field="type", tag="result", kw_only=True):
    """The last frame. `status` decides the exit code (EXIT_CODES)."""

    status: ExitStatus
    run_id: str = ""
    receipt: str = ""
    outcome: str = ""
    summary: dict[str, int] = {}
    diagnostics: tuple[Diagnostic, ...] = ()
    data: dict[str, Any] = {}


class Document(Struct, frozen=True, tag_field="type", tag="document", kw_only=True):
    """A receipt for a visitor to keep: the `.plan` file, byte for byte."""

    kind: Literal["receipt", "rollback"]
    run_id: str
    content: bytes


_encoder = msgspec.msgpack.Encoder()
_reply = msgspec.msgpack.Decoder(Event | Document | Result)
_request = msgspec.msgpack.Decoder(Request)


class _Stated(Struct):
    version: int = 1  # which left it out


_stated = msgspec.msgpack.Decoder(_Stated)


def write_frame(stream: BinaryIO, message: Struct) -> None:
    """Send one frame; the caller flushes."""
    body = _encoder.encode(message)
    stream.write(len(body).to_bytes(4, "big") + body)


def read_frame(stream: BinaryIO) -> bytes | None:
    """The body of the next frame, None at a clean end. Raises FrameError on a torn or oversized one."""
    head = stream.read(4)
    if not head:
        return None
    length = int.from_bytes(head, "big")
    if len(head) < 4 or length > MAX_FRAME:
        raise FrameError(f"frame of {length} bytes (limit {MAX_FRAME})" if len(head) == 4 else "torn frame")
    body = stream.read(length)
    if len(body) < length:
        raise FrameError(f"frame ends after {len(body)} of {length} bytes")
    return body


def read_request(stream: BinaryIO) -> Request:
    """The request. Raises FrameError when there is none or it is not one."""
    body = read_frame(stream)
    if body is None:
        raise FrameError("no request")
    try:
        version = _stated.decode(body).version
        if version != FRAME_VERSION:  # before the fields: another version has others
            raise FrameError(f"protocol version {version}; this runtime speaks {FRAME_VERSION}")
        return _request.decode(body)
    except (ValueError, RecursionError) as error:
        raise FrameError(f"not a request: {error}") from error


def read_reply(stream: BinaryIO) -> Event | Document | Result | None:
    """The next event or the result; None when the runtime ended without one."""
    body = read_frame(stream)
    if body is None:
        return None
    try:
        reply: Event | Document | Result = _reply.decode(body)
        return reply
    except (ValueError, RecursionError) as error:
        raise FrameError(f"not a reply: {error}") from error
