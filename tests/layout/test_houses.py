"""The one import root, and the runtime on a machine that has nothing but its own needs."""

import os
import sys
from pathlib import Path

import pytest

from layout.apply_with import apply_with

ROOT = Path(__file__).parents[2]
HOUSES = ("schemas", "stdlib", "compiler", "runtime", "tree", "review", "services", "cli")
ABSENT = ("starlark", "lark", "click", "rich", "requisition.compiler", "requisition.services", "requisition.cli")

ON_A_BARE_HOST = f"""
import importlib, pkgutil, sys
for name in {ABSENT!r}:
    sys.modules[name] = None  # importing it raises ImportError
import requisition.runtime
for found in pkgutil.walk_packages(requisition.runtime.__path__, "requisition.runtime."):
    if not found.name.endswith("__main__"):
        importlib.import_module(found.name)
sys.argv = ["plan-runtime"]
from requisition.runtime.__main__ import main
sys.exit(main())
"""


@pytest.mark.parametrize("house", HOUSES)
def test_a_house_holds_exactly_one_package_and_no_init_that_would_hide_the_others(house: str) -> None:
    entries = [e.name for e in (ROOT / house / "requisition").iterdir() if e.name != "__pycache__"]
    assert entries == [house]


@pytest.mark.parametrize("house", HOUSES)
def test_a_house_tells_type_checkers_that_it_is_typed(house: str) -> None:
    assert (ROOT / house / "requisition" / house / "py.typed").is_file()


def test_the_runtime_applies_an_order_where_starlark_lark_click_compiler_and_cli_are_missing(tmp_path: Path) -> None:
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    answer = apply_with([sys.executable, "-c", ON_A_BARE_HOST], tmp_path, env)
    assert answer.status == "done", answer.stderr + answer.text
    assert (tmp_path / "root/etc/greeting").read_text() == "hello\n"
    assert (tmp_path / "root/etc/copied").read_text() == "copied\n"
