"""Every script of `cases/`, against the real command. A new case is a new file there."""

from pathlib import Path

import pytest

from support import script

CASES = sorted(Path(__file__).with_name("cases").glob("*.txt"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_the_command_prints_what_the_script_says(case: Path, tmp_path: Path) -> None:
    wrong = script.run(script.parse(case.read_text(encoding="utf-8")), tmp_path)
    assert not wrong, f"{case.name} " + "\n".join(wrong)


def test_a_script_that_expects_something_else_fails(tmp_path: Path) -> None:
    assert script.run(script.parse("$ echo one\ntwo\n"), tmp_path)


def test_a_step_that_prints_more_than_the_script_says_fails(tmp_path: Path) -> None:
    assert script.run(script.parse("$ printf 'one\\ntwo\\n'\none\n"), tmp_path)


def test_an_exit_code_that_the_script_does_not_name_fails(tmp_path: Path) -> None:
    assert script.run(script.parse("$ exit 3\n"), tmp_path)
