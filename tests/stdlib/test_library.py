"""`@std//`: each file gives the order it always gave, is documented, and refuses what it cannot mean."""

import ast
import os
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from requisition.compiler import build, check
from requisition.schemas.diagnostic import BadInput
from support.golden_library import FOLDER, write
from support.packages import request

TOP = Path(__file__).parents[2]
SCRIPTS = sorted(
    path.relative_to(TOP) for part in ("stdlib", "tests/stdlib", "examples") for path in (TOP / part).rglob("*.star")
)
BUILDIFIER = shutil.which("buildifier", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
LIBRARY = {one.name.removesuffix(".star"): one for one in files("requisition.stdlib").joinpath("star").iterdir()}


@pytest.mark.parametrize("name", sorted(LIBRARY))
def test_a_library_gives_the_order_it_always_gave(name, tmp_path):
    write(name, tmp_path / "order.yaml")
    assert (tmp_path / "order.yaml").read_text() == (FOLDER / f"{name}.yaml").read_text()


@pytest.mark.parametrize("name", sorted(LIBRARY))
def test_a_library_and_what_uses_it_pass_the_check(name):
    assert check(request(FOLDER / f"{name}.star")) == ()


@pytest.mark.parametrize("name", sorted(LIBRARY))
def test_a_library_and_its_public_functions_say_what_they_are_for(name):
    tree = ast.parse(LIBRARY[name].read_text())  # this much of Starlark is Python
    assert "load(" in ast.get_docstring(tree)
    public = [one for one in tree.body if isinstance(one, ast.FunctionDef) and not one.name.startswith("_")]
    assert public
    assert [one.name for one in public if not ast.get_docstring(one)] == []


@pytest.mark.skipif(BUILDIFIER is None, reason="buildifier is an npm package: @bazel/buildifier")
@pytest.mark.parametrize("path", SCRIPTS, ids=str)
def test_starlark_is_in_the_formatters_form(path):
    done = subprocess.run(
        [BUILDIFIER, "-type=default", "-mode=diff", "-lint=off", path], cwd=TOP, capture_output=True, check=False
    )
    assert done.stdout == b"", done.stdout.decode()


REFUSED = {
    "a role's name that is SQL": ('load("@std//postgres.star", "role")', 'role("a\\"; DROP")', "is no name of a role"),
    "an attribute that is SQL": ('load("@std//postgres.star", "role")', 'role("a", may = ["x; y"])', "no attribute"),
    "a password in clear": ('load("@std//postgres.star", "role")', 'role("a", password = "x")', "must be a plan.secret"),
    "a directive in a server's name": (
        'load("@std//nginx.star", "static")', 'static("a", ["x; root /"], folder = "/srv")', "cannot stand in"
    ),
    "a site outside of its folder": (
        'load("@std//nginx.star", "static")', 'static("../a", ["x"], folder = "/srv")', "is no file name"
    ),
    "a certificate without its key": (
        'load("@std//nginx.star", "static")', 'static("a", ["x"], folder = "/srv", certificate = "/c")', "and its key"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_library_refuses_what_would_escape_its_file(case, tmp_path):
    load, call, words = REFUSED[case]
    (tmp_path / "a.star").write_text(f"{load}\ndef install(package, phase):\n    {call}\n")
    with pytest.raises(BadInput, match=words) as found:
        build(request(tmp_path / "a.star"))
    assert "a.star:3" in str(found.value)
