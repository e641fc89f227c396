"""Orders and receipts as trees by phase."""

from collections.abc import Iterable

from requisition.cli.drawing import ICONS, SHOWN, counted, local, tally
from requisition.cli.output import Output
from requisition.review.values import shown_value
from requisition.schemas.document import Node, Order
from requisition.schemas.receipt import NodeRun, Receipt


def order_tree(order: Order, output: Output, *, full: bool) -> Iterable[str]:
    """An order by phase, with what a reviewer should look at."""
    members: dict[str, list[Node]] = {}
    for node in order.nodes:
        members.setdefault(node.phase, []).append(node)
    commits = {member.path: f"{member.path} at {member.commit[:12]}" for member in order.members if member.commit}
    for phase in order.phases:
        nodes = members.get(phase.id, [])
        extra = f", up to {phase.retry.max_attempts} tries" if phase.retry else ""
        extra += f", compensated by {phase.compensate}" if phase.compensate else ""
        extra += f", {commits[phase.member]}" if phase.member in commits else ""
        kind = "" if phase.kind == "forward" else f" ({phase.kind})"
        yield f"  {output.style(phase.id, 'head')}{kind}  {counted(len(nodes), 'node')}{extra}"
        shown = nodes if full else nodes[:SHOWN]
        for node in shown:
            yield f"    {local(node.id, phase.id)}{_slots(node)}  {output.style(node.location, 'dim')}"
        if len(shown) < len(nodes):
            yield output.style(f"    … and {len(nodes) - len(shown)} more (--full shows all)", "dim")


def _slots(node: Node) -> str:
    parts = []
    for name, value in node.slots.items():
        if name in ("path", "body", "cases", "default"):
            continue
        parts.append(f"{name}={shown_value(name, value)}")
    return f"  {' '.join(parts)[:100]}" if parts else ""


def receipt_tree(receipt: Receipt, output: Output, *, full: bool) -> Iterable[str]:
    """A receipt by phase: what became of each node, and what could not be taken back."""
    members: dict[str, list[NodeRun]] = {}
    for run in receipt.nodes:
        members.setdefault(receipt.order.nodes[run.node].phase, []).append(run)
    for phase, runs in members.items():
        yield f"  {output.style(phase, 'head')}  {_statuses(runs)}"
        shown = runs if full else _worth_showing(runs)
        for run in shown:
            icon, style = ICONS.get(run.status, ("·", "dim"))
            item = f"[{'.'.join(map(str, run.scope))}]" if run.scope else ""
            why = f"  {output.style(run.error or run.reason, 'dim')}" if run.error or run.reason else ""
            yield f"    {output.style(icon, style)} {local(receipt.order.nodes[run.node].id, phase)}{item}{why}"
        if len(shown) < len(runs):
            yield output.style(f"    … and {len(runs) - len(shown):,} more (--full shows all)", "dim")
    for entry in receipt.rollback:
        if entry.status != "done":
            yield f"  {output.style('!', 'warn')} {entry.id} was not taken back: {entry.error or entry.status}"


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
