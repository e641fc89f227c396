"""docs/commands.md, actions.md and library.md, from what they tell of: `python -m requisition.cli.manual docs`."""

import ast
import sys
from collections.abc import Callable, Iterator
from copy import copy
from importlib.resources import files
from inspect import cleandoc
from itertools import groupby
from pathlib import Path
from textwrap import dedent

import click

from requisition.cli.commands.reference import as_written
from requisition.cli.main import COMMANDS, cli, common_options
from requisition.stdlib.catalogue import load
from requisition.stdlib.spec import ActionSpec

WIDTH = 100


def commands() -> str:
    """What `--help` says of every command."""
    root = click.Context(cli, info_name="plan", terminal_width=WIDTH, help_option_names=["-h", "--help"])
    lines = [
        "# Commands",
        "",
        "Made from the commands by `make docs-reference`; `plan COMMAND --help` says the same.",
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


def actions() -> str:
    """What `plan actions NAME` says of every action."""
    lines = [
        "# Actions",
        "",
        "Made from the catalogue by `make docs-reference`; `plan actions NAME` says the same.",
        "",
    ]
    lines += ["Every call also takes `after`, `id`, `retry` and the like: [package.md](package.md#plan).", ""]
    shown = [spec for spec in load().values() if not spec.name.startswith("flow.")]
    for family, specs in groupby(shown, key=lambda spec: spec.name.partition(".")[0]):
        lines += [f"## {family}", ""]
        for spec in specs:
            lines += _action(spec)
    return "\n".join(lines).rstrip() + "\n"


def _action(spec: ActionSpec) -> Iterator[str]:
    yield from (
        f"### plan.{spec.name}",
        "",
        cleandoc(spec.doc) + ("" if spec.compensable else " Not undone by itself."),
        "",
    )
    if spec.slots:
        yield from ("| slot | type | default | |", "|---|---|---|---|")
        for slot in spec.slots:
            default = "required" if slot.required else f"`{as_written(slot.type, slot.default)}`"
            yield f"| `{slot.name}` | {slot.type} | {default} | {_cell(slot.doc)} |"
        yield ""
    if spec.outputs:
        yield "Gives " + "; ".join(f"`{one.name}` ({one.type}): {_cell(one.doc)}" for one in spec.outputs) + "."
        yield ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def library() -> str:
    """What the Starlark files of `@std//` say of themselves and their functions."""
    lines = ["# The library `@std//`", "", "Made from its files by `make docs-reference`.", ""]
    folder = files("requisition.stdlib") / "star"
    for file in sorted(folder.iterdir(), key=lambda one: one.name):
        if file.name.endswith(".star"):
            lines += _starlark(file.name, file.read_text(encoding="utf-8"))
    return "\n".join(lines).rstrip() + "\n"


def _starlark(name: str, text: str) -> Iterator[str]:
    """One file. What Starlark allows there is also Python's syntax."""
    tree = ast.parse(text, name)
    yield from (f"## {name}", "", *_fenced(ast.get_docstring(tree) or ""))
    for one in tree.body:
        if isinstance(one, ast.FunctionDef) and not one.name.startswith("_"):
            yield from ("```python", f"{one.name}({ast.unparse(one.args)})", "```", "")
            yield from (ast.get_docstring(one) or "", "")


def _fenced(text: str) -> Iterator[str]:
    """Text with its indented examples between fences."""
    for example, paragraphs in groupby(text.split("\n\n"), key=lambda paragraph: paragraph.startswith("    ")):
        block = "\n\n".join(paragraphs)
        yield from ("```python", dedent(block), "```", "") if example else (block, "")


PAGES: dict[str, Callable[[], str]] = {"commands.md": commands, "actions.md": actions, "library.md": library}

if __name__ == "__main__":
    for page, made in PAGES.items():
        Path(sys.argv[1], page).write_text(made(), encoding="utf-8")
