"""What only happens where a person sits: the plan first, a question, colour, a passphrase."""

import os
import sys
from pathlib import Path

import pytest

from support.orders import OrderBuilder
from support.terminal import converse

PLAN = str(Path(sys.executable).with_name("plan"))


@pytest.fixture
def order(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    builder = OrderBuilder(tmp_path / "package", tmp_path / "root")
    builder.node("file.write", path="/greeting", content="hello\n")
    return builder.write()


def environment(home: Path, **more: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(home), "REQUISITION_STATE": f"{home}/state", "TERM": "xterm"} | more


def apply(order: Path, answer: str, home: Path, **more: str) -> tuple[str, int]:
    argv = [PLAN, "apply", str(order), "--allow-unsigned"]
    return converse(argv, {"Apply this?": answer}, environment(home, **more), home)


def test_on_a_terminal_the_plan_is_shown_and_a_no_changes_nothing(order: Path, tmp_path: Path) -> None:
    seen, code = apply(order, "n", tmp_path)
    assert "1 node would change" in seen
    assert code == 1
    assert not (tmp_path / "root/greeting").exists()
    assert not list((tmp_path / "state/runs").iterdir())


def test_on_a_terminal_a_yes_applies(order: Path, tmp_path: Path) -> None:
    seen, code = apply(order, "y", tmp_path)
    assert code == 0
    assert "Done in" in seen
    assert (tmp_path / "root/greeting").read_text() == "hello\n"


def test_a_terminal_gets_colour_and_no_color_takes_it_away(order: Path, tmp_path: Path) -> None:
    assert "\x1b[32m" in apply(order, "n", tmp_path)[0]
    assert "\x1b" not in apply(order, "n", tmp_path, NO_COLOR="1")[0]


def test_a_rollback_names_the_run_and_asks(order: Path, tmp_path: Path) -> None:
    apply(order, "y", tmp_path)
    seen, code = converse([PLAN, "rollback"], {"Take this run back?": "n"}, environment(tmp_path), tmp_path)
    assert (code, "1 done" in seen) == (1, True)
    assert (tmp_path / "root/greeting").exists()
    _, code = converse([PLAN, "rollback"], {"Take this run back?": "y"}, environment(tmp_path), tmp_path)
    assert code == 0
    assert not (tmp_path / "root/greeting").exists()


def test_a_key_with_a_passphrase_signs_when_it_is_given(order: Path, tmp_path: Path) -> None:
    env = environment(tmp_path)
    asked = {"new passphrase:": "correct horse", "Repeat for confirmation:": "correct horse"}
    seen, code = converse([PLAN, "key", "new", "me", "--passphrase"], asked, env, tmp_path)
    assert code == 0, seen
    sign = [PLAN, "sign", str(order), "--key", "me"]
    seen, code = converse(sign, {"passphrase of": "wrong"}, env, tmp_path)
    assert (code, "cannot be opened" in seen) == (4, True)
    seen, code = converse(sign, {"passphrase of": "correct horse"}, env, tmp_path)
    assert code == 0, seen
    assert "correct horse" not in seen
