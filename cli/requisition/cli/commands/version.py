"""`plan version`."""

import click

from requisition.cli.options import speaking
from requisition.cli.terminal import Terminal


@click.command("version")
@speaking
def command(terminal: Terminal) -> None:
    """Print the version.

    Documents name it as their `tool`.
    """
    from requisition.schemas.version import VERSION

    if terminal.json:
        terminal.value({"version": VERSION})
    terminal.answer(VERSION)
