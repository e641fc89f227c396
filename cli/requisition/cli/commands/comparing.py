"""`plan diff`: what two orders mean differently, for a terminal, a program, or a pull request."""

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from requisition.cli.output import Output
from requisition.schemas.diagnostic import BadInput

if TYPE_CHECKING:
    from requisition.review.sides import Side


@click.command()
@click.argument("a")
@click.argument("b")
@click.option("--root", help="Target root of @current. [default: that of the other order]")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "markdown"]),
    default="text",
    help="Lines, a document, or a comment for a pull request.",
)
@click.option("--trust", type=click.Path(dir_okay=False), help="Trust policy. [default: the user's trust.yaml]")
@click.option("--detailed-exitcode", is_flag=True, help="Exit 2 when they differ.")
@click.pass_obj
def diff(
    output: Output, /, a: str, b: str, *, root: str | None, form: str, trust: str | None, detailed_exitcode: bool
) -> int:
    """Say what changes from A to B: nodes, slots, order, phases, inputs, risks.

    A and B are orders or receipts; @current is what stands on a target root, /dev/null an order of nothing.
    """
    from requisition.review.difference import difference
    from requisition.review.signatures import standing
    from requisition.runtime.places import default_trust

    sides = _sides(output, a, b, root)
    try:
        now, policy = datetime.now(UTC), trust or default_trust()
        standings = tuple(standing(side.sealed, policy, now) if side.sealed else None for side in sides)
        found = difference(*sides, (standings[0], standings[1]))
    finally:
        for side in sides:
            side.close()
    if output.as_json or form == "json":
        output.json(found)
    elif form == "markdown":
        from requisition.cli.markdown import comment

        output.result(comment(found).rstrip("\n"))
    elif found.empty:
        output.say(f"{output.style('✓', 'good')} they say the same")
    else:
        from requisition.cli.differing import lines

        output.lines(lines(found, output))
    return 2 if not found.empty and detailed_exitcode else 0


def _sides(output: Output, a: str, b: str, root: str | None) -> "tuple[Side, Side]":
    from requisition.review.sides import CURRENT, NOTHING, current_side, open_side, packages_of

    if a == b == CURRENT:
        raise BadInput.of("one of the two must be an order or receipt", next="plan status shows drift")
    opened = {path: open_side(_existing(path)) for path in (a, b) if path != CURRENT}
    if CURRENT in (a, b):
        (other,) = opened.values()
        target = root or other.order.context.target_root
        if not target or a == NOTHING or b == NOTHING:
            raise BadInput.of("it is not known which target root is meant", next="name it with --root")
        target = os.path.abspath(os.path.expanduser(target))
        opened[CURRENT] = current_side(output.state_dir, target, packages_of(other.order))
    return opened[a], opened[b]


def _existing(path: str) -> str:
    if not os.path.exists(path) or os.path.isdir(path):
        raise BadInput.of("there is no such order or receipt", where=path, next="name a file, or @current")
    return path
