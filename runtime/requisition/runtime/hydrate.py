"""An order becomes runnable: each node bound to its action, slots typed, the graph as integer arrays.

Everything that can be wrong with a node by itself is found here, all at once, before anything is
touched: unknown actions, missing or unknown slots, wrong types, paths that leave the root, promises to
nodes that do not exist or are not waited for, cycles.
"""

from collections.abc import Iterable, Mapping
from posixpath import normpath
from typing import Any

import msgspec
from msgspec import Struct

from requisition.runtime.families import judge
from requisition.runtime.flowslots import objection
from requisition.runtime.memberships import check_members
from requisition.runtime.registry import Registry
from requisition.schemas.diagnostic import BadInput, Diagnostic
from requisition.schemas.document import Node, Order, Phase
from requisition.stdlib.action import Action
from requisition.stdlib.spec import ActionSpec

MAX_MODE = 0o7777
_MARKS = ("$ref", "$item", "$secret")
FLOW = "flow."


class Bound(Struct, gc=False):
    """One node, ready to run. `slots` is None while some value is only known during the run.

    `phase` is an index into the order's phases; `index` the node's place in the order.
    """

    index: int
    node: Node
    phase: int
    action: Action[Any] | None
    slots: Struct | None
    refs: tuple[int, ...] = ()
    secret: bool = False
    repeats: bool = False


class Hydrated(Struct):
    """The whole graph. `waits[i]` counts the nodes of i's own phase that must be done before i, and
    `then[i]` lists those of its own phase that wait for i; `consumed` are the nodes whose outputs
    someone refers to. `sequence` is one order in which all arrows point forward, phase by phase; `writers` counts the
    nodes that name a path; `gathers` maps a body to the gather that runs it; `elevated`: a privileged half
    does the nodes that need root."""

    order: Order
    bound: list[Bound]
    by_id: Mapping[str, int]
    phases: Mapping[str, int]
    members: list[list[int]]
    waits: list[int]
    then: list[tuple[int, ...]]
    consumed: frozenset[int]
    writers: Mapping[str, int]
    sequence: list[int]
    gathers: Mapping[str, str]
    elevated: bool = False


def hydrate(order: Order, registry: Registry) -> Hydrated:
    """Bind every node. Raises BadInput with all findings."""
    findings: list[Diagnostic] = []
    by_id = {node.id: index for index, node in enumerate(order.nodes)}
    phases = {phase.id: index for index, phase in enumerate(order.phases)}
    if len(by_id) != len(order.nodes):
        findings.append(Diagnostic(what="two nodes of the order have the same id"))
    bound: list[Bound] = []
    members: list[list[int]] = [[] for _ in order.phases]
    writers: dict[str, int] = {}
    for index, node in enumerate(order.nodes):
        try:
            one = _bind(index, node, phases, by_id, registry)
        except BadInput as failure:
            findings.extend(failure.diagnostics)
            continue
        members[one.phase].append(index)
        bound.append(one)
        if one.action is not None:
            for name in slot_names(one.action.spec).paths:
                path = node.slots.get(name)
                if path.__class__ is str:
                    writers[path] = writers.get(path, 0) + 1
    if findings:
        raise BadInput(findings)
    waits, then = _arrows(order, bound, by_id)
    _check_phases(order, phases, bound)
    check_members(order)
    gathers, last = _flow_bodies(bound, phases, members)
    consumed = frozenset(ref for one in bound for ref in one.refs) | last
    _spread_secrets(bound, phases, members)
    findings = judge(bound)
    if findings:
        raise BadInput(findings)
    findings = [found for one in bound if one.secret for found in _misplaced_secrets(one, bound, by_id)]
    if findings:
        raise BadInput(findings)
    sequence = sorted(_sequence(order, waits, then), key=lambda index: bound[index].phase)
    return Hydrated(order, bound, by_id, phases, members, waits, then, consumed, writers, sequence, gathers)


def _bind(
    index: int,
    node: Node,
    phases: Mapping[str, int],
    by_id: Mapping[str, int],
    registry: Registry,
) -> Bound:
    phase = phases.get(node.phase)
    if phase is None:
        raise _bad(node, f"its phase {node.phase!r} is not in the order")
    if node.action.startswith(FLOW):
        wrong = objection(node)
        if wrong:
            raise _bad(node, wrong)
        refs, secret, dynamic = _marks(node, by_id)
        return Bound(index, node, phase, None, None, refs, secret, dynamic)
    action = registry.get(node.action, where=node.location or node.id)
    slots = node.slots
    names = slot_names(action.spec)
    for name in names.only_secret:
        _check_only_secret(node, name)
    for value in slots.values():
        if value.__class__ is dict or value.__class__ is list:
            refs, secret, dynamic = _marks(node, by_id)
            break
    else:
        return Bound(index, node, phase, action, typed_slots(node, action, slots), secret=names.secret_output)
    secret = secret or names.secret_output
    if secret or dynamic:
        _check_names(node, action.spec)
        return Bound(index, node, phase, action, None, refs, secret, dynamic)
    return Bound(index, node, phase, action, typed_slots(node, action, slots))


def typed_slots(node: Node, action: Action[Any], slots: Mapping[str, Any]) -> Struct:
    """Slots as the action's Struct. Raises BadInput with the slot, what was found and expected."""
    try:
        typed: Struct = msgspec.convert(slots, action.slots)
    except msgspec.ValidationError as error:
        raise _bad(node, str(error)) from error
    names = slot_names(action.spec)
    for name in names.paths:
        path = slots.get(name)
        if path is not None:
            check_path(node, name, path)
    for name in names.modes:
        if not 0 <= (slots.get(name) or 0) <= MAX_MODE:
            raise _bad(node, f"slot {name!r} holds {slots[name]}, expected permission bits, 0 to 0o7777")
    if not slots.keys() <= names.all:
        _check_names(node, action.spec)
    return typed


class SlotNames(Struct, frozen=True):
    """Names of an action's slots by what they hold."""

    paths: tuple[str, ...]
    inputs: tuple[str, ...]
    modes: tuple[str, ...]
    claims: bool
    all: frozenset[str]
    only_secret: tuple[str, ...] = ()
    secret_output: bool = False


_names: dict[str, SlotNames] = {}


def slot_names(spec: ActionSpec) -> SlotNames:
    """Computed once an action: asked for every node."""
    found = _names.get(spec.name)
    if found is None:
        found = _names[spec.name] = SlotNames(
            tuple(s.name for s in spec.slots if s.type == "path"),
            tuple(s.name for s in spec.slots if s.type == "input"),
            tuple(s.name for s in spec.slots if s.type == "mode"),
            any(s.claims for s in spec.slots),
            frozenset(s.name for s in spec.slots),
            tuple(s.name for s in spec.slots if s.only_secret),
            any(output.secret for output in spec.outputs),
        )
    return found


def check_path(node: Node, slot: str, path: object) -> None:
    """Refuse a target path that is not absolute and normalized, or that a system call would cut short."""
    if (
        path.__class__ is str
        and path[:1] == "/"
        and "/." not in path
        and "//" not in path
        and path[-1:] != "/"
        and "\0" not in path
    ):
        return  # the common case, without taking the path apart
    if path == "" and slot != "path":
        return
    if (
        not isinstance(path, str)
        or not path.startswith("/")
        or path.startswith("//")
        or normpath(path) != path
        or "\0" in path
    ):
        raise _bad(node, f"slot {slot!r} holds {path!r}, expected an absolute normalized path below the root")


def _check_only_secret(node: Node, slot: str) -> None:
    """Whoever made the order: the value itself has no place in it."""
    value = node.slots.get(slot)
    if value is not None and not (isinstance(value, dict) and "$secret" in value):
        raise _bad(node, f"slot {slot!r} takes nothing but a secret of the one who applies")


def _check_names(node: Node, spec: ActionSpec) -> None:
    known = slot_names(spec).all
    unknown = sorted(set(node.slots) - known)
    missing = sorted(s.name for s in spec.slots if s.required and s.name not in node.slots)
    if unknown:
        raise _bad(node, f"unknown slot {unknown[0]!r}; {spec.name} has {', '.join(sorted(known))}")
    if missing:
        raise _bad(node, f"slot {missing[0]!r} is missing")


def _marks(node: Node, by_id: Mapping[str, int]) -> tuple[tuple[int, ...], bool, bool]:
    """(nodes referred to, whether a secret is among the slots, whether any value is dynamic)."""
    refs: list[int] = []
    secret = dynamic = False
    for mark in _find_marks(node.slots.values()):
        dynamic = True
        if not all(isinstance(value, str) for value in mark.values()):
            raise _bad(node, f"a slot holds {mark!r}, which names nothing")
        if "$ref" in mark:
            target = by_id.get(mark["$ref"])
            if target is None:
                raise _bad(node, f"it refers to {mark['$ref']!r}, which is not in the order")
            refs.append(target)
        secret = secret or "$secret" in mark
    return tuple(refs), secret, dynamic


def _find_marks(values: Iterable[Any]) -> Iterable[dict[str, Any]]:
    stack = list(values)
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            if any(mark in value for mark in _MARKS):
                yield value
            else:
                stack.extend(value.values())
        elif isinstance(value, list):
            stack.extend(value)


def _arrows(order: Order, bound: list[Bound], by_id: Mapping[str, int]) -> tuple[list[int], list[tuple[int, ...]]]:
    count = len(order.nodes)
    waits, then = [0] * count, [[] for _ in range(count)]  # type: list[int], list[list[int]]
    for index, node in enumerate(order.nodes):
        phase = bound[index].phase
        for need in node.needs:
            other = by_id.get(need)
            if other is None:
                raise BadInput(_finding(node, f"it needs {need!r}, which is not in the order"))
            if bound[other].phase == phase:
                waits[index] += 1
                then[other].append(index)
        for other in bound[index].refs:
            if order.nodes[other].id not in node.needs:
                raise BadInput(_finding(node, f"it uses {order.nodes[other].id!r} without waiting for it"))
    return waits, [tuple(found) for found in then]


def _check_phases(order: Order, phases: Mapping[str, int], bound: list[Bound]) -> None:
    """Every body and compensation exists, has the right kind, and belongs to exactly one owner."""
    owners: dict[str, str] = {}
    wanted = [(phase.compensate, "compensation", phase.id) for phase in order.phases if phase.compensate]
    wanted += [(body, "body", one.node.id) for one in bound if one.action is None for body in bodies(one.node)]
    for body, kind, owner in wanted:
        index = phases.get(body)
        found: Phase | None = None if index is None else order.phases[index]
        if found is None or found.kind != kind:
            raise BadInput.of(f"{owner} refers to {body!r}, which is not a {kind} phase of the order")
        if body in owners:
            raise BadInput.of(f"the phase {body!r} belongs to both {owners[body]} and {owner}")
        owners[body] = owner
    homes = {one.node.id: one.node.phase for one in bound if one.action is None}
    for phase in order.phases:
        seen, at = {phase.id}, phase.id
        while (owner := owners.get(at, "")) and (at := homes.get(owner, "")):
            if at in seen:
                raise BadInput.of(f"the phase {at!r} runs itself")
            seen.add(at)


def bodies(node: Node) -> list[str]:
    """The phases that a flow node may run."""
    slots = node.slots
    found = [slots.get("body", ""), slots.get("default", "")]
    found += [case["body"] for case in slots.get("cases", ())]
    return [body for body in found if body]


def _flow_bodies(
    bound: list[Bound], phases: Mapping[str, int], members: list[list[int]]
) -> tuple[dict[str, str], frozenset[int]]:
    """(body phase → its gather, the last node of every body: its outputs are the body's result)."""
    gathers, last = {}, set()
    for one in bound:
        if one.action is None:
            for body in bodies(one.node):
                if members[phases[body]]:
                    last.add(members[phases[body]][-1])
                if one.node.action == "flow.gather":
                    gathers[body] = one.node.id
    return gathers, frozenset(last)


def _spread_secrets(bound: list[Bound], phases: Mapping[str, int], members: list[list[int]]) -> None:
    """Whatever uses the output of a node that holds a secret, or works on its items, holds it too."""
    pending = [one for one in bound if one.secret]
    users: dict[int, list[int]] = {}
    for one in bound:
        for ref in one.refs:
            users.setdefault(ref, []).append(one.index)
    while pending:
        one = pending.pop()
        touched = list(users.get(one.index, ()))
        if one.action is None:
            touched += [index for body in bodies(one.node) for index in members[phases[body]]]
        for index in touched:
            if not bound[index].secret:
                bound[index].secret = True
                pending.append(bound[index])


def _misplaced_secrets(one: Bound, bound: list[Bound], by_id: Mapping[str, int]) -> Iterable[Diagnostic]:
    """Slots that a secret would reach although they are not made for one: a command line is seen by everyone."""
    if one.action is None:
        return
    for slot in one.action.spec.slots:
        if slot.secret or slot.name not in one.node.slots:
            continue
        if any(_carries_secret(mark, bound, by_id) for mark in _find_marks([one.node.slots[slot.name]])):
            yield Diagnostic(
                what=f"{one.node.id}: slot {slot.name!r} is given a secret",
                where=one.node.location,
                why="its value would be seen in process lists, logs or receipts",
                next=f"use a slot that takes secrets; see plan actions {one.node.action}",
            )


def _carries_secret(mark: Mapping[str, Any], bound: list[Bound], by_id: Mapping[str, int]) -> bool:
    """Whether a value may be a secret or hold one. Paths are none, whatever the file holds."""
    if "$secret" in mark:
        return True
    source = bound[by_id[mark["$ref"] if "$ref" in mark else mark["$item"]]]
    if not source.secret or source.action is None or "$ref" not in mark:
        return source.secret
    outputs = source.action.spec.outputs
    name = mark.get("output") or (outputs[0].name if outputs else "")
    return all(output.type != "path" for output in outputs if output.name == name)


def _sequence(order: Order, waits: list[int], then: list[tuple[int, ...]]) -> list[int]:
    """Kahn's algorithm, first come first served. Raises BadInput naming nodes of a cycle."""
    left = list(waits)
    sequence = [index for index, count in enumerate(left) if not count]
    for index in sequence:  # grows while it is read
        for other in then[index]:
            left[other] -= 1
            if not left[other]:
                sequence.append(other)
    if len(sequence) < len(left):
        stuck = [order.nodes[i].id for i, count in enumerate(left) if count]
        raise BadInput.of(f"nodes of the order wait for each other: {', '.join(stuck[:5])}")
    return sequence


def _finding(node: Node, what: str) -> Diagnostic:
    return Diagnostic(what=f"{node.id}: {what}", where=node.location, next="build the order again with this version")


def _bad(node: Node, what: str) -> BadInput:
    return BadInput(_finding(node, what))
