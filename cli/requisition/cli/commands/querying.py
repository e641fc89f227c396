"""`plan query`: questions to the graph of an order, or of a receipt."""

import click

from requisition.cli.output import Output


@click.command()
@click.argument("expr")
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option(
    "--format",
    "form",
    type=click.Choice(["list", "json", "dot"]),
    default="list",
    help="A node a line (levels with a blank line between them), a document, or a drawing.",
)
@click.pass_obj
def query(output: Output, /, expr: str, file: str, *, form: str) -> None:
    """Ask the graph of FILE, an order or a receipt.

    \b
    deps(X) rdeps(X) deps(X, STEPS)   what X needs, and what needs X
    somepath(A, B) allpaths(A, B)     from A to B, which it needs
    kind("file.*") phase(install) location("x.star") attr(slot, "pattern")
    status(failed) risk(shell)        of a receipt; what plan show warns of
    critical_path() levels() roots() leaves()
    A union B, A intersect B, A except B; also + & -

    A node is named by its id or the end of it, such as /etc/web.conf, or by a pattern.
    """
    from requisition.review.answer import answer, as_document, part
    from requisition.review.values import visible_lines
    from requisition.schemas import orderfile

    sealed = orderfile.read(file)
    sealed.close()
    document = orderfile.decode(sealed)
    found, view = answer(expr, document)
    if output.as_json or form == "json":
        output.json(as_document(expr, document, found, view))
    elif form == "dot":
        from requisition.cli.graphs import dot

        output.result(dot(part(document, found, view)))
    elif found.members:
        groups = (visible_lines([view.ids[number] for number in group]) for group in found.told)
        output.result("\n\n".join(groups))
    elif not output.quiet:
        click.echo("no nodes", err=True)  # so that the output itself is empty, for scripts
