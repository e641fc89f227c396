"""Cases in `cases/check/*.star`, divided by `---`: a comment `### "pattern"` says what is found on its line (or,
standing alone, on the line above). Every finding must be expected, and every expectation met."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from requisition.compiler.checking import check_files
from requisition.compiler.prelude import prelude
from requisition.compiler.stubs import callable_names, stubs
from requisition.schemas.diagnostic import Diagnostic
from requisition.stdlib.catalogue import load
from requisition.stdlib.spec import ActionSpec, Slot

CASES = Path(__file__).parent / "cases" / "check"
EXPECTED = re.compile(r'[ ]*### "(.*)"$')
LIB = "def plans(x):\n    return x\n\nx = 1\n"
STD = {"site.star": "def where(name: str):\n    plan.file.nope(5)\n    return name\n"}
CHUNKS = [
    pytest.param(chunk, id=f"{file.stem}-{number}")
    for file in sorted(CASES.glob("*.star"))
    for number, chunk in enumerate(file.read_text("utf-8").split("---\n"), 1)
]


def check(text: str, **others: str) -> list[Diagnostic]:
    files = {"case.star": text, "lib.star": LIB} | {f"{name}.star": other for name, other in others.items()}
    return check_files(files, STD, load())


def split(chunk: str) -> tuple[str, dict[int, str]]:
    """The script without its expectations, and the expectations by line."""
    lines: list[str] = []
    expected = {}
    for line in chunk.splitlines():
        found = EXPECTED.search(line)
        code = EXPECTED.sub("", line)
        if found is None or code:
            lines.append(code)
        if found is not None:
            expected[len(lines)] = found[1]
    return "\n".join(lines) + "\n", expected


@pytest.mark.parametrize("chunk", CHUNKS)
def test_what_is_found_is_what_the_case_expects(chunk: str) -> None:
    text, expected = split(chunk)
    for finding in check(text):
        file, line, column = finding.where.rsplit(":", 2)
        assert file == "case.star"
        pattern = expected.pop(int(line), None)
        assert pattern is not None, f"not expected: {finding}"
        assert re.search(pattern, f"{finding.what}; {finding.next}" if finding.next else finding.what), str(finding)
        source, caret = finding.excerpt.split("\n")
        assert source.strip() == text.splitlines()[int(line) - 1].strip()
        assert caret.index("^") == 4 + int(column) - 1
        assert finding.severity == ("warning" if finding.code in WARNINGS else "error")
    assert not expected


WARNINGS = ("missing-return", "unreachable", "duplicate-key", "unused-load", "unused-assign")


def test_findings_come_by_file_and_place_and_do_not_stop_at_the_first() -> None:
    found = check("def f():\n    plan.file.mkdir(5)\n    plan.no.no()\n", other="def g(:\n", more="plan = 1\n")
    assert [(one.where, one.code) for one in found] == [
        ("case.star:2:21", "type"),
        ("case.star:3:5", "unknown-action"),
        ("other.star:1:7", "syntax"),
        ("more.star:1:1", "shadow"),
    ]


def test_the_caret_stands_below_the_mistake() -> None:
    (found,) = check('def f():\n    plan.file.copy("é", "/b", mode = "640")\n')
    source, caret = found.excerpt.split("\n")
    assert source[caret.index("^") :].startswith("mode")


def test_a_file_is_checked_though_what_it_loads_cannot_be_read() -> None:
    found = check('load("broken.star", "x")\ndef f():\n    x(plan.file.mkdir(5))\n', broken="def\n")
    assert [one.where for one in found] == ["case.star:3:23", "broken.star:1:4"]


def test_files_that_load_each_other_are_a_circle() -> None:
    found = check('load("a.star", "a")\nA = a\n', a='load("b.star", "b")\nB = b\n', b='load("a.star", "B")\nb = B\n')
    assert [(one.where, one.what) for one in found] == [
        ("b.star:1:1", "'a.star' is loaded in a circle: a.star → b.star → a.star")
    ]


def test_a_function_of_another_file_is_checked_where_it_is_called() -> None:
    (found,) = check('load("a.star", "a")\ndef f():\n    a("x")\n', a="def a(mode: int):\n    return mode\n")
    assert found.where == "case.star:3:7"


def test_every_action_can_be_called_as_the_prelude_defines_it() -> None:
    """The stubs and the prelude have the same parameters in the same order."""
    signature = re.compile(r"^def (?:plan)?(_\w+)\((.*?)\)(?: -> .*)?:", re.MULTILINE)

    def parameters(text: str) -> dict[str, list[str]]:
        return {name: [one[0] for one in re.findall(r"(\*|\w+)((?:: [^=]*?)?(?: = [^,]*)?)(?:, |$)", inner)]
                for name, inner in signature.findall(re.sub(r"\[[^\]\n]*\]", "", text))}  # fmt: skip

    known, made = parameters(stubs(load())), parameters(prelude(load()))
    for call in callable_names(load()):
        name = "_" + call.replace(".", "_")
        if name in made:
            assert known[name] == made[name]


def test_a_plug_ins_actions_are_checked_like_ours() -> None:
    spec = ActionSpec("cloud.make", "", (Slot("size", "int", ""), Slot("zone", "string", "", required=False)))
    text = 'def f():\n    plan.cloud.make(1, zone = "a")\n    plan.cloud.make("1")\n    plan.file.mkdir("/x")\n'
    found = check_files({"a.star": text}, {}, {"cloud.make": spec})
    assert [(one.where, one.code) for one in found] == [("a.star:3:21", "type"), ("a.star:4:5", "unknown-action")]


@given(st.text(alphabet="plan.fieco(y)\"'#=:,\\\n [d]") | st.text())
def test_any_text_is_checked_with_findings_inside_of_it(text: str) -> None:
    for finding in check_files({"a.star": text}, {}, load()):
        line = int(finding.where.split(":")[1])
        assert 1 <= line <= text.count("\n") + 2
