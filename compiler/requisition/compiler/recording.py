"""What an evaluation records: calls in the order they were made, phases, and what was said.

The recorder lives in the evaluation child, behind the callables of the prelude; the records travel to the
parent, which links them. Numbers of calls are positions; -1 is nobody.
"""

import re
from typing import Any

import msgspec
from msgspec import Struct

_FRAME = re.compile(r"^  \* (.+?):(\d+), in ", re.MULTILINE)
_PROMISE_TEXT = re.compile(r"struct\(_(ref|item|secret)=")


class Call(Struct, array_like=True):
    """One `plan.*` call. `phase` indexes `Recording.phases`."""

    action: str
    slots: dict[str, Any]
    phase: int
    location: str
    extra: dict[str, Any] | None = None
    elevate: bool = False
    bodies: list[tuple[str, str, int]] = []


class PhaseRecord(Struct, array_like=True):
    """One phase or body: `owner` is the call that runs it, or -1."""

    name: str
    kind: str
    owner: int = -1
    retry: dict[str, Any] | None = None
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
    phases: list[PhaseRecord] = []
    nested: list[Nested] = []
    layers: list[LayersCall] = []
    pinned: list[tuple[str, str]] = []
    secrets: list[tuple[str, str]] = []
    said: list[Said] = []


class ScriptProblem(Exception):
    """A call that cannot be recorded: told to the author with the call's own place."""


class Recorder:
    """Receives the prelude's callbacks; every text argument is JSON or a call stack."""

    def __init__(self, limit: int) -> None:
        self.recording = Recording()
        self._limit = limit
        self._open: list[int] = []
        self._elevated = 0
        self._decode = msgspec.json.Decoder().decode

    def start_phase(self, name: str) -> None:
        """Calls now belong to this forward phase."""
        self.recording.phases.append(PhaseRecord(name, "forward"))
        self._open = [len(self.recording.phases) - 1]

    def end_phase(self) -> None:
        """Calls belong nowhere until the next phase."""
        self._open = []

    # callbacks -----------------------------------------------------------------------------------

    def _emit(self, text: str) -> int:
        action, slots, extra, stack = self._decode(text)
        self._check_text(text)
        return self._record(action, slots, extra, stack)

    def _record(self, action: str, slots: dict[str, Any], extra: dict[str, Any] | None, stack: str) -> int:
        calls = self.recording.calls
        if not self._open:
            raise ScriptProblem("plan calls belong into a phase function: def install(package, phase)")
        if len(calls) >= self._limit:
            raise ScriptProblem(f"more than {self._limit} nodes")
        calls.append(Call(action, slots, self._open[-1], location(stack), extra, self._elevated > 0))
        return len(calls) - 1

    @staticmethod
    def _check_text(text: str) -> None:
        if "struct(_" in text and _PROMISE_TEXT.search(text):
            raise ScriptProblem(
                "a promise was put into text: its value is only known when the order runs. "
                "Give the promise itself, or let plan.template.render make the text"
            )

    def _begin(self, action: str, stack: str) -> int:
        return self._record(action, {}, None, stack)

    def _open_body(self, owner: int, kind: str, predicate: str) -> None:
        if not self._open:
            raise ScriptProblem("plan calls belong into a phase function: def install(package, phase)")
        phases = self.recording.phases
        phases.append(PhaseRecord(kind, "compensation" if owner < 0 else "body", owner))
        number = len(phases) - 1
        if owner < 0:
            phases[self._open[-1]].compensate = number
        else:
            call = self.recording.calls[owner]
            call.bodies = [*call.bodies, (kind, predicate, number)]
        self._open.append(number)

    def _close(self) -> None:
        self._open.pop()

    def _end(self, number: int, text: str) -> None:
        self._check_text(text)
        call = self.recording.calls[number]
        call.slots, call.extra = self._decode(text)

    def _elevated_changes(self, on: bool) -> None:
        self._elevated += 1 if on else -1

    def _pin(self, path: str, stack: str) -> None:
        self.recording.pinned.append((path, location(stack)))

    def _use_secret(self, name: str, stack: str) -> None:
        self.recording.secrets.append((name, location(stack)))

    def _nest(self, path: str, options: str, stack: str) -> None:
        if len(self._open) != 1:
            raise ScriptProblem("plan.deploy stands in a phase function, not in a body")
        self.recording.nested.append(Nested(path, self._open[0], self._decode(options), location(stack)))

    def _layers(self, options: str, stack: str) -> None:
        if len(self._open) != 1:
            raise ScriptProblem("plan.projects stands in a phase function, not in a body")
        place = len(self.recording.calls)
        self.recording.layers.append(LayersCall(place, self._open[0], self._decode(options), location(stack)))

    def _say(self, kind: str, text: str, stack: str) -> None:
        self.recording.said.append(Said(kind, text, location(stack)))

    def _phase_retry(self, policy: str, _stack: str) -> None:
        self.recording.phases[self._open[-1]].retry = self._decode(policy)

    def callables(self) -> dict[str, Any]:
        """Callback by its name in the prelude."""
        return {
            "_emit": self._emit,
            "_begin": self._begin,
            "_open": self._open_body,
            "_close": self._close,
            "_end": self._end,
            "_elevated": self._elevated_changes,
            "_pin": self._pin,
            "_use_secret": self._use_secret,
            "_nest": self._nest,
            "_layers": self._layers,
            "_say": self._say,
            "_phase_retry": self._phase_retry,
        }


def location(stack: str) -> str:
    """`file:line` of the innermost frame that is the author's own."""
    end = len(stack)
    while (at := stack.rfind("\n  * ", 0, end)) >= 0:
        end = at
        if stack[at + 5] != "@":
            line_end = stack.find(", in ", at)
            return stack[at + 5 : line_end]
    return ""
