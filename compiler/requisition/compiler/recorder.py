"""The recorder: behind the callables of the prelude, in the evaluation child.

A call arrives as one JSON text and stays text until the parent decodes the whole recording at once: a callable
costs microseconds, and a large package makes a hundred thousand calls.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from requisition.compiler.recording import Body, LayersCall, Nested, PhaseRecord, Recording, Said, Span

_PROMISE_TEXT = re.compile(r"struct\(_(ref|item|secret)=")
_STACK_END = '\\n"]'
_OUTSIDE = "plan calls belong into a phase function: def install(package, phase)"


class ScriptProblem(Exception):
    """A call that cannot be recorded: told to the author with the call's own place."""


class Recorder:
    """Receives the prelude's callbacks."""

    def __init__(self) -> None:
        self._max_calls = self._room = self._max_bytes = 0
        self._texts: list[str] = []
        self._rest = Recording()
        self._open: list[int] = []
        self._elevated = 0

    def bound(self, max_calls: int, max_bytes: int) -> None:
        """Take so many calls, and so much text; without this, none."""
        self._max_calls = max_calls
        self._room = self._max_bytes = max_bytes

    def start_phase(self, name: str) -> None:
        """Calls now belong to this forward phase."""
        self._rest.phases.append(PhaseRecord(name, "forward"))
        self._open = [len(self._rest.phases) - 1]
        self._elevated = 0
        self._turn()

    def end_phase(self) -> None:
        """Calls belong nowhere until the next phase."""
        self._open = []

    @contextmanager
    def outside(self) -> Iterator[None]:
        """Calls at the top of a file belong to no phase: which one would depend on who loads it first."""
        kept, self._open = self._open, []
        try:
            yield
        finally:
            self._open = kept

    def written(self) -> bytes:
        """The recording as JSON, for `read_recording`."""
        rest = msgspec.structs.asdict(self._rest)
        calls = msgspec.Raw(b"[" + ",".join(self._texts).encode() + b"]")
        return msgspec.json.encode({**rest, "calls": calls})

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

    # calls ---------------------------------------------------------------------------------------

    def _emit(self, text: str) -> int:
        if not self._open:
            raise ScriptProblem(_OUTSIDE)
        texts = self._texts
        if len(texts) >= self._max_calls:
            raise ScriptProblem(f"more than {self._max_calls} nodes")
        self._take(text)
        texts.append(_seen_through(text) if text.endswith(_STACK_END) else text)
        return len(texts) - 1

    def _begin(self) -> int:
        """A flow node, whose bodies come before the rest of it is known."""
        return self._emit('["",[],null,null,null,null,null,""]')

    def _end(self, number: int, text: str) -> None:
        self._take(text)
        self._texts[number] = _seen_through(text) if text.endswith(_STACK_END) else text

    def _take(self, text: str) -> None:
        self._room -= len(text)
        if self._room < 0:
            raise ScriptProblem(f"what the scripts ask for is larger than {self._max_bytes} bytes")
        if "struct(_" in text and _PROMISE_TEXT.search(text):
            raise ScriptProblem(
                "a promise was put into text: its value is only known when the order runs. "
                "Give the promise itself, or let plan.template.render make the text"
            )

    # phases and bodies ---------------------------------------------------------------------------

    def _turn(self) -> None:
        self._rest.spans.append(Span(len(self._texts), self._open[-1], self._elevated > 0))

    def _open_body(self, owner: int, kind: str, predicate: Any) -> None:
        phases = self._rest.phases
        number = len(phases)
        if owner >= 0:
            self._rest.bodies.append(Body(owner, kind, predicate, number))
        else:
            outer = phases[self._phase_in_hand("phase.compensate")]
            if outer.compensate >= 0:
                raise ScriptProblem("the phase has a compensation already")
            outer.compensate = number
        phases.append(PhaseRecord(kind, "body" if owner >= 0 else "compensation", owner))
        self._open.append(number)
        self._turn()

    def _close(self) -> None:
        self._open.pop()
        self._turn()

    def _elevated_changes(self, on: bool) -> None:
        self._phase_or_body()
        self._elevated += 1 if on else -1
        self._turn()

    def _phase_retry(self, policy: str, where: str) -> None:
        phase = self._rest.phases[self._phase_in_hand("phase.retry")]
        phase.retry, phase.retry_location = msgspec.json.decode(policy), location(where)

    def _phase_or_body(self) -> int:
        if not self._open:
            raise ScriptProblem(_OUTSIDE)
        return self._open[-1]

    def _phase_in_hand(self, what: str) -> int:
        """The forward phase, for what has no meaning in a body."""
        phase = self._phase_or_body()
        if len(self._open) != 1:
            raise ScriptProblem(f"{what} stands in a phase function, not in a body")
        return phase

    # the rest ------------------------------------------------------------------------------------

    def _pin(self, path: str, where: str) -> None:
        self._phase_or_body()
        self._take(path)
        self._rest.pinned.append((path, location(where)))

    def _use_secret(self, name: str, where: str) -> None:
        self._phase_or_body()
        self._take(name)
        self._rest.secrets.append((name, location(where)))

    def _nest(self, path: str, options: str, where: str) -> None:
        phase = self._phase_in_hand("plan.deploy")
        if any(nested.path == path for nested in self._rest.nested):
            raise ScriptProblem(f"the package {path!r} is deployed twice")
        self._rest.nested.append(Nested(path, phase, msgspec.json.decode(options), location(where)))

    def _layers(self, options: str, where: str) -> None:
        phase = self._phase_in_hand("plan.projects")
        self._take(options)
        place = len(self._texts)
        self._rest.layers.append(LayersCall(place, phase, msgspec.json.decode(options), location(where)))

    def _say(self, kind: str, text: str, where: str) -> None:
        self._take(text)
        self._rest.said.append(Said(kind, text, location(where)))


def _seen_through(text: str) -> str:
    """A call that a library made, and whose location is therefore a whole stack: with the author's own frame."""
    call = msgspec.json.decode(text)
    call[-1] = location(call[-1])
    return msgspec.json.encode(call).decode()


def location(stack: str) -> str:
    """`file:line` of the innermost frame that is the author's own; a text that is no stack is one already."""
    if not stack.startswith("Traceback"):
        return stack
    end = len(stack)
    while (at := stack.rfind("\n  * ", 0, end)) >= 0:
        end = at
        if stack[at + 5] != "@":
            return stack[at + 5 : stack.find(", in ", at)]
    return ""
