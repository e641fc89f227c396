"""What an evaluation records: calls in the order they were made, phases, and what was said.

Numbers of calls are positions in the order in which they were made; -1 is nobody.
"""

from typing import Any

import msgspec
from msgspec import Struct

from requisition.schemas.document import PhaseKind


class Call(Struct, array_like=True):
    """One `plan.*` call, as the prelude writes it. An action's slots stand in the order of its catalogue entry;
    those of flow nodes, and of calls that layers make, have names. `phase` indexes `Recording.phases`."""

    action: str
    slots: list[Any] | dict[str, Any]
    after: Any
    retry: Any
    on_conflict: Any
    id: Any
    note: Any
    location: str
    phase: int = -1
    elevate: bool = False
    bodies: tuple["Body", ...] = ()


class Body(Struct, array_like=True, frozen=True):
    """A body of a flow node: `body`, `case` or `default`, its predicate, and the phase it became."""

    owner: int
    kind: str
    predicate: Any
    phase: int


class Span(Struct, array_like=True, frozen=True):
    """From this call on, calls belong to this phase, elevated or not."""

    first: int
    phase: int
    elevate: bool


class PhaseRecord(Struct, array_like=True):
    """One phase or body: `owner` is the call that runs it, or -1."""

    name: str
    kind: PhaseKind
    owner: int = -1
    retry: dict[str, Any] | None = None
    retry_location: str = ""
    compensate: int = -1


class Nested(Struct, array_like=True):
    """A `plan.deploy`: a package inside of this one, to be done before the phase that asked for it."""

    path: str
    phase: int
    options: dict[str, Any]
    location: str


class LayersCall(Struct, array_like=True):
    """A `plan.projects`: stands at a position among the calls."""

    position: int
    phase: int
    options: dict[str, Any]
    location: str


class Said(Struct, array_like=True):
    """A `note`, `warn`, `error` or `success`."""

    kind: str
    text: str
    location: str


class Recording(Struct):
    """Everything."""

    calls: list[Call] = []
    spans: list[Span] = []
    bodies: list[Body] = []
    phases: list[PhaseRecord] = []
    nested: list[Nested] = []
    layers: list[LayersCall] = []
    pinned: list[tuple[str, str]] = []
    secrets: list[tuple[str, str]] = []
    said: list[Said] = []

    def below(self, folder: str) -> None:
        """Locations of a nested package, as the package around it names its files: `inner/install.star:2`."""
        if not folder:
            return
        placed: list[Call | Nested | LayersCall | Said] = [*self.calls, *self.nested, *self.layers, *self.said]
        for one in placed:
            one.location = folder + one.location
        for phase in self.phases:
            phase.retry_location = folder + phase.retry_location
        self.pinned = [(path, folder + where) for path, where in self.pinned]
        self.secrets = [(name, folder + where) for name, where in self.secrets]


def read_recording(data: bytes) -> Recording:
    """The recording that a recorder wrote, each call told its phase and bodies. Raises RecursionError."""
    found = msgspec.json.decode(data, type=Recording)
    ends = [span.first for span in found.spans[1:]] + [len(found.calls)]
    for span, end in zip(found.spans, ends, strict=False):
        for call in found.calls[span.first : end]:
            call.phase = span.phase
            call.elevate = span.elevate
    for body in found.bodies:
        call = found.calls[body.owner]
        call.bodies = (*call.bodies, body)
    return found
