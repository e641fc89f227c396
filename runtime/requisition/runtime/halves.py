"""What passes between the two halves of an elevated run: frames of MessagePack, one question, one answer.

The privileged half believes nothing of it: see docs/decisions/elevation.md.
"""

from collections.abc import Iterator
from typing import Any, BinaryIO, Literal

import msgspec
from msgspec import Struct, field

from requisition.runtime.frames import FRAME_VERSION, FrameError, read_frame
from requisition.schemas.diagnostic import Diagnostic
from requisition.schemas.document import ConflictPolicy
from requisition.schemas.receipt import Outcome, RunState

BY_THE_OTHER = "done by the other half of the run"
"""Why the privileged half's receipt skips a node that is not marked as elevated."""

MARKS = ("$ref", "$item", "$secret")
Opens = Literal["look", "run", "resume", "rollback"]


class Opening(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The first frame; `bundle` bytes of a `.plan` file follow. `run_id` is the main run's, `checksum` its
    order's."""

    version: int = field(default_factory=lambda: FRAME_VERSION)
    verb: Opens
    run_id: str
    checksum: str
    target_root: str
    bundle: int = 0
    on_conflict: ConflictPolicy = "stop"
    force: bool = False
    after_power_loss: bool = False
    secrets: dict[str, str] = {}


class Look(Struct, frozen=True, forbid_unknown_fields=True, tag="look"):
    """What would node number `node` do? `given` are the values for the marks in its slots, in their order."""

    node: int
    given: tuple[Any, ...] = ()
    preflight: bool = False


class Join(Struct, frozen=True, forbid_unknown_fields=True, tag="join"):
    """These looks are to be done together: answered with one ticket for all of them."""

    tickets: tuple[int, ...]


class Do(Struct, frozen=True, forbid_unknown_fields=True, tag="do"):
    """Do what a look was for."""

    ticket: int


class Undo(Struct, frozen=True, forbid_unknown_fields=True, tag="undo"):
    """Take back what node number `node` did for a ticket, if it did."""

    ticket: int
    node: int


class Close(Struct, frozen=True, forbid_unknown_fields=True, tag="close"):
    """The run is over."""

    state: RunState
    outcome: Outcome
    message: str = ""


class Halt(Struct, frozen=True, forbid_unknown_fields=True, tag="halt"):
    """Stop what is being done; not answered."""


Question = Look | Join | Do | Undo | Close | Halt


class Ready(Struct, frozen=True, tag="ready"):
    """The order was verified and may run."""

    run_id: str


class Found(Struct, frozen=True, tag="found"):
    """To a look, or a Join. `ticket` is −1 when all is as wanted; `looks`: the node changes nothing, so there will
    be nothing to take back; `outputs` where they are known and someone uses them."""

    ticket: int = -1
    reason: str = ""
    looks: bool = False
    outputs: dict[str, Any] | None = None


class Made(Struct, frozen=True, tag="made"):
    """To a Do: for each node of the ticket its outputs, where someone uses them."""

    outputs: tuple[dict[str, Any] | None, ...]


class Taken(Struct, frozen=True, tag="taken"):
    """To an Undo."""

    status: Literal["done", "failed", "not_compensable"]
    message: str = ""


class Closed(Struct, frozen=True, tag="closed"):
    """To a Close; empty when the half did nothing."""

    run_id: str = ""
    receipt: str = ""


class Unable(Struct, frozen=True, tag="unable"):
    """The node cannot be done. `later`: it can only be known when the order is applied; `closed`: it is a gate
    that lets nothing through."""

    message: str
    hint: str = ""
    kind: Literal["error", "later", "cancelled", "closed"] = "error"


class Denied(Struct, frozen=True, tag="denied"):
    """The half will not go on; it ends. `kind` names the Failure."""

    kind: Literal["refused", "bad_input", "conflict", "interrupted", "failed"]
    diagnostics: tuple[Diagnostic, ...]


class Said(Struct, frozen=True, tag="said"):
    """A line from an action, before the answer."""

    text: str


Answer = Ready | Found | Made | Taken | Closed | Unable | Denied | Said

_question = msgspec.msgpack.Decoder(Question)
_answer = msgspec.msgpack.Decoder(Answer)
_opening = msgspec.msgpack.Decoder(Opening)


def read_opening(stream: BinaryIO) -> Opening:
    """The first frame. Raises FrameError."""
    body = read_frame(stream)
    try:
        opening = _opening.decode(body or b"")
    except (ValueError, RecursionError) as error:
        raise FrameError(f"not an opening: {error}") from error
    if opening.version != FRAME_VERSION:
        raise FrameError(f"protocol version {opening.version}; this runtime speaks {FRAME_VERSION}")
    return opening


def read_question(stream: BinaryIO) -> Question | None:
    """The next question; None when the other half is gone. Raises FrameError."""
    found: Question | None = _decoded(stream, _question)
    return found


def read_answer(stream: BinaryIO) -> Answer | None:
    """The next answer; None when the other half is gone. Raises FrameError."""
    found: Answer | None = _decoded(stream, _answer)
    return found


def _decoded(stream: BinaryIO, decoder: Any) -> Any:
    body = read_frame(stream)
    if body is None:
        return None
    try:
        return decoder.decode(body)
    except (ValueError, RecursionError) as error:
        raise FrameError(f"not of this protocol: {error}") from error


def marks(value: Any) -> Iterator[dict[str, Any]]:
    """Every mark in a slot value, in the order of the document."""
    if isinstance(value, dict):
        if any(mark in value for mark in MARKS):
            yield value
            return
        value = value.values()
    elif not isinstance(value, list):
        return
    for inner in value:
        yield from marks(inner)


def given(slots: Any, typed: Any) -> Iterator[Any]:
    """The values that stand where `slots` has marks, in the order of `marks`."""
    if isinstance(slots, dict):
        if any(mark in slots for mark in MARKS):
            yield typed
            return
        for name, value in slots.items():
            yield from given(value, typed[name])
    elif isinstance(slots, list):
        for value, inner in zip(slots, typed, strict=True):
            yield from given(value, inner)


def filled(slots: Any, values: Iterator[Any]) -> Any:
    """The slots with the next value in the place of each mark. Raises StopIteration where one is missing."""
    if isinstance(slots, dict):
        if any(mark in slots for mark in MARKS):
            return next(values)
        return {name: filled(value, values) for name, value in slots.items()}
    if isinstance(slots, list):
        return [filled(value, values) for value in slots]
    return slots
