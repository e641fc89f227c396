"""Packages whose build is refused, in chunks: `---` separates them, `### "regexp"` on a line states the
finding expected at that line. Every such line has one, and no other line has any."""

import re
from pathlib import Path

import pytest

from requisition.schemas.diagnostic import BadInput
from support.packages import built

CHUNKS = [
    pytest.param(text.strip("\n") + "\n", id=f"{path.stem}-{number}")
    for path in sorted((Path(__file__).parent / "refused").glob("*.star"))
    for number, text in enumerate(path.read_text().split("\n---\n"), 1)
]
WANTED = re.compile(r' +### "(.*)"$', re.MULTILINE)


@pytest.mark.parametrize("text", CHUNKS)
def test_each_mistake_is_told_at_its_line(tmp_path, text):
    wanted = {
        f"package.star:{line}": found[1]
        for line, content in enumerate(text.splitlines(), 1)
        if (found := WANTED.search(content))
    }
    with pytest.raises(BadInput) as refused:
        built(tmp_path, {"package.star": WANTED.sub("", text), "there": ""})
    told = {":".join(one.where.split(":")[:2]): one for one in refused.value.diagnostics}
    assert told.keys() == wanted.keys()
    for where, pattern in wanted.items():
        one = told[where]
        assert re.search(pattern, f"{one.what} {one.why} {one.next}"), one
