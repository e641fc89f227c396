"""Laws of order over random trees, and of work in that order."""

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from requisition.compiler.manifest import Manifest
from requisition.schemas.diagnostic import BadInput
from requisition.tree.member import Member, Tree
from requisition.tree.needs import needs_of
from requisition.tree.order import Outcome, once, post_order, schedule


def tree_of(parents: dict[str, str], depends: dict[str, list[str]] | None = None, **more: dict[str, str]) -> Tree:
    """A tree by each member's parent, all named for their paths; `urls`, `commits` by path."""
    paths: list[str] = []

    def visit(path: str) -> None:
        for child, parent in parents.items():
            if parent == path and child:
                visit(child)
        paths.append(path)

    visit("")
    members = tuple(
        Member(
            path,
            f"/t/{path}",
            Manifest(path or "root", depends_on=(depends or {}).get(path, [])),
            parents.get(path, ""),
            more.get("urls", {}).get(path, f"/remotes/{path}" if path else ""),
            "",
            more.get("commits", {}).get(path, "c" * 40 if path else ""),
        )
        for path in paths
    )
    children = {path: [child for child, parent in parents.items() if parent == path and child] for path in paths}
    return Tree("/t", members, needs_of(members, children))


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    """Up to 25 packages; dependencies go from later to earlier ones that do not contain them, so that they have an
    order, which is not the one of their names."""
    count = draw(st.integers(0, 25))
    names = draw(st.permutations([f"p{number}" for number in range(count)]))
    parents: dict[str, str] = {}
    for at, name in enumerate(names):
        parents[name] = draw(st.sampled_from(["", *names[:at]]))
    plain = tree_of(parents)
    rank = {member.path: at for at, member in enumerate(plain.members)}
    depends = {}
    for name in names:
        earlier = [one for one in names if rank[one] < rank[name]]
        if earlier:
            depends[name] = draw(st.lists(st.sampled_from(earlier), max_size=3, unique=True))
    return tree_of(dict(sorted(parents.items())), depends)


def all_needs(tree: Tree, path: str) -> set[str]:
    found: set[str] = set()
    ahead = [path]
    while ahead:
        for need in tree.needs[ahead.pop()]:
            if need not in found:
                found.add(need)
                ahead.append(need)
    return found


@given(trees())
def test_every_package_comes_once_and_after_all_that_it_needs(tree):
    try:
        order = [member.path for member in post_order(tree)]
    except BadInput:
        assert any(path in all_needs(tree, path) for path in tree.needs)
        return
    assert sorted(order) == sorted(member.path for member in tree.members)
    at = {path: number for number, path in enumerate(order)}
    assert all(at[need] < at[path] for path in order for need in tree.needs[path])
    assert order[-1] == ""


@settings(max_examples=60, deadline=None)
@given(trees(), st.integers(1, 6), st.sets(st.integers(0, 25), max_size=3))
def test_work_overlaps_on_no_package_and_a_failure_halts_exactly_those_that_need_it(tree, jobs, broken):
    try:
        order = [member.path for member in post_order(tree)]
    except BadInput:
        return
    breaks = {order[at] for at in broken if at < len(order)}
    begun: list[str] = []
    ended: set[str] = set()
    guard = threading.Lock()
    most = now = 0

    def run(member: Member) -> None:
        nonlocal most, now
        with guard:
            assert set(tree.needs[member.path]) <= ended
            begun.append(member.path)
            now += 1
            most = max(most, now)
        with guard:
            now -= 1
            if member.path in breaks:
                raise RuntimeError(member.path)
            ended.add(member.path)

    outcome = schedule(tree, jobs, run)
    assert len(begun) == len(set(begun))
    assert most <= jobs
    assert set(outcome.done) == ended
    assert set(outcome.failed) == breaks & set(begun)
    assert set(outcome.halted) == {path for path in order if all_needs(tree, path) & set(outcome.failed)}
    assert all(culprit in all_needs(tree, path) & breaks for path, culprit in outcome.halted.items())
    assert {*outcome.done, *outcome.failed, *outcome.halted} == set(order)


def test_independent_packages_are_worked_on_at_the_same_time():
    together = threading.Barrier(2, timeout=20)

    def run(member: Member) -> None:
        if member.path in ("a", "b"):
            together.wait()

    assert schedule(tree_of({"a": "", "b": ""}), 2, run).done[-1] == ""


def test_a_dependency_is_installed_before_a_package_that_stands_earlier_in_the_manifest():
    order = post_order(tree_of({"a": "", "b": ""}, {"a": ["b"]}))
    assert [member.path for member in order] == ["b", "a", ""]


def test_packages_that_wait_for_each_other_have_no_order_and_the_way_is_told():
    with pytest.raises(BadInput, match="a → b → a"):
        post_order(tree_of({"a": "", "b": ""}, {"a": ["b"], "b": ["a"]}))


def test_an_interrupt_ends_the_work_and_is_not_taken_for_a_failure():
    def run(member: Member) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        schedule(tree_of({"a": "", "b": ""}), 1, run)


def test_one_repository_at_one_commit_is_installed_once():
    parents = {"x": "", "y": "", "z": ""}
    urls = dict.fromkeys(parents, "/r")
    assert once(tree_of(parents, urls=urls)) == {"y": "x", "z": "x"}
    assert once(tree_of(parents, urls=urls, commits={"x": "a", "y": "b", "z": "a"})) == {"z": "x"}


def test_a_deep_tree_needs_no_deep_stack():
    parents = {"p0": ""} | {f"p{at}": f"p{at - 1}" for at in range(1, 400)}
    outcome: Outcome = schedule(tree_of(parents), 4, lambda member: None)
    assert outcome.done == (*(f"p{at}" for at in reversed(range(400))), "")
