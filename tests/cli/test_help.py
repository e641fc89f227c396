"""Every command and option explains itself, and asking for help costs nothing."""

import subprocess
import sys
from pathlib import Path

import click
import pytest

from requisition.cli.main import COMMANDS
from requisition.cli.reference import commands, document

PAGE = Path(__file__).parents[2] / "docs/commands.md"
ALL = dict(commands())
HEAVY = ("cryptography", "jinja2", "lark", "requisition.compiler", "rich", "securesystemslib", "starlark", "yaml")


@pytest.mark.parametrize("name", ALL)
def test_a_command_says_what_it_is_for(name: str) -> None:
    assert ALL[name].help


@pytest.mark.parametrize("name", ALL)
def test_every_option_of_a_command_has_help(name: str) -> None:
    options = [one for one in ALL[name].params if isinstance(one, click.Option)]
    assert [one.opts for one in options if not one.help] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_the_line_in_the_table_of_commands_is_how_the_command_begins_its_own_help(name: str) -> None:
    assert (ALL[name].help or "").startswith(COMMANDS[name][1].rstrip("."))


def test_the_page_of_commands_is_what_the_commands_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == document(), "make docs-commands writes it again"


@pytest.mark.parametrize("arguments", [["--help"], ["version"], ["recover"]], ids=" ".join)
def test_a_light_command_loads_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    program = (
        f"import sys; sys.argv = ['plan', '--state', {str(tmp_path)!r}, *{arguments!r}]\n"
        "from requisition.cli.main import main; main()\n"
        f"print('LOADED', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "LOADED []"
