"""Linking: recorded calls become nodes with names, typed slots and edges; bodies become phases.

One pass in the order the calls were written, in which every arrow points backwards: promises and `after`
name calls that were made, paths are ordered as written (`paths`), and a flow node stands between what was
written before it and what comes after. So there can be no cycle, and nodes are listed by phase, as written.
"""

from typing import Any

from msgspec import Struct

from requisition.compiler.inputs import InputTable
from requisition.compiler.naming import Names
from requisition.compiler.paths import PathOrder, clash
from requisition.compiler.predicate import compile_predicate
from requisition.compiler.promises import Promises
from requisition.compiler.recording import Call, PhaseRecord, Recording
from requisition.compiler.retries import retry_policy
from requisition.compiler.secrecy import Secrecy
from requisition.compiler.slots import bad, convert, duration_ms
from requisition.schemas.diagnostic import BadInput, Diagnostic
from requisition.schemas.document import CONFLICT_POLICIES, ConflictPolicy, Node, Phase
from requisition.stdlib.catalogue import Catalogue
from requisition.stdlib.spec import ActionSpec, Slot

FLOW = "flow."
_LEFT_OUT = {"limit": 0, "message": ""}


class Linked(Struct):
    """What a package gives to an order: phases in their order, nodes in phase order, where secrets are used."""

    phases: list[Phase]
    nodes: list[Node]
    secrets: dict[str, str] = {}


class Origin(Struct, frozen=True):
    """Which project and layer a call came from; empty for calls of scripts."""

    project: str = ""
    layer: str = ""


class _PhaseState(Struct):
    """Of one phase: its nodes, its paths, the last flow node and where that stands among the nodes, and who changed
    last what bears a name."""

    nodes: list[Node]
    paths: PathOrder
    barrier: str = ""
    first: int = 0
    named: dict[tuple[str, str], int] = {}


_SCRIPT = Origin()


class Linker:
    """Links one package's recording. `origins` tells where calls that layers made come from; `written` lists
    all calls in the order in which they were written."""

    def __init__(
        self,
        package: str,
        recording: Recording,
        catalogue: Catalogue,
        inputs: InputTable,
        origins: dict[int, Origin],
        written: list[int],
    ) -> None:
        self._calls = recording.calls
        self._records = recording.phases
        self._catalogue = catalogue
        self._inputs = inputs
        self._origins = origins
        self._written = written
        self._ids = [""] * len(self._calls)
        self._names = Names(package, self._records, self._calls)
        self._promises = Promises(self._calls, self._records, self._ids)
        self._secrecy = Secrecy(catalogue)
        self._states = [_PhaseState([], PathOrder()) for _ in self._records]
        self._main_slot = {name: spec.slots[0].name for name, spec in catalogue.items() if spec.slots}
        self._path_slots = {name: _path_slots(spec) for name, spec in catalogue.items()}
        self._name_slots = {name: _name_slots(spec) for name, spec in catalogue.items()}

    def link(self) -> Linked:
        """Everything. Raises BadInput with the findings of all calls."""
        findings: list[Diagnostic] = []
        for number in self._written:
            call = self._calls[number]
            try:
                self._states[call.phase].nodes.append(self._node(number, call))
            except BadInput as failure:
                findings.extend(failure.diagnostics)
                self._ids[number] = self._ids[number] or call.action
        phases = [self._phase(number, record, findings) for number, record in enumerate(self._records)]
        if findings:
            raise BadInput(findings)
        return Linked(phases, [node for state in self._states for node in state.nodes], self._promises.secrets)

    def _node(self, number: int, call: Call) -> Node:
        refs: set[int] = set()
        flow = call.action.startswith(FLOW)
        self._promises.gave_secret = False
        slots = self._flow_slots(call, refs) if flow else self._slots(call, refs)
        name = self._ids[number] = self._names.node(number, call, slots, self._main_slot.get(call.action, ""))
        self._secrecy.see(name, call.action, slots, call.location, given=self._promises.gave_secret)
        origin = self._origins.get(number, _SCRIPT)
        return Node(
            name,
            call.action,
            self._names.phases[call.phase],
            slots,
            self._needs(number, call, slots, refs, flow),
            call.location,
            None if call.retry is None else retry_policy(call.retry, call.location),
            None if call.on_conflict is None else _policy(call),
            call.elevate,
            origin.project,
            origin.layer,
            {"note": str(call.note)} if call.note else {},
        )

    # slots ---------------------------------------------------------------------------------------

    def _slots(self, call: Call, refs: set[int]) -> dict[str, Any]:
        spec = self._catalogue[call.action]
        slots = call.slots
        values = slots if isinstance(slots, list) else [slots.get(slot.name) for slot in spec.slots]
        resolve = self._promises.resolve
        return convert(spec, values, call.location, lambda value: resolve(value, call, refs), self._inputs.pin)

    def _flow_slots(self, call: Call, refs: set[int]) -> dict[str, Any]:
        given = call.slots if isinstance(call.slots, dict) else {}
        slots: dict[str, Any] = {}
        for name, value in given.items():
            if name in ("timeout", "interval"):
                slots[name] = duration_ms(value, call.location, name)
            elif name == "until":
                slots[name] = compile_predicate(value, call.location)
            elif value is not None and value != _LEFT_OUT.get(name):
                slots[name] = self._deep(value, call, refs)
        cases = []
        for body in call.bodies:
            phase = self._names.phases[body.phase]
            if body.kind == "case":
                cases.append({"when": compile_predicate(body.predicate, call.location), "body": phase})
            else:
                slots[body.kind] = phase
        if call.action == "flow.choose":
            slots["cases"] = cases
        self._check_flow(call, slots, refs)
        return slots

    def _check_flow(self, call: Call, slots: dict[str, Any], refs: set[int]) -> None:
        if call.action == "flow.wait_until" and "body" not in slots:
            polled = [self._catalogue[self._calls[ref].action] for ref in refs]
            if len(polled) != 1 or not polled[0].repeatable:
                able = ", ".join(name for name, spec in self._catalogue.items() if spec.repeatable)
                raise bad(call.location, f"plan.wait_until needs a function, or a promise of one of {able}")
        if call.action == "flow.gather":
            items, limit = slots.get("items"), slots.get("limit", 0)
            if not isinstance(items, list) and not (isinstance(items, dict) and {"$ref", "$item"} & items.keys()):
                raise bad(call.location, f"plan.gather: items: found {items!r}, expected a list or a promise")
            if type(limit) is not int or limit < 0:
                raise bad(call.location, f"plan.gather: limit: found {limit!r}, expected a number, 0 for none")

    def _deep(self, value: Any, call: Call, refs: set[int]) -> Any:
        """A slot of a flow node: any value, as `slots.convert` does for slots of type `any`."""
        spec = self._catalogue[call.action]
        resolve = self._promises.resolve
        anything = ActionSpec(spec.name, "", (Slot("value", "any", ""),))
        return convert(anything, [value], call.location, lambda v: resolve(v, call, refs), self._inputs.pin)["value"]

    # order ---------------------------------------------------------------------------------------

    def _needs(self, number: int, call: Call, slots: dict[str, Any], needs: set[int], flow: bool) -> tuple[str, ...]:
        """The names of what a node waits for; `needs` holds the calls whose outputs it uses."""
        if call.after is not None:
            needs |= self._promises.after(call)
        state = self._states[call.phase]
        if flow:
            names = {self._ids[one] for one in needs} | _ends(state)
            state.barrier, state.first = self._ids[number], len(state.nodes)
        else:
            needs |= self._path_needs(number, call, slots, needs, state.paths)
            needs |= self._name_needs(number, call, slots, state.named)
            names = {self._ids[one] for one in needs}
            if state.barrier:
                names.add(state.barrier)
        return tuple(sorted(names)) if len(names) > 1 else tuple(names)

    def _path_needs(
        self, number: int, call: Call, slots: dict[str, Any], needs: set[int], paths: PathOrder
    ) -> set[int]:
        found: set[int] = set()
        for name, writes, claims in self._path_slots[call.action]:
            path = slots.get(name)
            if path.__class__ is str and path:
                other = paths.add(number, path, writes, claims, found)
                if other >= 0 and other != number:
                    self._check_clash(number, other, needs)
        found.discard(number)
        return found

    def _name_needs(
        self, number: int, call: Call, slots: dict[str, Any], named: dict[tuple[str, str], int]
    ) -> set[int]:
        """Nodes of one provider that change what bears the same name, or that are serial, are done as written."""
        provider = call.action.partition(".")[0]
        before = set()
        names = [slots.get(slot) for slot in self._name_slots[call.action]]
        for name in [*names, ""] if self._catalogue[call.action].serial else names:
            if name.__class__ is str:
                before.add(named.get((provider, name), number))
                named[provider, name] = number
        before.discard(number)
        return before

    def _check_clash(self, number: int, other: int, needs: set[int]) -> None:
        """Two nodes put something at one path: one must wait for the other, or say exactly the same, as two
        that make one directory do."""
        call, earlier = self._calls[number], self._calls[other]
        if call.action == earlier.action and call.slots == earlier.slots:
            return
        if not self._promises.leads_to(needs, other):
            raise clash(self._ids[number], self._ids[other], call.location, earlier.location)

    # phases --------------------------------------------------------------------------------------

    def _phase(self, number: int, record: PhaseRecord, findings: list[Diagnostic]) -> Phase:
        name = self._names.phases[number]
        retry = None
        try:
            retry = retry_policy(record.retry, record.retry_location)
        except BadInput as failure:
            findings.extend(failure.diagnostics)
        return Phase(
            name,
            record.name if record.kind == "forward" else name.rpartition("/")[2],
            record.kind,
            retry,
            self._names.phases[record.compensate] if record.compensate >= 0 else "",
        )


def _path_slots(spec: ActionSpec) -> list[tuple[str, bool, bool]]:
    return [(slot.name, slot.writes, slot.claims) for slot in spec.slots if slot.type == "path"]


def _name_slots(spec: ActionSpec) -> list[str]:
    return [slot.name for slot in spec.slots if slot.type == "string" and slot.writes]


def _ends(state: _PhaseState) -> set[str]:
    """The nodes since the last flow node, itself included, that none of them waits for."""
    since = state.nodes[state.first :]
    return {node.id for node in since}.difference(*(node.needs for node in since))


def _policy(call: Call) -> ConflictPolicy:
    for policy in CONFLICT_POLICIES:
        if call.on_conflict == policy:
            return policy
    expected = ", ".join(CONFLICT_POLICIES)
    raise bad(call.location, f"on_conflict: found {call.on_conflict!r}, expected one of {expected}")
