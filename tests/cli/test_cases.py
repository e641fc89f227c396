"""Every script of `cases/`, against the real command. A new case is a new file there: see support/script.py."""

from pathlib import Path

import pytest

from support import script

CASES = sorted(Path(__file__).with_name("cases").glob("*.txt"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_the_command_prints_what_the_script_says(case: Path, tmp_path: Path) -> None:
    if wrong := script.run(script.parse(case.read_text(encoding="utf-8")), tmp_path):
        pytest.fail(f"{case.name} {wrong}", pytrace=False)


@pytest.mark.parametrize("text", ["$ echo one\ntwo\n", "$ printf 'one\\ntwo\\n'\none\n", "$ exit 3\n", "$ true\none\n"])
def test_a_script_that_expects_something_else_fails(text: str, tmp_path: Path) -> None:
    assert script.run(script.parse(text), tmp_path)
