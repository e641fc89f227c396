"""Names of an order: phases, bodies and nodes, readable and the same in every build of the same package.

demo/install                            a phase
demo/install/gather-1                   the body of its first gather
demo/install/choose-2/case-1            a branch
demo/install/file.copy:/etc/demo.conf   a node: its action, and what it is about
demo/install/file.chmod:/etc/demo#2     the second of that name
"""

from collections.abc import Mapping, Sequence
from typing import Any

from requisition.compiler.recording import Call, PhaseRecord

_ABOUT = ("path", "url", "text", "argv", "source", "message")
_LONGEST = 120


class Names:
    """Phase names, known at once; node names, given in the order the calls were written."""

    def __init__(self, package: str, phases: Sequence[PhaseRecord], calls: Sequence[Call]) -> None:
        self._calls = calls
        self._taken: dict[str, int] = {}
        self._bodies: dict[int, str] = {}
        self._counts: dict[tuple[int, str], int] = {}
        self.phases = [""] * len(phases)
        compensated = {phase.compensate: number for number, phase in enumerate(phases) if phase.compensate >= 0}
        for number, phase in enumerate(phases):
            if phase.kind == "forward":
                self.phases[number] = f"{package}/{phase.name}"
            elif phase.kind == "compensation":
                self.phases[number] = f"{self.phases[compensated[number]]}/compensate"
            else:
                self.phases[number] = self._body(number, phase)

    def _body(self, number: int, phase: PhaseRecord) -> str:
        owner = self._calls[phase.owner]
        name = self._bodies.get(phase.owner)
        if name is None:
            verb = owner.action.removeprefix("flow.")
            count = self._counts[owner.phase, verb] = self._counts.get((owner.phase, verb), 0) + 1
            name = self._bodies[phase.owner] = f"{self.phases[owner.phase]}/{verb}-{count}"
        if phase.name == "body":
            return name
        if phase.name == "default":
            return f"{name}/default"
        cases = [body.phase for body in owner.bodies if body.kind == "case"]
        return f"{name}/case-{cases.index(number) + 1}"

    def node(self, number: int, call: Call, slots: Mapping[str, Any], main: str = "") -> str:
        """The name of a node whose slots are ready; `main` is the slot that its action names first."""
        if call.id:
            about = str(call.id)
        elif call.bodies:
            about = self._bodies[number].rpartition("/")[2]
        else:
            about = _about(slots, main)
        name = f"{self.phases[call.phase]}/{call.action}"
        if about:
            name = f"{name}:{about}" if len(about) < _LONGEST and "\n" not in about else f"{name}:{_short(about)}"
        count = self._taken.get(name, 0) + 1
        self._taken[name] = count
        return name if count == 1 else f"{name}#{count}"


def _about(slots: Mapping[str, Any], main: str) -> str:
    """What tells a node from others of its action: a path whole, of anything else the last part."""
    for slot in (*_ABOUT, main):
        value = slots.get(slot)
        if value.__class__ is list and value:
            value = value[0]
        if value.__class__ is str and value:
            if slot == "url":  # what may be a login or a token is no name
                value = value.partition("?")[0].partition("#")[0].rpartition("@")[2]
            return value if slot == "path" else value.rstrip("/").rpartition("/")[2]
    return ""


def _short(about: str) -> str:
    return about.split("\n", 1)[0][:_LONGEST]
