"""The table of commands against the commands, their help, the documents generated from them, and what
`plan --help` may load."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from requisition.cli.main import COMMANDS, EPILOG, cli
from requisition.cli.manual import PAGES
from requisition.runtime.frames import EXIT_CODES

ROOT = Path(__file__).parents[2]
CONTEXT = click.Context(cli, info_name="plan")


def every_command(command: click.Command, name: str = "plan") -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        for inner in command.list_commands(CONTEXT):
            found = command.get_command(CONTEXT, inner)
            assert found is not None
            yield from every_command(found, f"{name} {inner}")


ALL = dict(every_command(cli))


@pytest.mark.parametrize("name", ALL)
def test_every_command_and_option_has_help(name: str) -> None:
    command = ALL[name]
    assert command.help, name
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.opts}"
            assert parameter.help.endswith((".", "]", ")")), f"{name} {parameter.opts}: not a sentence"


@pytest.mark.parametrize("name", ALL)
def test_every_command_takes_the_common_options(name: str) -> None:
    given = {option for parameter in ALL[name].params for option in parameter.opts}
    assert {"--json", "--quiet", "--color", "--state"} <= given


@pytest.mark.parametrize("name", COMMANDS)
def test_the_table_says_what_the_command_says_of_itself(name: str) -> None:
    assert COMMANDS[name][1].endswith(".")
    assert ALL[f"plan {name}"].name == name


def test_the_exit_codes_of_the_protocol_are_in_the_help() -> None:
    for code in EXIT_CODES.values():
        assert f"\n  {code}  " in EPILOG


@pytest.mark.parametrize("page", PAGES)
def test_a_page_of_reference_is_what_the_code_says(page: str) -> None:
    written = (ROOT / "docs" / page).read_text("utf-8")
    assert written == PAGES[page](), "run: make docs-reference"


def test_help_loads_no_house_but_its_own_and_nothing_slow() -> None:
    code = (
        "import sys; sys.argv = ['plan', '--help']\n"
        "from requisition.cli.main import main\n"
        "main()\n"
        "print(*sorted(sys.modules), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    assert "Usage: plan" in done.stdout
    slow = ("cryptography", "jinja2", "yaml", "lark", "starlark", "securesystemslib", "importlib.metadata", "asyncio")
    houses = ("requisition.compiler", "requisition.stdlib", "requisition.runtime")
    assert not loaded & {*slow, *houses}
