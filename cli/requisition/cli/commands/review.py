"""`plan show` and `graph`: reading an order before it runs, and a receipt after."""

from collections.abc import Iterator
from datetime import UTC, datetime

import click

from requisition.cli.drawing import counted, tally
from requisition.cli.output import Output
from requisition.cli.trees import order_tree, receipt_tree
from requisition.review.risks import WORDS, counted_risks
from requisition.review.signatures import Standing
from requisition.review.summary import Shown, ShownReceipt, summary
from requisition.review.values import visible
from requisition.runtime.places import default_trust
from requisition.schemas import orderfile
from requisition.schemas.document import Order
from requisition.schemas.receipt import Receipt

_SHOWN_RISKS = 20
_SHOWN_NODES = 3
_SHOWN_ACTIONS = 8


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option("--full", is_flag=True, help="Show every node.")
@click.option("--textconv", is_flag=True, help="All of it, and the same on every machine: for git diff.")
@click.pass_obj
def show(output: Output, /, file: str, *, full: bool, textconv: bool) -> None:
    """Show what an order will do, or what a receipt says was done.

    Signs before nodes: + makes, ~ changes, - removes, $ runs a command, ↓ fetches, ▣ packages, ⚙ services,
    @ accounts, ? looks, ƒ computes, ◇ decides what runs.
    """
    show_file(output, file, full=full or textconv, alone=textconv)


def show_file(output: Output, file: str, *, full: bool, alone: bool = False) -> None:
    """Draw one document; `alone`: without what this machine thinks of it."""
    sealed = orderfile.read(file)
    sealed.close()
    shown = summary(sealed, "" if alone else default_trust(), datetime.now(UTC))
    if output.as_json:
        output.json(shown)
    else:
        output.lines(drawn(output, shown, full=full, alone=alone))


def drawn(output: Output, shown: Shown, *, full: bool, alone: bool) -> Iterator[str]:
    """The lines of a document, from what it is to what to look at."""
    document, order = shown.document, orderfile.order_of(shown.document)
    yield f"{output.style(document.name, 'head')}  {shown.checksum}"
    if isinstance(document, Receipt):
        yield from _receipt(output, document)
    yield from _header(output, order, "" if alone else shown.stale)
    yield f"  {_actions(shown)}"
    yield from _signatures(output, shown.standing)
    if not alone and not isinstance(shown, ShownReceipt):
        yield f"  {_trust(output, shown.standing)}"
    kinds: dict[str, list[str]] = {}
    for risk in shown.risks:
        kinds.setdefault(risk.node, []).append(risk.kind)
    if isinstance(document, Receipt):
        yield from receipt_tree(document, output, full=full)
    else:
        yield from order_tree(order, output, kinds, full=full)
    for one in order.collisions:
        winner, loser = visible(one.winner.path), visible(one.loser.path)
        yield f"  {output.style('collision', 'warn')} {visible(one.target)}: {winner} wins over {loser}"
    yield from _risks(output, shown, full=full)


def _risks(output: Output, shown: Shown, *, full: bool) -> Iterator[str]:
    """What to look at, the gravest first; what is said of many nodes once, and of too much how much of each kind."""
    of_nodes: dict[str, list[str]] = {}
    for risk in shown.risks:
        of_nodes.setdefault(visible(risk.node), []).append(visible(risk.text))
    groups: dict[str, list[str]] = {}
    for node, texts in of_nodes.items():
        groups.setdefault("; ".join(texts), []).append(node)
    told = []
    for text, nodes in groups.items():
        if len(nodes) > _SHOWN_NODES and not full:
            more = f"and {len(nodes) - _SHOWN_NODES:,} more"
            told.append(f"{len(nodes):,} × {text}: {', '.join(nodes[:_SHOWN_NODES])} {more}")
        else:
            told += [f"{node} {text}" for node in nodes]
    for line in told if full else told[:_SHOWN_RISKS]:
        yield f"  {output.style('look', 'warn')} {line}"
    if len(told) > _SHOWN_RISKS and not full:
        counts = counted_risks(shown.risks).items()
        words = ", ".join(f"{number:,} {WORDS[kind]}" for kind, number in counts)
        yield output.style(f"  … and {len(told) - _SHOWN_RISKS:,} more to look at; in all {words}", "dim")


def _actions(shown: Shown) -> str:
    names = [f"{count:,} {visible(name)}" for name, count in shown.actions.items()]
    rest = sum([*shown.actions.values()][_SHOWN_ACTIONS:])
    return ", ".join(names[:_SHOWN_ACTIONS]) + (f", {rest:,} others" if rest else "") or "nothing to do"


def _signatures(output: Output, found: Standing) -> Iterator[str]:
    """A line for each signature."""
    for one in found.signatures:
        words = f"{one.signer}: {one.why}".removeprefix(": ").removesuffix(": ")
        yield f"  signature {visible(one.method)}  {output.style(visible(one.keyid), 'dim')}  {visible(words)}".rstrip()
    if not found.signatures:
        yield f"  {output.style('not signed', 'warn')}"


def _trust(output: Output, found: Standing) -> str:
    """What the signatures come to, in a line."""
    icon, style, words = {
        "trusted": ("✓", "good", "trusted here"),
        "untrusted": ("!", "bad", "not trusted here"),
    }.get(found.state, ("·", "dim", "trust not checked"))
    return f"{output.style(icon, style)} {words}" + (f": {found.why}" if found.why else "")


def _header(output: Output, order: Order, stale: str) -> Iterator[str]:
    context, platform = order.context, order.platform
    place = visible("/".join(part for part in (platform.os, platform.distro, platform.arch) if part))
    size = f"{counted(len(order.nodes), 'node')}, {counted(len(order.inputs), 'input')}"
    package = visible(f"{context.package} {context.package_version}".rstrip())
    root = f"on {output.style(visible(context.target_root), 'path')}" if context.target_root else "on any root"
    yield f"  {package} for {place}, {root}, serial {order.serial}, {size}"
    if context.hosts:
        yield f"  only on {visible(', '.join(context.hosts))}"
    if order.expires:
        yield f"  until {visible(order.expires)}" + (f"  {output.style(visible(stale), 'bad')}" if stale else "")
    if context.features:
        yield f"  with {visible(', '.join(context.features))}"
    for secret in order.secrets:
        yield f"  needs the secret {visible(secret.name)}  {output.style(visible(secret.doc), 'dim')}"


def _receipt(output: Output, receipt: Receipt) -> Iterator[str]:
    style = "good" if receipt.state == "executed" else "warn" if receipt.state == "rolled_back" else "bad"
    state = output.style(receipt.state.replace("_", " "), style)
    yield f"  {state}, {receipt.outcome}: {visible(tally(receipt.summary))}"
    yield f"  run {visible(f'{receipt.run_id} on {receipt.host}, {receipt.started} to {receipt.finished}')}"
    if receipt.elevated is not None:
        yield f"  as root: {visible(f'run {receipt.elevated.run_id}, receipt {receipt.elevated.receipt}')}"
    for one in receipt.admitted:
        yield f"  admitted on the signature of {visible(one.signer or one.keyid)}"


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option(
    "--format", "form", type=click.Choice(["mermaid", "dot", "svg"]), default="mermaid", help="What to print."
)
def graph(file: str, form: str) -> None:
    """Draw the nodes of an order."""
    from requisition.cli.graphs import FORMS

    click.echo(FORMS[form](orderfile.decode_order(orderfile.read(file))))
