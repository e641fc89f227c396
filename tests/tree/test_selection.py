"""What --only means."""

import pytest

from requisition.compiler.manifest import Manifest
from requisition.schemas.diagnostic import BadInput
from requisition.tree.member import Member, Tree
from requisition.tree.selection import selected


def member(path, name, version="1", ref="main"):
    return Member(path, f"/tree/{path}", Manifest(name=name, version=version), url=f"https://x/{name}.git", ref=ref)


TREE = Tree(
    "/tree", (member("apps/editor", "editor"), member("apps/shell", "shell", "2", "next"), member("", "workstation"))
)


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("*", ["editor", "shell", "workstation"]),
        ("apps/*", ["editor", "shell"]),
        (".", ["workstation"]),
        ("shel?", ["shell"]),
        ('path startswith "apps/" and version != "1"', ["shell"]),
        ('ref == "next" or name == "workstation"', ["shell", "workstation"]),
        ('not (url contains "edit")', ["shell", "workstation"]),
    ],
)
def test_packages_are_meant_by_pattern_or_by_condition(asked, meant):
    assert [one.manifest.name for one in selected(TREE, asked)] == meant


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("nobody", "no package matches 'nobody'"),
        ('name == "nobody"', "no package matches"),
        ("name = shell", "=="),
        ("size > 3", "unknown name 'size'; known here: commit, name"),
        ("name or path", "says nothing of a package"),
    ],
)
def test_what_means_nothing_is_refused_with_the_reason(asked, says):
    with pytest.raises(BadInput, match=says):
        selected(TREE, asked)
