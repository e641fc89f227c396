"""Laws that hold for every tree and every order, through the real runtime in this process."""

import random
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from support.orders import OrderBuilder
from support.process import request
from support.session import ask
from support.trees import build, snapshot

NAMES = ["a", "b", "c"]
contents = st.binary(max_size=40)
files = st.one_of(
    contents,
    st.tuples(contents, st.sampled_from([0o600, 0o644, 0o755, 0o4755])),
    st.tuples(st.just("link"), st.sampled_from(["a", "../x", "/nowhere"])),
)
trees = st.recursive(
    st.dictionaries(st.sampled_from(NAMES), files, max_size=3),
    lambda inner: st.dictionaries(st.sampled_from(NAMES), st.one_of(files, inner), max_size=3),
    max_leaves=8,
)
paths = st.lists(st.sampled_from([*NAMES, "new"]), min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))
steps = st.one_of(
    st.tuples(st.just("file.write"), paths, st.binary(max_size=20), st.sampled_from([0o600, 0o644])),
    st.tuples(st.just("file.mkdir"), paths, st.sampled_from([0o700, 0o755])),
    st.tuples(st.just("file.link"), paths, st.sampled_from(["a", "new/b"])),
    st.tuples(st.just("file.remove"), paths),
    st.tuples(st.just("file.chmod"), paths, st.sampled_from([0o600, 0o755])),
    st.tuples(st.just("file.copy"), paths, st.binary(max_size=20)),
    st.tuples(st.just("file.rename"), paths, paths),
    st.tuples(st.just("file.backup"), paths),
)
LAW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
LONG = settings(max_examples=1500, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def add(order: OrderBuilder, number: int, step: tuple, needs: list[str]) -> str:
    """One node of a step; each waits for the one before, as written."""
    action, path, *rest = step
    slots = {"path": path}
    if action == "file.write":
        slots |= {"content": rest[0].decode("latin-1"), "mode": rest[1]}
    elif action in ("file.mkdir", "file.chmod"):
        slots["mode"] = rest[0]
    elif action == "file.link":
        slots["target"] = rest[0]
    elif action == "file.copy":
        slots["source"] = order.input(f"in{number}", rest[0])
    elif action == "file.remove":
        slots["recursive"] = True
    elif action == "file.rename":
        slots = {"source": path, "path": rest[0]}
    return order.node(action, name=str(number), needs=needs, **slots)


class World:
    """A scratch root with a tree, and an order of steps over it."""

    def __init__(self, tree: dict, chosen: list[tuple]):
        self.folder = Path(tempfile.mkdtemp(prefix="law-"))
        self.root = self.folder / "root"
        build(self.root, tree)
        self.order = OrderBuilder(self.folder / "package", self.root)
        before: list[str] = []
        for number, step in enumerate(chosen):
            before = [add(self.order, number, step, before)]
        self.state = self.folder / "state"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.folder)

    def apply(self, path=None):
        return ask(request("apply", self.state, path or self.order.write(), on_conflict="overwrite"))

    def rollback(self):
        return ask(request("rollback", self.state))


def identity_law(tree, chosen):
    with World(tree, chosen) as world:
        before = snapshot(world.root)
        applied = world.apply()
        if applied.status == "done" and set(applied.result.summary) != {"unchanged"}:
            undone = world.rollback()
            assert undone.status == "done", undone.text
        assert snapshot(world.root) == before, applied.text


@given(trees, st.lists(steps, min_size=1, max_size=6))
@example({"a": {}, "b": {"a": b""}}, [("file.link", "/b", "a")])  # a directory comes back where a link led elsewhere
@example({"a": {"a": b""}, "b": {"a": b"\0"}}, [("file.link", "/b", "a")])  # and one with the same names in it
@LAW
def test_apply_then_rollback_is_the_identity_and_so_is_a_failed_apply(tree, chosen):
    identity_law(tree, chosen)


@pytest.mark.long
@given(trees, st.lists(steps, min_size=1, max_size=10))
@LONG
def test_apply_then_rollback_is_the_identity_for_many_more(tree, chosen):
    identity_law(tree, chosen)


placing = st.lists(
    st.one_of(
        st.tuples(st.just("file.mkdir"), paths, st.just(0o755)),
        st.tuples(st.just("file.write"), paths, st.binary(max_size=9), st.just(0o644)),
        st.tuples(st.just("file.link"), paths, st.just("a")),
        st.tuples(st.just("file.copy"), paths, st.binary(max_size=9)),
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda step: step[1],
)


@given(trees, placing)
@LAW
def test_a_second_apply_changes_nothing(tree, chosen):
    files_at = {step[1] for step in chosen if step[0] != "file.mkdir"}
    assume(
        not any(step[1].startswith(path + "/") for path in files_at for step in chosen)
    )  # it would contradict itself
    with World(tree, chosen) as world:
        first = world.apply()
        if first.status != "done":
            return
        after = snapshot(world.root)
        second = world.apply()
        assert second.status == "done", second.text
        assert set(second.result.summary) == {"unchanged"}
        assert snapshot(world.root) == after


@given(
    st.lists(st.tuples(st.sampled_from(NAMES), st.binary(max_size=9)), max_size=12, unique_by=lambda p: p[0]),
    st.randoms(),
)
@LAW
def test_the_order_of_ready_nodes_never_changes_the_result(pairs, rng: random.Random):
    results = []
    for shuffled in (False, True):
        with World({}, []) as world:
            for place in ("p", "q"):
                folder = world.order.node("file.mkdir", path=f"/{place}")
                for name, content in pairs:
                    text = content.decode("latin-1")
                    world.order.node("file.write", path=f"/{place}/{name}", content=text, needs=[folder])
            if shuffled:
                rng.shuffle(world.order.nodes)
            answer = world.apply()
            assert answer.status == "done", answer.text
            results.append(snapshot(world.root, times=False))
    assert results[0] == results[1]


@given(trees, st.lists(steps, min_size=1, max_size=4))
@LAW
def test_a_dry_run_changes_nothing(tree, chosen):
    with World(tree, chosen) as world:
        before = snapshot(world.root)
        ask(request("dry-run", world.state, world.order.write(), diff=True))
        assert snapshot(world.root) == before
