"""What show, diff and query print, byte for byte, of orders with names that were made to break them."""

import re

import click
import jsonschema
import msgspec
import pytest
from markdown_it import MarkdownIt
from msgspec.structs import replace

from requisition.cli.commands.review import show_file
from requisition.cli.differing import lines
from requisition.cli.markdown import LIMIT, code, comment, fence
from requisition.cli.output import Output
from requisition.review.difference import Difference, NodeLine, SideLine, difference
from requisition.review.schemas import schema
from requisition.review.sides import open_side
from requisition.schemas import orderfile
from requisition.schemas.document import Collision, Node, Phase, Secret, Source, TreeMember
from support.golden_review import FOLDER, outputs
from support.sealed import order


@pytest.fixture(scope="module")
def printed():
    return outputs()


def test_every_output_is_the_golden_one(printed):
    known = {file.name: file.read_text(encoding="utf-8") for file in FOLDER.iterdir()}
    assert printed == known


@pytest.mark.parametrize("name", ["show", "diff", "query"])
def test_the_documents_are_as_their_schemas_say(name, printed):
    jsonschema.validate(msgspec.json.decode(printed[f"{name}.json"]), msgspec.json.decode(schema(name)))


def test_no_name_reaches_a_terminal_or_ends_its_line(printed):
    for name in ("show.txt", "diff.txt", "diff.md"):
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", printed[name])
        assert not re.search(r"^- \[x\]", printed[name], re.MULTILINE)


def test_nothing_in_a_document_forges_a_line_of_what_is_shown(tmp_path, capsys):
    forged = "x\n\x1b[32m  ✓ trusted here\x1b[0m"
    plain = order()
    context = replace(plain.context, package=forged, target_root=forged, features=(forged,), hosts=(forged,))
    changed = replace(
        plain,
        context=context,
        expires=forged,
        secrets=(Secret(forged, forged),),
        phases=(Phase(forged, forged, compensate=forged, member=forged),),
        nodes=(Node(forged, forged, forged, {forged[:1]: forged}, location=forged),),
        collisions=(Collision(forged, Source(forged), Source(forged)),),
        members=(TreeMember(forged, forged, forged, commit=forged),),
    )
    for name, one in (("a", plain), ("b", changed)):
        orderfile.write(str(tmp_path / name), orderfile.seal(one))
    output = Output(color="always")
    show_file(output, str(tmp_path / "b"), full=True)
    output.lines(lines(difference(open_side(str(tmp_path / "a")), open_side(str(tmp_path / "b"))), output))
    printed = capsys.readouterr().out
    assert "trusted here" in printed
    assert not [line for line in printed.splitlines() if click.unstyle(line).strip().startswith("✓")]
    assert "\x1b[32m  ✓" not in printed


def test_secrets_are_masked_everywhere(printed):
    assert "content=•••" in printed["show.txt"]
    assert "content: ••• key becomes ••• other" in printed["diff.txt"]


def tokens(text):
    found = list(MarkdownIt("commonmark").parse(text))
    return [*found, *(inner for one in found for inner in one.children or ())]


HTML = re.compile(r"</details>|<details( open)?><summary>[A-Za-z ]+ \([0-9,]+\)</summary>")


def test_a_markdown_reader_finds_no_link_no_image_and_no_html_but_ours_in_the_comment(printed):
    found = tokens(printed["diff.md"])
    assert not {one.type for one in found} & {"link_open", "image", "html_inline"}
    assert all(HTML.fullmatch(one.content.strip()) for one in found if one.type == "html_block")
    spans = [one.content for one in found if one.type == "code_inline"]
    assert any("@everyone" in span and "</details>" in span for span in spans)
    assert not any("@everyone" in one.content for one in found if one.type == "text")
    assert any("```" in one.content for one in found if one.type == "fence")


@pytest.mark.parametrize("text", ["plain", "`", "a``b", "``` x", " ", "", "x\\`", "a\n\n# b", "<!-- -->", "\x00\u2028"])
def test_any_text_is_one_code_span_and_any_lines_are_one_fence(text):
    (span,) = [one for one in tokens(f"- {code(text)}") if one.type == "code_inline"]
    assert text.strip() in span.content or not text.isprintable()
    assert [one.type for one in tokens(fence(text))] == ["fence"]


def test_a_comment_of_a_hundred_thousand_nodes_fits_and_says_how_many_are_left_out():
    side = SideLine("x", "y")
    nodes = tuple(NodeLine(f"demo/install/{n}", "a", "p") for n in range(100_000))
    text = comment(Difference(side, side, added=nodes, removed=nodes))
    assert "100,000 nodes added, 100,000 nodes removed" in text
    assert text.count("- … and 99,900 more: `plan diff` shows all of it.") == 2
    long = tuple(NodeLine("n" * 5000, "a", "p") for _ in range(99))
    text = comment(Difference(side, side, added=long))
    assert len(text) < LIMIT + 1000
    assert re.search(r"</details>\n\n… and 8[0-9] more: `plan diff` shows all of it\.\n$", text)
