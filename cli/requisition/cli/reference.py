"""docs/commands.md, from the commands themselves: `python -m requisition.cli.reference FILE` writes it."""

import sys
from collections.abc import Iterator

import click

from requisition.cli.main import COMMANDS, EPILOG, cli, common_options

_HEAD = """# Commands

Written by `make docs-commands` from the commands' own help; a test fails when the two differ.

Every command also takes:

"""


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command by its full name, `key new`, in the order of `plan --help`; groups before their members."""
    context = click.Context(cli)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        yield name, command
        if isinstance(command, click.Group):
            yield from ((f"{name} {inner}", command.commands[inner]) for inner in command.commands)


def document() -> str:
    """The whole page."""
    context = click.Context(cli, info_name="plan")
    common = {option.name for option in common_options()}
    codes = EPILOG.replace("\b\n", "").rstrip().splitlines()
    parts = [
        _HEAD,
        *_rows(context, common_options()),
        "\n",
        f"{codes[0]}\n\n",
        *(f"    {c.strip()}\n" for c in codes[1:]),
    ]
    for name, command in commands():
        parts.append(f"\n## plan {name}\n\n{_text(command)}\n")
        usage = " ".join(command.collect_usage_pieces(context))
        parts.append(f"\n    plan {name} {usage}\n")
        options = [p for p in command.params if isinstance(p, click.Option) and p.name not in common]
        if options:
            parts += ["\n", *_rows(context, options)]
    return "".join(parts)


def _text(command: click.Command) -> str:
    """The help, each paragraph on a line of its own."""
    paragraphs = (command.help or "").replace("\b", "").split("\n\n")
    return "\n\n".join(" ".join(one.split()) for one in paragraphs)


def _rows(context: click.Context, options: list[click.Option]) -> Iterator[str]:
    yield "| option | meaning |\n|---|---|\n"
    for option in options:
        record = option.get_help_record(context)
        if record is not None:
            name, meaning = (text.replace("|", "\\|") for text in record)
            yield f"| `{name}` | {' '.join(meaning.split())} |\n"


if __name__ == "__main__":
    with open(sys.argv[1], "w", encoding="utf-8") as page:
        page.write(document())
