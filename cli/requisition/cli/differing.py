"""A difference between two orders as lines of a terminal."""

from collections.abc import Iterator

from requisition.cli.drawing import counted
from requisition.cli.output import Output
from requisition.review.difference import Difference, FieldChange, NodeChange
from requisition.review.inputs import InputChange
from requisition.review.values import visible

_SHOWN_RISKS = 20
_SIGNS = {"+": "good", "-": "bad", "~": "warn", "→": "path"}
_STYLES = {"+": "good", "-": "bad", "@": "path"}


def lines(found: Difference, output: Output) -> Iterator[str]:
    """All of it: what the orders are for, phases, nodes, inputs, then what is new to look at, and counts."""
    sign = {name: output.style(name, style) for name, style in _SIGNS.items()}
    for field in found.order:
        yield f"{sign['~']} {_becomes(field)}"
    for phase in found.phases:
        icon = {"added": "+", "removed": "-", "reordered": "→"}.get(phase.change, "~")
        moved = [f"runs after {visible(phase.after)}" if phase.after else "runs first"] * (phase.change == "reordered")
        yield f"{sign[icon]} phase {visible(phase.id)}  {'; '.join([*map(_becomes, phase.fields), *moved])}".rstrip()
    for gone in found.removed:
        yield f"{sign['-']} {visible(gone.id)}  {output.style(visible(gone.location), 'dim')}".rstrip()
    for came in found.added:
        yield f"{sign['+']} {visible(came.id)}  {output.style(visible(came.location), 'dim')}".rstrip()
    for node in found.changed:
        yield f"{sign['→' if node.was else '~']} {visible(node.id)}  {output.style(visible(node.location), 'dim')}"
        yield from (f"    {line}" for line in _node(node, output))
    for one in found.inputs:
        yield f"{sign['~']} input {visible(one.path)}  {output.style(sizes(one), 'dim')}"
        yield from diff_lines(one.diff, output)
    for status in found.statuses:
        yield f"{sign['~']} {visible(status.id)}: {status.before} becomes {status.after}"
    for risk in found.new_risks[:_SHOWN_RISKS]:
        yield f"{output.style('look', 'warn')} {visible(risk.node)} {visible(risk.text)}"
    if len(found.new_risks) > _SHOWN_RISKS:
        yield output.style(f"… and {len(found.new_risks) - _SHOWN_RISKS:,} more to look at", "dim")
    yield output.style(counts(found), "head")


def _node(node: NodeChange, output: Output) -> Iterator[str]:
    if node.was:
        yield f"was {visible(node.was)}"
    for field in node.fields:
        yield _becomes(field)
    for slot in node.slots:
        if slot.diff:
            yield f"{slot.name}:"
            yield from diff_lines(slot.diff, output)
        else:
            yield _becomes(FieldChange(slot.name, slot.before, slot.after))
    for path in node.inputs:
        yield f"reads {visible(path)}, which changed"
    for need in node.waits:
        yield f"now waits for {visible(need)}"
    for need in node.no_longer_waits:
        yield f"no longer waits for {visible(need)}"


def _becomes(field: FieldChange) -> str:
    name, before, after = map(visible, (field.name, field.before, field.after))
    if not before:
        return f"{name}: {after} is new"
    return f"{name}: {before} becomes {after}" if after else f"{name}: {before} is gone"


def sizes(one: InputChange) -> str:
    """How large an input was and is, in words."""
    if not one.before:
        return f"new, {one.size_after:,} bytes"
    if not one.after:
        return f"gone, {one.size_before:,} bytes"
    return f"{one.before[:12]} becomes {one.after[:12]}" if one.before != one.after else f"{one.size_after:,} bytes"


def diff_lines(text: str, output: Output) -> Iterator[str]:
    """A diff, coloured and indented. What does not print in it is shown."""
    for line in text.splitlines():
        shown = "\t".join(map(visible, line.split("\t")))
        yield "      " + (output.style(shown, _STYLES[line[0]]) if line[:1] in _STYLES else shown)


def counts(found: Difference) -> str:
    """How much differs, in a line."""
    moved = sum(bool(node.was) for node in found.changed)
    parts = [
        (len(found.added), "node", "added"),
        (len(found.removed), "node", "removed"),
        (len(found.changed) - moved, "node", "changed"),
        (moved, "node", "moved"),
        (len(found.inputs), "input", "changed"),
        (len(found.statuses), "status", "changed"),
    ]
    told = [f"{counted(number, noun)} {verb}" for number, noun, verb in parts if number]
    return ", ".join(told).replace("statuss", "statuses") or "the nodes are the same"
