"""Children put into a manifest and taken out of it: everything else stays as it was written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from requisition.compiler.manifest import parse_manifest
from requisition.schemas.diagnostic import BadInput
from requisition.tree.editing import with_child, without_child

TEXT = """# The tree.
name: top  # ours
children:
  # the shell
  - {url: "https://git.example/a.git"}
  - url: https://git.example/b.git   # of the team
    path: vendor/b

# what follows
settings:
  port: {type: integer, default: 1}
"""


def paths(text):
    return [child.place for child in parse_manifest(text, "package.yaml").children]


def test_a_child_comes_last_and_nothing_else_moves():
    new = with_child(TEXT, "package.yaml", "https://git.example/c.git", "libs/c", ref="main")
    assert paths(new) == ["a", "vendor/b", "libs/c"]
    assert [line for line in new.split("\n") if "git.example/c" not in line] == TEXT.split("\n")


def test_the_first_child_makes_the_list():
    assert paths(with_child("name: top\n", "package.yaml", "https://git.example/c.git")) == ["c"]
    assert paths(with_child("name: top\nchildren: []\n", "package.yaml", "https://git.example/c.git")) == ["c"]


def test_a_child_goes_with_its_lines_only():
    assert paths(without_child(TEXT, "package.yaml", "a")) == ["vendor/b"]
    without = without_child(TEXT, "package.yaml", "vendor/b")
    assert paths(without) == ["a"]
    for line in ("# The tree.", "name: top  # ours", "# what follows", "settings:"):
        assert line in without.split("\n")
    assert "children: []" in without_child(without, "package.yaml", "a")


@pytest.mark.parametrize(
    ("text", "url", "says"),
    [
        ("name: top\nchildren: [{url: 'https://git.example/a.git'}]\n", "https://git.example/c.git", "by hand"),
        (TEXT, "https://git.example/a.git", "two children"),
        (TEXT, "--upload-pack=x", "no url"),
    ],
)
def test_what_would_be_wrong_afterwards_is_refused(text, url, says):
    with pytest.raises(BadInput) as refused:
        with_child(text, "package.yaml", url)
    assert says in str(refused.value)


def test_a_child_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(BadInput, match="its children: a, vendor/b"):
        without_child(TEXT, "package.yaml", "x")


names = st.from_regex(r"[a-z]{1,6}", fullmatch=True)


@given(st.lists(names, unique=True, min_size=1, max_size=6), st.data())
def test_what_was_put_in_can_be_taken_out_again(found, data):
    text = "name: top\n"
    for name in found:
        text = with_child(text, "package.yaml", f"https://git.example/{name}.git", f"x{name}")
    assert paths(text) == [f"x{name}" for name in found]
    gone = data.draw(st.sampled_from(found))
    assert paths(without_child(text, "package.yaml", f"x{gone}")) == [f"x{name}" for name in found if name != gone]
