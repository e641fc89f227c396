"""What two orders mean differently: nodes added, removed, moved to another phase, changed slot by slot, waiting for
something else; inputs, phases, what the orders are for, and risks. The document of `plan diff --json`.

Text never decides: two files that say the same in another form, or with other signatures, do not differ.
"""

from collections.abc import Mapping
from difflib import SequenceMatcher
from typing import Any

from msgspec import Struct, to_builtins

from requisition.review.inputs import InputChange, TextBudget, input_changes
from requisition.review.risks import Risk, risks
from requisition.review.sides import Side
from requisition.review.signatures import Standing
from requisition.review.slots import SlotChange, slot_changes
from requisition.review.values import leaves
from requisition.schemas.document import Node, Order, Phase
from requisition.schemas.receipt import Receipt


class SideLine(Struct, frozen=True, omit_defaults=True):
    """One of the two. `checksum` is empty for what is no file, and `standing` where nobody asked."""

    name: str
    document: str
    checksum: str = ""
    standing: Standing | None = None


class FieldChange(Struct, frozen=True):
    """Something of the order, a phase or a node, in words; empty: not set."""

    name: str
    before: str
    after: str


class NodeLine(Struct, frozen=True, omit_defaults=True):
    """A node that is in one of the two only."""

    id: str
    action: str
    phase: str
    location: str = ""


class NodeChange(Struct, frozen=True, omit_defaults=True):
    """A node that is in both. `was`: its id before, when it moved to another phase; `inputs`: files that it reads and
    whose content changed; `waits` and `no_longer_waits`: nodes that it newly needs, and needed before."""

    id: str
    location: str = ""
    was: str = ""
    fields: tuple[FieldChange, ...] = ()
    slots: tuple[SlotChange, ...] = ()
    inputs: tuple[str, ...] = ()
    waits: tuple[str, ...] = ()
    no_longer_waits: tuple[str, ...] = ()


class PhaseChange(Struct, frozen=True, omit_defaults=True):
    """A phase. `change`: added, removed, changed (`fields`), or reordered: it runs after `after`."""

    id: str
    change: str
    fields: tuple[FieldChange, ...] = ()
    after: str = ""


class StatusChange(Struct, frozen=True):
    """A node to which two runs did something else."""

    id: str
    before: str
    after: str


class Difference(Struct, frozen=True, omit_defaults=True):
    """From `a` to `b`. Nodes come in the order of their document; a node that moved or waits for something else is in
    `changed`, once. `new_risks` are those of b that a does not have."""

    a: SideLine
    b: SideLine
    order: tuple[FieldChange, ...] = ()
    phases: tuple[PhaseChange, ...] = ()
    added: tuple[NodeLine, ...] = ()
    removed: tuple[NodeLine, ...] = ()
    changed: tuple[NodeChange, ...] = ()
    inputs: tuple[InputChange, ...] = ()
    statuses: tuple[StatusChange, ...] = ()
    new_risks: tuple[Risk, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether the two say the same."""
        return not (
            self.order or self.phases or self.added or self.removed or self.changed or self.inputs or self.statuses
        )


_HEADER = ("serial", "expires", "platform", "min_runtime")
_LISTS = (("secrets", "secret", "name"), ("members", "member", "path"), ("collisions", "collision", "target"))
_CONTEXT = ("package", "package_version", "scope", "target_root", "features", "hosts", "layers", "projects")
_LONGEST = 200
_OF_NODES = ("action", "retry", "on_conflict", "elevate", "project", "layer")
_OF_PHASES = ("name", "kind", "retry", "compensate", "member")


def difference(a: Side, b: Side, standings: tuple[Standing | None, Standing | None] = (None, None)) -> Difference:
    """What changes from a to b."""
    before, after = a.order, b.order
    budget = TextBudget()
    moved = _moved(before, after)
    inputs = input_changes(a, b, budget)
    paths = {one.path for one in inputs}
    old, new = {node.id: node for node in before.nodes}, {node.id: node for node in after.nodes}
    origin = {now: was for was, now in moved.items()}
    changed = [
        change
        for node in after.nodes
        if (was := old.get(origin.get(node.id, node.id))) is not None
        and (change := _node_change(was, node, moved, paths, budget)) is not None
    ]
    known = {(risk.kind, moved.get(risk.node, risk.node), risk.text) for risk in risks(before)}
    return Difference(
        SideLine(a.name, a.document.name, a.checksum, standings[0]),
        SideLine(b.name, b.document.name, b.checksum, standings[1]),
        tuple(_header(before, after)) if before.version and after.version else (),
        tuple(_phases(before.phases, after.phases)),
        tuple(_line(node) for node in after.nodes if node.id not in old and node.id not in origin),
        tuple(_line(node) for node in before.nodes if node.id not in new and node.id not in moved),
        tuple(changed),
        inputs,
        tuple(_statuses(a, b, moved)),
        tuple(risk for risk in risks(after) if (risk.kind, risk.node, risk.text) not in known),
    )


def _line(node: Node) -> NodeLine:
    return NodeLine(node.id, node.action, node.phase, node.location)


def _local(node: Node) -> tuple[str, str]:
    return node.action, node.id.removeprefix(node.phase + "/")


def _moved(before: Order, after: Order) -> dict[str, str]:
    """Ids before and after of nodes that are called the same in another phase, where only one can be meant."""
    old, new = {node.id for node in before.nodes}, {node.id for node in after.nodes}
    gone = [node for node in before.nodes if node.id not in new]
    came = [node for node in after.nodes if node.id not in old]
    places: dict[tuple[str, str], tuple[list[str], list[str]]] = {}
    for node in gone:
        places.setdefault(_local(node), ([], []))[0].append(node.id)
    for node in came:
        places.setdefault(_local(node), ([], []))[1].append(node.id)
    return {was[0]: now[0] for was, now in places.values() if len(was) == len(now) == 1}


def _node_change(
    was: Node, now: Node, moved: Mapping[str, str], inputs: set[str], budget: TextBudget
) -> NodeChange | None:
    fields = _fields(was, now, _OF_NODES)
    slots = slot_changes(was, now, moved, budget)
    needed, needs = {moved.get(need, need) for need in was.needs}, set(now.needs)
    waits = tuple(need for need in now.needs if need not in needed)
    no_longer = tuple(need for need in was.needs if moved.get(need, need) not in needs)
    read = tuple(sorted(_read(now, inputs))) if inputs else ()
    if was.id == now.id and was.phase == now.phase and not (fields or slots or waits or no_longer or read):
        return None
    origin = was.id if was.id != now.id else ""
    if was.phase != now.phase:
        fields = (FieldChange("phase", was.phase, now.phase), *fields)
    return NodeChange(now.id, now.location, origin, fields, slots, read, waits, no_longer)


def _read(node: Node, inputs: set[str]) -> set[str]:
    """Which of some inputs a node reads: those that it names, and those in the folder that a command gets."""
    folder = node.slots.get("folder")
    below = {path for path in inputs if path.startswith(f"{folder}/")} if isinstance(folder, str) and folder else set()
    named = {leaf for name, value in node.slots.items() for _, leaf in leaves(name, value) if isinstance(leaf, str)}
    return below | (inputs & named)


def _header(before: Order, after: Order) -> list[FieldChange]:
    found = [*_fields(before.context, after.context, _CONTEXT), *_fields(before, after, _HEADER)]
    found += _entries("settings.", before.context.settings, after.context.settings)
    for name, word, key in _LISTS:
        old, new = ({getattr(one, key): one for one in getattr(order, name)} for order in (before, after))
        found += _entries(f"{word} ", old, new)
    return found


def _entries(lead: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[FieldChange]:
    return [
        FieldChange(f"{lead}{name}", _shown(old.get(name)), _shown(new.get(name)))
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]


def _fields(before: Struct, after: Struct, names: tuple[str, ...]) -> tuple[FieldChange, ...]:
    return tuple(
        FieldChange(name, _shown(was), _shown(now))
        for name in names
        if (was := getattr(before, name)) != (now := getattr(after, name))
    )


def _shown(value: Any) -> str:
    """A field in a line; empty for what is not set."""
    if value is None or value == () or value is False:
        return ""
    if isinstance(value, tuple | list):
        return ", ".join(map(_shown, value))
    if isinstance(value, Struct):
        fields: dict[str, Any] = to_builtins(value)  # without those at their default
        return " ".join(f"{name}={_shown(one)}" for name, one in fields.items())
    text = "yes" if value is True else str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _phases(before: tuple[Phase, ...], after: tuple[Phase, ...]) -> list[PhaseChange]:
    old, new = {phase.id: phase for phase in before}, {phase.id: phase for phase in after}
    found = [PhaseChange(one, "removed") for one in old if one not in new]
    found += [PhaseChange(one, "added") for one in new if one not in old]
    for one in new:
        if one in old and (fields := _fields(old[one], new[one], _OF_PHASES)):
            found.append(PhaseChange(one, "changed", fields))
    was, now = [one for one in old if one in new], [one for one in new if one in old]
    blocks = SequenceMatcher(None, was, now, autojunk=False).get_matching_blocks()
    stayed = {position for block in blocks for position in range(block.b, block.b + block.size)}
    for position, one in enumerate(now):
        if position not in stayed:
            found.append(PhaseChange(one, "reordered", after=now[position - 1] if position else ""))
    return found


def _statuses(a: Side, b: Side, moved: Mapping[str, str]) -> list[StatusChange]:
    """What two runs did otherwise; done and unchanged are the same, for both leave a node as wanted."""
    if not isinstance(a.document, Receipt) or not isinstance(b.document, Receipt):
        return []
    old, new = _by_id(a.document), _by_id(b.document)
    return [
        StatusChange(moved.get(name, name), was, new[moved.get(name, name)])
        for name, was in old.items()
        if moved.get(name, name) in new and new[moved.get(name, name)] != was
    ]


def _by_id(receipt: Receipt) -> dict[str, str]:
    found: dict[str, set[str]] = {}
    for run in receipt.nodes:
        status = "done" if run.status == "unchanged" else run.status
        found.setdefault(receipt.order.nodes[run.node].id, set()).add(status)
    return {name: ", ".join(sorted(statuses)) for name, statuses in found.items()}
