"""docs/commands.md, from the commands themselves: `python -m requisition.cli.manual docs/commands.md`."""

import sys
from collections.abc import Iterator
from copy import copy

import click

from requisition.cli.main import COMMANDS, cli, common_options

WIDTH = 100


def page() -> str:
    """The whole page."""
    root = click.Context(cli, info_name="plan", terminal_width=WIDTH, help_option_names=["-h", "--help"])
    lines = [
        "# Commands",
        "",
        "Made from the commands by `make docs-commands`; `plan COMMAND --help` says the same.",
        "",
    ]
    lines += ["```", cli.get_help(root), "```", ""]
    for name in COMMANDS:
        command = cli.get_command(root, name)
        assert command is not None
        lines += _sections(command, name, root)
    return "\n".join(lines).rstrip() + "\n"


def _sections(command: click.Command, name: str, above: click.Context) -> Iterator[str]:
    """One command; for a group, its commands after it. Common options are told once, at the top."""
    common = {option.name for option in common_options()}
    command = copy(command)
    command.params = [parameter for parameter in command.params if parameter.name not in common]
    context = click.Context(command, info_name=name, parent=above, terminal_width=WIDTH)
    yield from (f"## {context.command_path}", "", "```", command.get_help(context), "```", "")
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            found = command.get_command(context, inner)
            assert found is not None
            yield from _sections(found, inner, context)


if __name__ == "__main__":
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        file.write(page())
