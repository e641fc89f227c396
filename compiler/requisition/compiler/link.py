"""Linking: recorded calls become nodes with stable ids, typed slots and edges; bodies become phases.

A node's id is `<package>/<phase>/<action>:<what it is about>`, the same in every build of the same package,
so that two orders can be compared. Nodes are listed by phase, in the order they were written.
"""

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct

from requisition.compiler.inputs import InputTable
from requisition.compiler.paths import PathOrder, Use, clash
from requisition.compiler.predicate import compile_predicate
from requisition.compiler.recording import Call, PhaseRecord, Recording
from requisition.compiler.slots import bad, convert, duration_ms, target_path
from requisition.schemas.diagnostic import BadInput, Diagnostic
from requisition.schemas.document import CONFLICT_POLICIES, ConflictPolicy, Node, Phase, Retry
from requisition.stdlib.catalogue import Catalogue
from requisition.stdlib.spec import ActionSpec

_ABOUT = ("path", "url", "text", "argv", "source", "message")
_BACKOFFS = ("none", "linear", "exponential")


class Linked(Struct):
    """What a package gives to an order: phases in their order, nodes in phase order."""

    phases: list[Phase]
    nodes: list[Node]


class Origin(Struct, frozen=True):
    """Which project and layer a call came from; empty for calls of scripts."""

    project: str = ""
    layer: str = ""


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
        self._package = package
        self._calls = recording.calls
        self._records = recording.phases
        self._catalogue = catalogue
        self._inputs = inputs
        self._origins = origins
        self._written = written
        self._phase_ids = [""] * len(self._records)
        self._ids = [""] * len(self._calls)
        self._taken: dict[str, int] = {}
        self._paths: dict[int, PathOrder] = {}
        self._open_ends: dict[int, set[int]] = {}
        self.secrets: dict[str, str] = {}

    def link(self) -> Linked:
        """Everything. Raises BadInput with every finding that is not about the same call."""
        self._name_phases()
        for number in self._written:
            self._ids[number] = self._name(self._calls[number])
        nodes: list[list[Node]] = [[] for _ in self._records]
        findings: list[Diagnostic] = []
        for number in self._written:
            call = self._calls[number]
            try:
                nodes[call.phase].append(self._node(number, call))
            except BadInput as failure:
                findings.extend(failure.diagnostics)
        if findings:
            raise BadInput(findings)
        phases = [self._phase(number, record) for number, record in enumerate(self._records)]
        return Linked(phases, [node for one in nodes for node in one])

    # names ---------------------------------------------------------------------------------------

    def _name_phases(self) -> None:
        """Bodies are named for their flow node: `<phase>/gather-1`, `<phase>/choose-2/case-1`."""
        counts: dict[tuple[int, str], int] = {}
        for number, record in enumerate(self._records):
            if record.kind == "forward":
                self._phase_ids[number] = f"{self._package}/{record.name}"
        owners: dict[int, str] = {}
        for number, record in enumerate(self._records):
            if record.kind == "compensation":
                parent = next(i for i, other in enumerate(self._records) if other.compensate == number)
                self._phase_ids[number] = f"{self._phase_ids[parent]}/compensate"
            elif record.kind == "body":
                self._phase_ids[number] = self._body_name(number, record, counts, owners)

    def _body_name(
        self, number: int, record: PhaseRecord, counts: dict[tuple[int, str], int], owners: dict[int, str]
    ) -> str:
        owner = self._calls[record.owner]
        if record.owner not in owners:
            verb = owner.action.removeprefix("flow.")
            counts[owner.phase, verb] = counts.get((owner.phase, verb), 0) + 1
            owners[record.owner] = f"{self._phase_ids[owner.phase]}/{verb}-{counts[owner.phase, verb]}"
        if record.name == "body":
            return owners[record.owner]
        if record.name == "default":
            return f"{owners[record.owner]}/default"
        place = [body for kind, _, body in owner.bodies if kind == "case"].index(number) + 1
        return f"{owners[record.owner]}/case-{place}"

    def _name(self, call: Call) -> str:
        about = ""
        if call.extra and call.extra.get("id"):
            about = str(call.extra["id"])
        else:
            for slot in _ABOUT:
                value = call.slots.get(slot)
                if isinstance(value, list) and value:
                    value = value[0]
                if slot == "path" and isinstance(value, str) and value:
                    value = target_path(value, call.location, slot)
                if isinstance(value, str) and value:
                    about = value if slot == "path" or "/" not in value else value.rpartition("/")[2]
                    break
        if call.action.startswith("flow.") and call.bodies:
            about = self._phase_ids[call.bodies[0][2]].removeprefix(self._phase_ids[call.phase] + "/").split("/")[0]
        about = about.split("\n", 1)[0][:120]
        name = f"{self._phase_ids[call.phase]}/{call.action}{':' if about else ''}{about}"
        count = self._taken.get(name, 0) + 1
        self._taken[name] = count
        return name if count == 1 else f"{name}#{count}"

    # nodes ---------------------------------------------------------------------------------------

    def _node(self, number: int, call: Call) -> Node:
        spec = self._catalogue[call.action]
        refs: set[int] = set()
        flow = call.action.startswith("flow.")
        slots = self._flow_slots(call, refs) if flow else self._slots(spec, call, refs)
        extra = call.extra or {}
        needs = refs | self._after(extra.get("after"), call)
        needs |= self._path_needs(number, call, spec, slots, needs)
        if call.bodies:  # what its bodies touch is only known when they run: what was written before comes first
            needs |= self._open_ends.get(call.phase, set())
        ends = self._open_ends.setdefault(call.phase, set())
        ends -= needs
        ends.add(number)
        origin = self._origins.get(number, _SCRIPT)
        retry = extra.get("retry")
        return Node(
            self._ids[number],
            call.action,
            self._phase_ids[call.phase],
            slots,
            tuple(sorted(self._ids[one] for one in needs)),
            call.location,
            None if retry is None else retry_policy(retry, call.location),
            self._policy(extra.get("on_conflict"), call),
            call.elevate,
            origin.project,
            origin.layer,
            {"note": str(extra["note"])} if extra.get("note") else {},
        )

    def _slots(self, spec: ActionSpec, call: Call, refs: set[int]) -> dict[str, Any]:
        return convert(spec, call.slots, call.location, lambda value: self._mark(value, refs, call), self._inputs.pin)

    def _mark(self, value: dict[str, Any], refs: set[int], call: Call) -> dict[str, Any] | None:
        """A promise, proxy or secret as the order writes it; None for any other dict."""
        if "_ref" in value:
            number = value["_ref"]
            self._check_visible(number, call)
            refs.add(number)
            output = value.get("_output")
            return {"$ref": self._ids[number], **({"output": output} if output else {})}
        if "_item" in value:
            field = value.get("_field")
            return {"$item": self._ids[value["_item"]], **({"field": field} if field else {})}
        if "_secret" in value:
            self.secrets.setdefault(value["_secret"], call.location)
            return {"$secret": value["_secret"]}
        return None

    def _check_visible(self, number: int, call: Call) -> None:
        """A promise made in a body has no value outside of it."""
        inner = self._calls[number].phase
        if self._records[inner].kind == "forward":
            return
        phase = call.phase
        while phase != inner:
            record = self._records[phase]
            if record.owner < 0:
                raise bad(
                    call.location,
                    f"{self._ids[number]} was made in a body; outside of it, use the body's result",
                )
            phase = self._calls[record.owner].phase

    def _flow_slots(self, call: Call, refs: set[int]) -> dict[str, Any]:
        slots: dict[str, Any] = {}
        for name, value in call.slots.items():
            if name in ("timeout", "interval"):
                slots[name] = duration_ms(value, call.location, name)
            elif name == "until":
                slots[name] = compile_predicate(value, call.location)
            elif value is not None:
                slots[name] = self._deep(value, refs, call)
        cases = []
        for kind, predicate, body in call.bodies:
            if kind == "case":
                cases.append({"when": compile_predicate(predicate, call.location), "body": self._phase_ids[body]})
            else:
                slots[kind] = self._phase_ids[body]
        if call.action == "flow.choose":
            slots["cases"] = cases
        if not slots.get("limit", True):
            del slots["limit"]
        self._check_flow(call, slots, refs)
        return slots

    def _check_flow(self, call: Call, slots: dict[str, Any], refs: set[int]) -> None:
        if call.action == "flow.wait_until" and "body" not in slots:
            polled = [self._catalogue[self._calls[ref].action] for ref in refs]
            if not polled or not polled[0].repeatable:
                able = ", ".join(name for name, spec in self._catalogue.items() if spec.repeatable)
                raise bad(call.location, f"plan.wait_until needs a function, or a promise of one of {able}")
        items = slots.get("items")
        if call.action == "flow.gather" and not isinstance(items, (list, dict)):
            raise bad(
                call.location,
                f"plan.gather: items: found {type(items).__name__}, expected a list or a promise",
            )

    def _deep(self, value: Any, refs: set[int], call: Call) -> Any:
        if isinstance(value, dict):
            marked = self._mark(value, refs, call)
            return marked if marked is not None else {k: self._deep(v, refs, call) for k, v in value.items()}
        if isinstance(value, list):
            return [self._deep(inner, refs, call) for inner in value]
        return value

    def _after(self, after: Any, call: Call) -> set[int]:
        if after is None:
            return set()
        found = set()
        for one in after if isinstance(after, list) else [after]:
            if not isinstance(one, dict) or "_ref" not in one:
                raise bad(call.location, f"after: found {one!r}, expected what a plan call returned")
            self._check_visible(one["_ref"], call)
            found.add(one["_ref"])
        return found

    def _policy(self, value: Any, call: Call) -> ConflictPolicy | None:
        for policy in CONFLICT_POLICIES:
            if value == policy:
                return policy
        if value is None:
            return None
        raise bad(call.location, f"on_conflict: found {value!r}, expected one of {', '.join(CONFLICT_POLICIES)}")

    # paths ---------------------------------------------------------------------------------------

    def _path_needs(
        self, number: int, call: Call, spec: ActionSpec, slots: dict[str, Any], needs: set[int]
    ) -> set[int]:
        uses = []
        for slot in spec.slots:
            if slot.type == "path":
                path = slots.get(slot.name)
                if path.__class__ is str and path:
                    uses.append(Use(path, slot.writes, slot.claims))
        if not uses:
            return set()
        order = self._paths.get(call.phase)
        if order is None:
            order = self._paths[call.phase] = PathOrder()
        found, clashes = order.add(number, uses)
        for other in clashes:
            if not self._waits_for(needs, other) and not self._same(call, self._calls[other]):
                raise clash(self._ids[number], self._ids[other], call.location, self._calls[other].location)
        return found

    def _waits_for(self, needs: Iterable[int], other: int) -> bool:
        """Whether what the author wrote leads from a node to another, through promises and `after`."""
        pending, seen = list(needs), set[int]()
        while pending:
            number = pending.pop()
            if number == other:
                return True
            if number in seen:
                continue
            seen.add(number)
            extra = self._calls[number].extra or {}
            pending.extend(_refs_in([self._calls[number].slots, extra.get("after")]))
        return False

    @staticmethod
    def _same(one: Call, other: Call) -> bool:
        """Two calls that say exactly the same may stand twice: making a directory, say."""
        return one.action == other.action and one.slots == other.slots

    # phases --------------------------------------------------------------------------------------

    def _phase(self, number: int, record: PhaseRecord) -> Phase:
        where = self._package
        return Phase(
            self._phase_ids[number],
            record.name if record.kind == "forward" else self._phase_ids[number].rpartition("/")[2],
            msgspec.convert(record.kind, Phase.__annotations__["kind"]),
            None if record.retry is None else retry_policy(record.retry, where),
            self._phase_ids[record.compensate] if record.compensate >= 0 else "",
        )


def _refs_in(value: Any) -> list[int]:
    found, pending = [], [value]
    while pending:
        one = pending.pop()
        if isinstance(one, dict):
            if "_ref" in one:
                found.append(one["_ref"])
            else:
                pending.extend(one.values())
        elif isinstance(one, list):
            pending.extend(one)
    return found


def retry_policy(value: Any, location: str) -> Retry:
    """`phase.retry(…)` or `plan.retry(…)` as a record."""
    if not isinstance(value, dict) or not {"max_attempts", "backoff"} <= value.keys():
        raise bad(location, "retry: expected plan.retry(max_attempts, …)")
    attempts, backoff = value["max_attempts"], value["backoff"]
    if type(attempts) is not int or not 1 <= attempts <= 1000:
        raise bad(location, f"retry: max_attempts: found {attempts!r}, expected 1 to 1000")
    if backoff not in _BACKOFFS:
        raise bad(location, f"retry: backoff: found {backoff!r}, expected one of {', '.join(_BACKOFFS)}")
    return Retry(
        attempts,
        backoff,
        duration_ms(value.get("initial_delay", 1000), location, "initial_delay"),
        duration_ms(value.get("max_delay", 60_000), location, "max_delay"),
    )
