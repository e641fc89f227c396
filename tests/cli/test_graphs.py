"""Drawings of orders whose names were made to break them."""

import re
import shutil
from xml.etree import ElementTree

import pytest
from msgspec import structs

from requisition.cli import graphs
from requisition.schemas.diagnostic import BadInput
from requisition.schemas.document import Node, Order, Phase
from support.sealed import order

HOSTILE = (
    "<script>alert(1)</script>",
    "]]>",
    '"]; evil [label="',
    '\\"',
    "ends with \\",
    "\\N \\G \\l \\n",
    "&lt; &#27; &#x1b; &#0;",
    "#quot; #35;",
    "\x00\x01\x1b[2J\x7f\x9b",
    "a\nend\nclick n0 href 'javascript:1'",
    "\u202eright to left\u2066",
    "\ufffe\uffff",
    "`**bold**` %%{init: {}}%%",
    "<b>html</b>",
    "ä → 漢字 🙂",
)


def hostile() -> Order:
    """One node for each name, each in a phase of that name, in a row."""
    nodes = tuple(
        Node(f"{name}/{name}", "file.mkdir", name, needs=(f"{before}/{before}",) if before else ())
        for before, name in zip(("", *HOSTILE), HOSTILE, strict=False)
    )
    return structs.replace(order(), phases=tuple(Phase(name, "install") for name in HOSTILE), nodes=nodes)


def shown(name: str) -> str:
    """A name as a person should read it."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in name)


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_an_svg_is_well_formed_and_shows_each_name_as_it_is() -> None:
    drawing = ElementTree.fromstring(graphs.svg(hostile()))
    space = "{http://www.w3.org/2000/svg}"
    assert drawing.tag == f"{space}svg"
    elements = {element.tag.removeprefix(space) for element in drawing.iter()}
    assert elements <= {"svg", "g", "title", "polygon", "text", "path"}
    texts = ["".join(text.itertext()).replace("\xa0", " ") for text in drawing.iter(f"{space}text")]
    assert sorted(texts) == sorted(2 * [shown(name) for name in HOSTILE])


def test_no_name_ends_its_quotes_or_its_line_in_a_mermaid_drawing() -> None:
    lines = graphs.mermaid(hostile()).splitlines()
    label = r'\["[^"<>`&\\]*"\]'
    known = rf"flowchart LR|  subgraph p\d+{label}|    n\d+{label}|  end|  n\d+ --> n\d+"
    assert [line for line in lines if not re.fullmatch(known, line)] == []
    entities = [re.sub(r"#(\d+);", lambda found: chr(int(found[1])), line) for line in lines]
    for number, name in enumerate(HOSTILE):
        assert f'    n{number}["{shown(name)}"]' in entities


def test_a_node_of_a_phase_that_is_not_listed_is_drawn_too() -> None:
    assert "file.mkdir:/etc/demo" in graphs.mermaid(structs.replace(order(), phases=()))


@pytest.mark.parametrize("form", ["dot", "mermaid"])
def test_an_edge_from_nowhere_is_told(form: str) -> None:
    broken = structs.replace(order(), nodes=(Node("a", "file.mkdir", "demo/install", needs=("b",)),))
    with pytest.raises(BadInput, match="a needs 'b', which is not in the order"):
        graphs.FORMS[form](broken)
