"""What passes the scan does not kill Starlark's recursive parser; each shape that does is seen by the scan."""

import subprocess
import sys
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from requisition.compiler.nesting import nesting_depth
from requisition.compiler.scripts import MAX_DEPTH

DEADLY = 12_000
Shape = Callable[[int], str]
SHAPES: dict[str, Shape] = {
    "brackets": lambda n: "x = " + "[" * n + "]" * n,
    "open brackets": lambda n: "x = " + "[" * n,
    "dicts": lambda n: "x = " + "{1:" * n + "1" + "}" * n,
    "lambda": lambda n: "x = " + "lambda:" * n + "1",
    "lambda of two": lambda n: "x = " + "lambda a, b: " * n + "1",
    "lambda in defaults": lambda n: "x = " + "lambda a, b=" * n + "1" + ": 1" * n,
    "not": lambda n: "x = " + "not " * n + "1",
    "minus": lambda n: "x = " + "- " * n + "1",
    "plus": lambda n: "x = " + "1+" * n + "1",
    "plus over lines": lambda n: "x = (" + "1 +\n" * n + "1)",
    "plus over joined lines": lambda n: "x = " + "1 + \\\n" * n + "1",
    "and": lambda n: "x = " + "1 and " * n + "1",
    "or": lambda n: "x = " + "1 or " * n + "1",
    "attributes": lambda n: "x = a" + ".b" * n,
    "calls": lambda n: "x = a" + "()" * n,
    "calls with elements": lambda n: "x = a" + "(1, 2)" * n,
    "indexes": lambda n: "x = a" + "[0]" * n,
    "ternaries": lambda n: "x = " + "1 if 1 else " * n + "1",
    "elif": lambda n: "if 1:\n  pass\n" + "elif 1:\n  pass\n" * n,
    "elif in a block": lambda n: "if 1:\n if 1:\n  pass\n" + " elif 1:\n  pass\n\n" * n,
    "types": lambda n: "def f(x: " + "list[" * n + "int" + "]" * n + "): pass",
    "operators in every bracket": lambda n: "x = " + "[" * (n // 50) + "1" + ("+1" * 50 + "]") * (n // 50),
    "operators after every bracket": lambda n: "x = " + "(" * (n // 50) + "1" + (")" + "+1" * 50) * (n // 50),
    "operators before every bracket": lambda n: "x = " + ("- " * 50 + "(") * (n // 50) + "1" + ")" * (n // 50),
}
BLOCKS: dict[str, Shape] = {
    "if": lambda n: "".join(" " * i + "if 1:\n" for i in range(n)) + " " * n + "pass",
    "if and blank lines": lambda n: "".join(" " * i + "if 1:\n\n# so\n  \n" for i in range(n)) + " " * n + "pass",
    "def": lambda n: "".join(" " * i + "def f():\r\n\r\n" for i in range(n)) + " " * n + "pass",
    "for": lambda n: "".join(" " * i + "for x in y:\n" for i in range(n)) + " " * n + "pass",
}
PARSE = """
import sys, resource, starlark
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
for text in sys.stdin.read().split("\\0"):
    try:
        tree = starlark.parse("t", text, starlark.Dialect.extended())
        tree.lint(), tree.loads(), tree.typecheck(starlark.Globals.standard(), {})
        starlark.eval(starlark.Module(), tree, starlark.Globals.standard())
    except starlark.StarlarkError:
        pass
"""


def parsed(*texts: str) -> int:
    """Status of a process that parses, checks and evaluates the texts on an ordinary stack."""
    return subprocess.run([sys.executable, "-c", PARSE], input="\0".join(texts).encode(), check=False).returncode


def largest(shape: Shape) -> str:
    """The largest text of a shape that passes the scan."""
    low, high = 1, DEADLY
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if nesting_depth(shape(middle))[0] <= MAX_DEPTH else (low, middle)
    return shape(low)


def test_the_parser_does_die_of_what_the_scan_refuses() -> None:
    assert parsed(SHAPES["brackets"](DEADLY)) < 0


def test_the_largest_text_of_every_shape_that_passes_leaves_the_parser_alive() -> None:
    assert parsed(*(largest(shape) for shape in [*SHAPES.values(), *BLOCKS.values()])) == 0


@pytest.mark.parametrize("name", SHAPES)
def test_every_deadly_shape_is_refused(name: str) -> None:
    assert nesting_depth(SHAPES[name](DEADLY))[0] > MAX_DEPTH


@pytest.mark.parametrize("name", BLOCKS)
def test_every_level_of_blocks_counts(name: str) -> None:
    assert nesting_depth(BLOCKS[name](MAX_DEPTH + 1))[0] > MAX_DEPTH


@pytest.mark.parametrize(
    "text",
    [
        "x = [" + "[1], " * 5000 + "]\n",
        "x = [" + "a.b(c) + 1,\n" * 5000 + "]\n",
        "x = {" + '"a": "b",\n' * 5000 + "}\n",
        "x = 1 + 1\n" * 5000,
        "f(a=1, b=not c)\n" * 5000,
        "x = '" + "[" * 5000 + "'\n",
        "x = r'''\n" + "[(\n" * 5000 + "'''\n",
        "# " + "[" * 5000 + "\n",
        "def f():\n  if x:\n    y = 1\n  elif z:\n    y = 2\n" * 2000,
        "x = 1;" * 5000 + "\n",
        "f(" + "lambda a, b: a + b, " * 5000 + ")\n",
    ],
)
def test_long_is_not_deep(text: str) -> None:
    assert nesting_depth(text)[0] < 8


def test_the_line_is_that_of_the_deepest_statement() -> None:
    assert nesting_depth("x = 1\n'''\n'''\n# [\ny = [\n[1]]\nz = (2)\n") == (2, 5)


@given(st.text(alphabet="()[]{}:,;.+-=\\\n\r \"'#ralmbdinotfe"))
def test_any_text_is_scanned_and_nothing_is_deeper_than_it_is_long(text: str) -> None:
    depth, line = nesting_depth(text)
    assert depth <= len(text)
    assert 1 <= line <= text.count("\n") + 1
