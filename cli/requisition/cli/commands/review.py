"""`plan show` and `graph`: reading an order before it runs, and a receipt after."""

from collections.abc import Iterator

import click

from requisition.cli.drawing import counted, tally
from requisition.cli.output import Output, to_dict
from requisition.cli.trees import order_tree, receipt_tree
from requisition.review.risks import risks
from requisition.schemas import orderfile
from requisition.schemas.diagnostic import Failure
from requisition.schemas.document import Order
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
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option(
    "--format", "form", type=click.Choice(["mermaid", "dot", "svg"]), default="mermaid", help="What to print."
)
def graph(file: str, form: str) -> None:
    """Draw the nodes of an order."""
    from requisition.cli.graphs import FORMS

    click.echo(FORMS[form](orderfile.decode_order(orderfile.read(file))))
