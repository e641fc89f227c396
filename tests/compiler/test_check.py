"""Chunked cases: `---` separates files, `### "regexp"` on a line states the finding expected at that line."""

import re
from pathlib import Path

import pytest

from requisition.compiler.check import check_files
from requisition.compiler.pipeline import standard_library
from requisition.stdlib.catalogue import load

CASES = Path(__file__).parent / "cases"
CHUNKS = [
    pytest.param(text.strip("\n") + "\n", id=f"{path.stem}-{number}")
    for path in sorted(CASES.glob("*.star"))
    for number, text in enumerate(path.read_text().split("\n---\n"), 1)
]


@pytest.mark.parametrize("text", CHUNKS)
def test_each_finding_stands_at_its_line_and_no_other_is_made(text):
    wanted = {
        number: re.search(r'### "(.*)"$', line)[1] for number, line in enumerate(text.splitlines(), 1) if "### " in line
    }
    found = {}
    for one in check_files({"case.star": text}, standard_library(), load()):
        _, line, column = one.where.split(":")
        found.setdefault(int(line), []).append(one.what + " " + one.next)
        assert one.excerpt.splitlines()[-1].strip() == "^"
        assert int(column) >= 1
    assert found.keys() == wanted.keys()
    for line, pattern in wanted.items():
        assert any(re.search(pattern, what) for what in found[line]), (line, found[line])


def test_a_caret_stands_below_the_column():
    text = 'def install(package, phase):\n    plan.file.write("x", "/a", mode = "0644")\n'
    (found,) = check_files({"case.star": text}, {}, load())
    source, caret = found.excerpt.splitlines()
    column = int(found.where.rsplit(":", 1)[1])
    assert source.strip() == text.splitlines()[1].strip()
    assert len(caret) - 4 == column
