"""Events and trees as text. Nothing here decides anything."""

from collections.abc import Iterable

from requisition.cli.output import Output
from requisition.runtime.frames import Event, Result
from requisition.schemas.document import Node, Order
from requisition.schemas.receipt import NodeRun, Receipt

ICONS = {
    "done": ("✓", "good"),
    "unchanged": ("=", "dim"),
    "change": ("~", "warn"),
    "unknown": ("?", "dim"),
    "skipped": ("-", "dim"),
    "failed": ("✗", "bad"),
    "changed": ("~", "warn"),
    "missing": ("-", "bad"),
    "extra": ("+", "warn"),
    "not_compensable": ("!", "warn"),
    "rolled_back": ("↺", "warn"),
    "undo_failed": ("!", "bad"),
}
SHOWN = 12
_MASK = "•••"


def diff_lines(text: str, output: Output) -> str:
    """A unified diff, coloured and indented."""
    lines = []
    for line in text.splitlines():
        style = "good" if line.startswith("+") else "bad" if line.startswith("-") else "dim"
        lines.append("      " + (output.style(line, style) if output.color else line))
    return "\n".join(lines)


class RunDrawing:
    """Draws a run as it goes: a line a phase, a line a node up to SHOWN of them, then counts."""

    def __init__(self, output: Output, *, full: bool = False) -> None:
        self._output = output
        self._full = full
        self._phase = ""
        self._count = 0
        self._hidden = 0
        self.rolled_back = 0

    def __call__(self, event: Event) -> None:
        """One event."""
        if self._output.as_json:
            from requisition.cli.output import to_dict

            self._output.json(to_dict(event))
            return
        draw = getattr(self, f"_draw_{event.kind}", None)
        if draw is not None:
            draw(event)

    def _draw_verified(self, event: Event) -> None:
        names = ", ".join(s["signer"] for s in event.data.get("signatures", ()) if s["counts"])
        text = f"{event.data.get('name', '')}  {event.data.get('checksum', '')[:19]}…"
        self._output.say(f"{self._output.style(text, 'head')}  {'signed by ' + names if names else event.text}")

    def _draw_plan(self, event: Event) -> None:
        data = event.data
        unknown = f", {data['unknown']} decided on the way" if data.get("unknown") else ""
        self._output.say(f"  {data['nodes']} nodes: {data['change']} to change, {data['unchanged']} as wanted{unknown}")

    def _draw_phase(self, event: Event) -> None:
        if event.status == "started":
            self._phase, self._count, self._hidden = event.phase, 0, 0
            self._output.say(f"  {self._output.style(event.phase, 'head')}")
        elif event.status == "retrying":
            self._output.say(f"    {self._output.style('again', 'warn')}")
        elif event.status == "done" and self._hidden:
            self._output.say(self._output.style(f"    … and {self._hidden} more", "dim"))
        elif event.status == "rolled_back":
            self._output.say(f"  {self._output.style('rolling back', 'warn')}: {event.text}")
            self._count = self._hidden = 0

    def _draw_node(self, event: Event) -> None:
        self._line(event, local(event.node, event.phase), event.text)

    def _draw_preview(self, event: Event) -> None:
        if event.phase != self._phase:
            self._phase, self._count = event.phase, 0
            self._output.say(f"  {self._output.style(event.phase, 'head')}")
        self._line(event, local(event.node, event.phase), event.text)
        if event.data.get("diff"):
            self._output.say(diff_lines(event.data["diff"], self._output))

    def _draw_rollback(self, event: Event) -> None:
        self.rolled_back += 1
        if event.status == "done" and not self._full and self.rolled_back > SHOWN:
            return
        icon, style = ("↺", "warn") if event.status == "done" else ICONS[event.status]
        why = "" if event.status == "done" else f"  {event.text}"
        self._output.say(f"    {self._output.style(icon, style)} {event.node or event.phase}{why}")

    def _draw_drift(self, event: Event) -> None:
        if event.status == "diff":
            self._output.say(diff_lines(event.data["diff"], self._output))
            return
        icon, style = ICONS[event.status]
        self._output.result(
            f"  {self._output.style(icon, style)} {event.text}  {self._output.style(event.node, 'dim')}"
        )

    def _draw_warning(self, event: Event) -> None:
        self._output.say(f"  {self._output.style('warning', 'warn')}: {event.text}")

    def _draw_log(self, event: Event) -> None:
        self._output.say(self._output.style(f"      {event.text}", "dim"))

    def _line(self, event: Event, name: str, text: str) -> None:
        self._count += 1
        if self._count > SHOWN and not self._full and event.status not in ("failed", "skipped"):
            self._hidden += 1
            return
        icon, style = ICONS.get(event.status, (" ", "dim"))
        item = f"[{'.'.join(map(str, event.scope))}]" if event.scope else ""
        shown = self._output.style(f"  {text}", "dim") if text else ""
        self._output.say(f"    {self._output.style(icon, style)} {name}{item}{shown}")


def local(node: str, phase: str) -> str:
    """A node's id without its phase."""
    return node.removeprefix(phase + "/")


def summary(result: Result, output: Output) -> None:
    """The last lines of a run."""
    if output.as_json:
        from requisition.cli.output import to_dict

        output.json(to_dict(result))
        return
    output.findings(result.diagnostics)
    counts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in sorted(result.summary.items()) if count)
    if result.status == "changes":
        output.result(f"{output.style('~', 'warn')} would change: {counts.replace(' change', ' nodes')}")
        return
    good = result.status == "done"
    state = str(result.data.get("state", result.status)).replace("_", " ")
    if good and set(result.summary) == {"unchanged"}:
        total = result.summary["unchanged"]
        output.result(f"{output.style('✓', 'good')} Nothing to do: {total} nodes are as wanted.")
    else:
        icon = output.style("✓", "good") if good else output.style("✗", "bad")
        output.result(f"{icon} {state}{': ' + counts if counts else ''}")
    if result.run_id:
        output.say(output.style(f"  receipt {result.run_id}", "dim"))


def order_tree(order: Order, output: Output, *, full: bool) -> Iterable[str]:
    """An order by phase, with what a reviewer should look at."""
    members: dict[str, list[Node]] = {}
    for node in order.nodes:
        members.setdefault(node.phase, []).append(node)
    for phase in order.phases:
        nodes = members.get(phase.id, [])
        extra = f", up to {phase.retry.max_attempts} tries" if phase.retry else ""
        extra += f", compensated by {phase.compensate}" if phase.compensate else ""
        kind = "" if phase.kind == "forward" else f" ({phase.kind})"
        yield f"  {output.style(phase.id, 'head')}{kind}  {len(nodes)} nodes{extra}"
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


def shown_value(name: str, value: object) -> str:
    """A slot value in a line: modes in octal, promises as arrows, secrets masked."""
    if isinstance(value, dict):
        if "$secret" in value:
            return _MASK
        if "$ref" in value:
            return (
                f"→ {value['$ref'].rpartition('/')[2] if ':' not in value['$ref'] else value['$ref'].split('/', 2)[-1]}"
            )
        if "$item" in value:
            return f"item.{value['field']}" if value.get("field") else "item"
        return "{" + ", ".join(f"{key}: {shown_value(key, inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(shown_value("", inner) for inner in value) + "]"
    if name == "mode" and isinstance(value, int):
        return f"{value:04o}"
    return repr(value) if isinstance(value, str) else str(value)


def risks(order: Order) -> list[str]:
    """What deserves a second look, one line each."""
    from requisition.stdlib.catalogue import load

    catalogue = load()
    found = []
    for node in order.nodes:
        spec = catalogue.get(node.action)
        if spec is None:
            found.append(f"{node.id} is an action that this installation does not know")
        elif node.action == "shell.exec":
            shell = " through a shell" if node.slots.get("shell") else ""
            undo = "" if node.slots.get("undo") or node.slots.get("checks_only") else ", and cannot be undone"
            found.append(f"{node.id} runs a command{shell}{undo}")
        elif node.slots.get("insecure_no_digest"):
            found.append(f"{node.id} downloads without a digest")
        if node.elevate:
            found.append(f"{node.id} runs as root")
        if node.on_conflict in ("overwrite", "backup"):
            found.append(f"{node.id} replaces what is in its way ({node.on_conflict})")
    return found


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
    return ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items())


def _worth_showing(runs: list[NodeRun]) -> list[NodeRun]:
    """What went wrong, and the first of the rest, in order."""
    bad = ("failed", "undo_failed")
    first = [run for run in runs if run.status not in (*bad, "unchanged")][:SHOWN]
    chosen = {id(run) for run in first}
    return [run for run in runs if run.status in bad or id(run) in chosen]
