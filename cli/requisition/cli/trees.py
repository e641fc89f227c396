"""Orders and receipts as trees by phase."""

from collections.abc import Iterable, Mapping, Sequence

from requisition.cli.drawing import ICONS, SHOWN, counted, local, tally
from requisition.cli.output import Output
from requisition.review.values import MASK, secret_slots, shown_value, visible
from requisition.schemas.document import Node, Order
from requisition.schemas.receipt import NodeRun, Receipt
from requisition.stdlib.catalogue import load

_WIDTH = 100
_REMOVES = frozenset({"remove", "unlink", "absent"})
_SIGNS = {
    "shell": ("$", "warn"),
    "git": ("↓", "warn"),
    "package": ("▣", "good"),
    "service": ("⚙", "warn"),
    "user": ("@", "warn"),
    "group": ("@", "warn"),
}


def order_tree(order: Order, output: Output, risks: Mapping[str, Sequence[str]], *, full: bool) -> Iterable[str]:
    """An order by phase: of each node its sign, slots, the place of its call, and the kinds of `risks` it has. Nodes of
    phases that the order does not have come last: nothing in it is hidden."""
    members: dict[str, list[Node]] = {}
    for node in order.nodes:
        members.setdefault(node.phase, []).append(node)
    commits = {
        member.path: visible(f"{member.path} at {member.commit[:12]}") for member in order.members if member.commit
    }
    for phase in order.phases:
        nodes = members.get(phase.id, [])
        extra = f", up to {phase.retry.max_attempts} tries" if phase.retry else ""
        extra += f", compensated by {visible(phase.compensate)}" if phase.compensate else ""
        extra += f", {commits[phase.member]}" if phase.member in commits else ""
        kind = "" if phase.kind == "forward" else f" ({phase.kind})"
        yield f"  {output.style(visible(phase.id), 'head')}{kind}  {counted(len(nodes), 'node')}{extra}"
        yield from _nodes(nodes, output, risks, full=full)
    known = {phase.id for phase in order.phases}
    for name in (name for name in members if name not in known):
        yield f"  {output.style(visible(name), 'bad')}  {counted(len(members[name]), 'node')} of no phase of the order"
        yield from _nodes(members[name], output, risks, full=full)


def _nodes(nodes: Sequence[Node], output: Output, risks: Mapping[str, Sequence[str]], *, full: bool) -> Iterable[str]:
    shown = nodes if full else nodes[:SHOWN]
    for node in shown:
        sign, style = sign_of(node)
        look = output.style(f"  ! {', '.join(risks[node.id])}", "warn") if node.id in risks else ""
        place = f"  {output.style(visible(node.location), 'dim')}" if node.location else ""
        words = f"{visible(local(node.id, node.phase))}{_slots(node)}{place}"
        yield f"    {output.style(sign, style)} {words}{look}"
    if len(shown) < len(nodes):
        yield output.style(f"    … and {len(nodes) - len(shown):,} more (--full shows all)", "dim")


def sign_of(node: Node) -> tuple[str, str]:
    """What a node does to the machine, as a sign and its style."""
    family, _, verb = node.action.partition(".")
    spec = load().get(node.action)
    if spec is None or family == "flow":
        return ("◇", "dim") if spec else ("?", "bad")
    if verb in _REMOVES:
        return "-", "bad"
    if family in _SIGNS:
        return _SIGNS[family]
    if spec.looks or spec.effect == "pure":
        return ("?" if spec.looks else "ƒ"), "dim"
    if node.action == "net.download":
        return "↓", "warn"
    return ("+", "good") if any(slot.claims for slot in spec.slots) else ("~", "warn")


def _slots(node: Node) -> str:
    hidden = secret_slots(node.action)
    parts = [
        f"{name}={MASK if name in hidden else shown_value(name, value)}"
        for name, value in node.slots.items()
        if name not in ("path", "body", "cases", "default")
    ]
    text = visible(" ".join(parts))
    return f"  {text if len(text) <= _WIDTH else text[:_WIDTH] + '…'}" if parts else ""


def receipt_tree(receipt: Receipt, output: Output, *, full: bool) -> Iterable[str]:
    """A receipt by phase: what became of each node, and what could not be taken back."""
    members: dict[str, list[NodeRun]] = {}
    for run in receipt.nodes:
        members.setdefault(receipt.order.nodes[run.node].phase, []).append(run)
    for phase, runs in members.items():
        yield f"  {output.style(visible(phase), 'head')}  {_statuses(runs)}"
        shown = runs if full else _worth_showing(runs)
        for run in shown:
            icon, style = ICONS.get(run.status, ("·", "dim"))
            item = f"[{'.'.join(map(str, run.scope))}]" if run.scope else ""
            why = f"  {output.style(visible(run.error or run.reason), 'dim')}" if run.error or run.reason else ""
            name = visible(local(receipt.order.nodes[run.node].id, phase))
            yield f"    {output.style(icon, style)} {name}{item}{why}"
        if len(shown) < len(runs):
            yield output.style(f"    … and {len(runs) - len(shown):,} more (--full shows all)", "dim")
    for entry in receipt.rollback:
        if entry.status != "done":
            words = visible(f"{entry.id} was not taken back: {entry.error or entry.status}")
            yield f"  {output.style('!', 'warn')} {words}"


def _statuses(runs: list[NodeRun]) -> str:
    counts: dict[str, int] = {}
    for run in runs:
        counts[run.status] = counts.get(run.status, 0) + 1
    return tally(counts)


def _worth_showing(runs: list[NodeRun]) -> list[NodeRun]:
    """What went wrong, and the first of the rest, in order."""
    bad = ("failed", "undo_failed")
    first = [run for run in runs if run.status not in (*bad, "unchanged")][:SHOWN]
    chosen = {id(run) for run in first}
    return [run for run in runs if run.status in bad or id(run) in chosen]
