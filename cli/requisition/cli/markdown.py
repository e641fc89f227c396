"""A difference between two orders as a comment on a pull request, in the Markdown of GitHub and GitLab.

Names and contents come from orders that nobody may have reviewed yet: they stand in code spans and fences that they
cannot end, so that they neither format, link, mention anyone, nor hide anything. A comment holds 65,536 characters at
most; a section has so many items, and what does not fit is counted.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

from requisition.cli.differing import counts, sizes
from requisition.review.difference import Difference, FieldChange, NodeChange, SideLine
from requisition.review.signatures import Standing
from requisition.review.values import visible

LIMIT = 60_000
SECTION = 100
_FENCE = re.compile(r"`+")


def comment(found: Difference) -> str:
    """The whole comment."""
    blocks = [_head(found)]
    blocks += _block("Look at", [f"{code(one.node)} {code(one.text)}" for one in found.new_risks], shown=True)
    blocks += _block("The order", [_becomes(one) for one in [*found.order]], shown=True)
    blocks += _block("Phases", [_phase(one.id, one.change, one.fields, one.after) for one in found.phases], shown=True)
    blocks += _block("Removed", [_line(one.id, one.location) for one in found.removed], shown=True)
    blocks += _block("Added", [_line(one.id, one.location) for one in found.added], shown=True)
    blocks += _block("Changed", ["\n".join(_node(one)) for one in found.changed], shown=True)
    blocks += _block("Inputs", [f"{code(one.path)} {sizes(one)}\n\n{_fenced(one.diff, 1)}" for one in found.inputs])
    blocks += _block("Runs", [f"{code(one.id)} {one.before} → {one.after}" for one in found.statuses])
    return "\n".join(_fitting(blocks)) + "\n"


def code(text: str) -> str:
    """Text as it is, in a code span of CommonMark (6.1) that it cannot end."""
    shown = visible(text) or " "
    ticks = "`" * (1 + max(map(len, _FENCE.findall(shown)), default=0))
    pad = " " if shown.startswith(("`", " ")) or shown.endswith(("`", " ")) else ""
    return f"{ticks}{pad}{shown}{pad}{ticks}"


def fence(text: str) -> str:
    """Text as a fenced block (CommonMark 4.5) that it cannot end."""
    lines = ["\t".join(map(visible, line.split("\t"))) for line in text.splitlines()]
    ticks = "`" * max(3, 1 + max((len(run) for line in lines for run in _FENCE.findall(line)), default=0))
    return "\n".join([f"{ticks}diff", *lines, ticks])


def _head(found: Difference) -> str:
    lines = [f"### {code(found.b.document)}", "", f"**{counts(found)}**, from {_side(found.a)} to {_side(found.b)}", ""]
    return "\n".join([*lines, *_standing(found.b.standing)])


def _standing(found: Standing | None) -> Iterator[str]:
    """A line for each signature, and one for what they come to."""
    if found is None:
        return
    for one in found.signatures:
        icon = "✅" if one.counts else "❌"
        yield f"- {icon} {one.method} {code(one.signer or one.keyid)}" + (f" {code(one.why)}" if one.why else "")
    words = {"trusted": "✅ trusted", "untrusted": "❌ not trusted"}.get(found.state, "⚠️ not checked")
    yield f"- {words}" + (f": {code(found.why)}" if found.why else "")
    yield ""


def _side(side: SideLine) -> str:
    return code(side.checksum.removeprefix("sha256:")[:12] if side.checksum else side.name)


def _block(title: str, items: Sequence[str], *, shown: bool = False) -> list[str]:
    """A section that folds, one string an item; open where a reviewer must look anyway."""
    if not items:
        return []
    head = f"<details{' open' if shown else ''}><summary>{title} ({len(items):,})</summary>\n"
    rest = [f"- {_more(len(items) - SECTION)}"] if len(items) > SECTION else []
    return [head, *(f"- {item}" for item in items[:SECTION]), *rest, "\n</details>\n"]


def _more(count: int) -> str:
    return f"… and {count:,} more: `plan diff` shows all of it."


def _fitting(blocks: Iterable[str]) -> Iterator[str]:
    """As much as a comment holds; sections that were begun are ended."""
    left, hidden = LIMIT, 0
    for block in blocks:
        frame = not block.startswith("- ")
        if frame or len(block) < left:
            left -= len(block) + 1
            yield block
        else:
            hidden += 1
    if hidden:
        yield _more(hidden)


def _line(name: str, location: str) -> str:
    return f"{code(name)} {code(location)}" if location else code(name)


def _phase(name: str, change: str, fields: Iterable[FieldChange], after: str) -> str:
    words = f" after {code(after)}" if after else ""
    return f"{code(name)} {change}{words}" + "".join(f"\n  - {_becomes(one)}" for one in fields)


def _node(node: NodeChange) -> Iterator[str]:
    yield _line(node.id, node.location)
    if node.was:
        yield f"  - was {code(node.was)}"
    for field in node.fields:
        yield f"  - {_becomes(field)}"
    for slot in node.slots:
        if slot.diff:
            yield f"  - {code(slot.name)}\n\n{_fenced(slot.diff, 2)}\n"
        else:
            yield f"  - {_becomes(FieldChange(slot.name, slot.before, slot.after))}"
    for path in node.inputs:
        yield f"  - reads {code(path)}, which changed"
    for need in node.waits:
        yield f"  - now waits for {code(need)}"
    for need in node.no_longer_waits:
        yield f"  - no longer waits for {code(need)}"


def _becomes(field: FieldChange) -> str:
    before, after = code(field.before) if field.before else "nothing", code(field.after) if field.after else "nothing"
    return f"{code(field.name)} {before} → {after}"


def _fenced(text: str, depth: int) -> str:
    return "\n".join("  " * depth + line for line in fence(text).split("\n"))
