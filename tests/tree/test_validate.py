"""What is wrong with a tree is found, all of it, and nothing else."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from requisition.tree.member import Tree
from requisition.tree.needs import needs_of
from requisition.tree.validate import validate
from tree.test_order import tree_of, trees


def changed(tree: Tree, path: str, **manifest) -> Tree:
    """The tree with other words in one manifest."""
    members = tuple(
        structs.replace(one, manifest=structs.replace(one.manifest, **manifest)) if one.path == path else one
        for one in tree.members
    )
    children: dict[str, list[str]] = {}
    for one in tree.members:
        if one.path:
            children.setdefault(one.parent, []).append(one.path)
    return Tree(tree.root, members, needs_of(members, children))


def words(tree: Tree) -> str:
    return "\n".join(one.what for one in validate(tree))


FAULTS = ("missing", "itself", "above", "clash", "cycle")


@given(trees(), st.lists(st.sampled_from(FAULTS), unique=True, max_size=4), st.data())
def test_every_planted_fault_is_found_and_no_other(tree, faults, data):
    inner = sorted(one.path for one in tree.members if one.path)
    expected = []
    for fault in faults if len(inner) >= 2 else ():
        one, other = data.draw(st.permutations(inner))[:2]
        member = tree.member(one)
        given_names = member.manifest.depends_on
        match fault:
            case "missing":
                tree = changed(tree, one, depends_on=[*given_names, "nowhere"])
                expected.append(f"{one}: depends on 'nowhere', which no package")
            case "itself":
                tree = changed(tree, one, depends_on=[*given_names, member.path])
                expected.append(f"{one}: depends on itself")
            case "above":
                tree = changed(tree, one, depends_on=[*given_names, "root"])
                expected.append(f"{one}: depends on 'root' at ., which contains it")
            case "clash":
                tree = changed(tree, one, name="double")
                tree = changed(tree, other, name="double")
                expected.append("two packages are called double")
            case "cycle":
                tree = changed(tree, one, depends_on=[*given_names, f"/remotes/{other}"])
                back = tree.member(other)
                tree = changed(tree, other, depends_on=[*back.manifest.depends_on, f"/remotes/{one}"])
                expected += ["which contains it" if _nested(tree, one, other) else "packages wait for each other"]
    found = words(tree)
    assert all(one in found for one in expected), (expected, found)
    if not expected:
        assert found == ""


def _nested(tree: Tree, one: str, other: str) -> bool:
    def above(path: str) -> set[str]:
        found = set()
        while path:
            path = tree.member(path).parent
            found.add(path)
        return found

    return one in above(other) or other in above(one)


def test_a_cycle_is_told_once_with_the_way_around():
    tree = tree_of({"a": "", "b": "", "c": ""}, {"a": ["b"], "b": ["c"], "c": ["a"]})
    assert words(tree) == "a: packages wait for each other: a → b → c → a"


def test_one_repository_at_two_paths_is_no_clash_unless_its_commits_differ():
    urls = {"x": "/r", "y": "/r"}
    tree = changed(changed(tree_of({"x": "", "y": ""}, urls=urls), "x", name="r"), "y", name="r")
    assert words(tree) == ""
    other = changed(tree_of({"x": "", "y": ""}, urls=urls, commits={"x": "a" * 40, "y": "b" * 40}), "x", name="r")
    found = validate(changed(other, "y", name="r"))
    assert "/r at aaaaaaaaaaaa" in found[0].what
    assert found[0].next == "name the same ref for both"


def test_a_dependency_may_be_named_by_name_path_or_address():
    tree = tree_of({"a": "", "b": "", "c": "", "d": ""}, {"a": ["b"], "b": ["/remotes/c"], "c": ["d"]})
    assert words(tree) == ""
    assert tree.needs["b"] == ("c",)
