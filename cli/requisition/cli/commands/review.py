"""`plan show`, `diff` and `graph`: reading an order before it runs, and a receipt after."""

from collections.abc import Iterator

import click

from requisition.cli.drawing import counted, tally
from requisition.cli.output import Output, to_dict
from requisition.cli.trees import order_tree, receipt_tree
from requisition.review.risks import risks
from requisition.review.values import shown_value
from requisition.schemas import orderfile
from requisition.schemas.diagnostic import Failure
from requisition.schemas.document import Node, Order
from requisition.schemas.orderfile import Sealed
from requisition.schemas.receipt import Receipt

_SHOWN_RISKS = 20


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option("--full", is_flag=True, help="Show every node.")
@click.pass_obj
def show(output: Output, /, file: str, *, full: bool) -> None:
    """Show what an order will do, or what a receipt says was done."""
    show_file(output, file, full=full)


def show_file(output: Output, file: str, *, full: bool) -> None:
    """Draw one document."""
    sealed = orderfile.read(file)
    document = orderfile.decode(sealed)
    if output.as_json:
        output.json({"type": sealed.kind, "document": to_dict(document)})
        return
    order = document.order if isinstance(document, Receipt) else document
    output.result(f"{output.style(document.name, 'head')}  {orderfile.checksum_of(sealed, document)}")
    if isinstance(document, Receipt):
        _receipt(output, document)
    _header(output, order)
    for line in _signatures(output, sealed):
        output.result(f"  {line}")
    tree = (
        receipt_tree(document, output, full=full)
        if isinstance(document, Receipt)
        else order_tree(order, output, full=full)
    )
    for line in tree:
        output.result(line)
    for collision in order.collisions:
        winner, loser = collision.winner, collision.loser
        output.result(f"  {output.style('collision', 'warn')} {collision.target}: {winner.path} wins over {loser.path}")
    notes = risks(order)
    for note in notes[:_SHOWN_RISKS]:
        output.result(f"  {output.style('look', 'warn')} {note.node} {note.text}")
    if len(notes) > _SHOWN_RISKS:
        output.result(output.style(f"  … and {len(notes) - _SHOWN_RISKS} more to look at", "dim"))


def _header(output: Output, order: Order) -> None:
    context, platform = order.context, order.platform
    place = "/".join(part for part in (platform.os, platform.distro, platform.arch) if part)
    size = f"{counted(len(order.nodes), 'node')}, {counted(len(order.inputs), 'input')}"
    package = f"{context.package} {context.package_version}".rstrip()
    root = f"on {output.style(context.target_root, 'path')}" if context.target_root else "on any root"
    output.result(f"  {package} for {place}, {root}, serial {order.serial}, {size}")
    if context.hosts:
        output.result(f"  only on {', '.join(context.hosts)}")
    if order.expires:
        output.result(f"  until {order.expires}")
    if context.features:
        output.result(f"  with {', '.join(context.features)}")
    for secret in order.secrets:
        output.result(f"  needs the secret {secret.name}  {output.style(secret.doc, 'dim')}")


def _signatures(output: Output, sealed: Sealed) -> Iterator[str]:
    """Each signature; of an order's also whether it counts here. A receipt has that of its host, which approves
    nothing."""
    if not sealed.signatures:
        yield output.style("not signed", "warn")
    standing = _standing(sealed) if sealed.kind == "order" else [""] * len(sealed.signatures)
    for signature, words in zip(sealed.signatures, standing, strict=True):
        yield f"signature {signature.method}  {output.style(signature.keyid, 'dim')}  {words}".rstrip()


def _standing(sealed: Sealed) -> list[str]:
    from datetime import UTC, datetime

    from requisition.runtime.places import default_trust
    from requisition.runtime.trust import judge
    from requisition.schemas.trustfile import load_trust

    path, signatures = default_trust(), sealed.signatures
    if not path:
        return ["not checked: there is no trust policy here"] * len(signatures)
    try:
        verdict = judge(sealed.payload_type, sealed.payload, signatures, load_trust(path), datetime.now(UTC))
    except Failure as failure:
        return [f"not checked: {failure.diagnostics[0].what}"] * len(signatures)
    return [f"{one.signer}: {one.why}".removeprefix(": ") for one in verdict.signatures]


def _receipt(output: Output, receipt: Receipt) -> None:
    style = "good" if receipt.state == "executed" else "warn" if receipt.state == "rolled_back" else "bad"
    state = output.style(receipt.state.replace("_", " "), style)
    output.result(f"  {state}, {receipt.outcome}: {tally(receipt.summary)}")
    output.result(f"  run {receipt.run_id} on {receipt.host}, {receipt.started} to {receipt.finished}")
    if receipt.elevated is not None:
        output.result(f"  as root: run {receipt.elevated.run_id}, receipt {receipt.elevated.receipt}")
    for one in receipt.admitted:
        output.result(f"  admitted on the signature of {one.signer or one.keyid}")


@click.command()
@click.argument("a", type=click.Path(exists=True, dir_okay=False))
@click.argument("b", type=click.Path(exists=True, dir_okay=False))
@click.option("--detailed-exitcode", is_flag=True, help="Exit 2 when they differ.")
@click.pass_obj
def diff(output: Output, /, a: str, b: str, *, detailed_exitcode: bool) -> int:
    """Compare two orders or receipts: nodes, slots, inputs, phases."""
    lines = list(differences(_order(a), _order(b)))
    for kind, text in lines:
        if output.as_json:
            output.json({"kind": kind, "text": text})
            continue
        icon, style = {"added": ("+", "good"), "removed": ("-", "bad"), "changed": ("~", "warn")}[kind]
        output.result(f"{output.style(icon, style)} {text}")
    if not lines:
        output.say(f"{output.style('✓', 'good')} they say the same")
    return 2 if lines and detailed_exitcode else 0


def _order(file: str) -> Order:
    return orderfile.decode_order(orderfile.read(file))


def differences(a: Order, b: Order) -> list[tuple[str, str]]:
    """(added|removed|changed, what), in the order in which a reader wants them."""
    found: list[tuple[str, str]] = []
    for name in ("package", "package_version", "target_root", "features", "settings", "hosts", "layers"):
        before, after = getattr(a.context, name), getattr(b.context, name)
        if before != after:
            found.append(("changed", f"{name}: {before} becomes {after}"))
    for name in ("serial", "expires", "platform"):
        before, after = getattr(a, name), getattr(b, name)
        if before != after:
            found.append(("changed", f"{name}: {before} becomes {after}"))
    if [phase.id for phase in a.phases] != [phase.id for phase in b.phases]:
        found.append(("changed", f"phases: {[p.id for p in a.phases]} becomes {[p.id for p in b.phases]}"))
    old, new = {n.id: n for n in a.nodes}, {n.id: n for n in b.nodes}
    found += [("removed", f"{name}  {old[name].location}") for name in old if name not in new]
    found += [("added", f"{name}  {new[name].location}") for name in new if name not in old]
    for name in old:
        if name in new:
            found += [("changed", f"{name}: {text}") for text in _node_changes(old[name], new[name])]
    before_inputs, after_inputs = ({i.path: i.sha256 for i in order.inputs} for order in (a, b))
    for path in sorted(before_inputs.keys() | after_inputs.keys()):
        was, now = before_inputs.get(path, "absent")[:12], after_inputs.get(path, "absent")[:12]
        if was != now:
            found.append(("changed", f"input {path}: {was} becomes {now}"))
    return found


def _node_changes(old: Node, new: Node) -> list[str]:
    changes = []
    for name in sorted(old.slots.keys() | new.slots.keys()):
        before, after = old.slots.get(name), new.slots.get(name)
        if before != after:
            shown = [shown_value(name, value) if value is not None else "unset" for value in (before, after)]
            changes.append(f"{name}: {shown[0]} becomes {shown[1]}")
    for field in ("action", "needs", "retry", "on_conflict", "elevate"):
        was, now = getattr(old, field), getattr(new, field)
        if was != now:
            changes.append(f"{field}: {was} becomes {now}")
    return changes


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option(
    "--format", "form", type=click.Choice(["mermaid", "dot", "svg"]), default="mermaid", help="What to print."
)
def graph(file: str, form: str) -> None:
    """Draw the nodes of an order."""
    from requisition.cli.graphs import FORMS

    click.echo(FORMS[form](_order(file)))
