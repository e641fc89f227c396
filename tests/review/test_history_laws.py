"""Laws of the index over generated pasts: it says what the receipts say, however it came about."""

import shutil
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from requisition.review.history import filling, questions
from requisition.review.history.questions import Filter
from requisition.runtime.state import advance, fold
from requisition.schemas.receipt import NodeRun
from support import pasts
from support.histories import PATHS, ask, rebuilt


def entries(state: Path, host: str = "") -> dict[tuple[str, str], tuple[str, str, object]]:
    """(root, path) to (run, node, how it was left), as the index has it."""
    found = ask(state, lambda connection: questions.standing(connection, Filter(host=host)))
    return {(one.ran.root, one.path): (one.ran.run, one.node, one.left) for one in found}


@st.composite
def runs(draw, minute, *, late):
    """One run as its receipts: the first, and maybe that of its rollback, up to `late` minutes after it."""
    mine = draw(st.lists(st.sampled_from(PATHS), min_size=1, max_size=3, unique=True))
    package = draw(st.sampled_from(["demo", "other"]))
    whose = {path: draw(st.sampled_from(["left", "right"])) for path in mine}
    tree = draw(st.booleans())
    root = draw(st.sampled_from(["/root", "/home"]))
    ordered = pasts.order(whose if tree else mine, package=package, root=root)
    nodes = []
    for number, path in enumerate(mine):
        status = draw(st.sampled_from(["done", "done", "unchanged", "unchanged", "failed", "skipped", "pending"]))
        leaves = status in ("done", "unchanged")
        nodes.append(NodeRun(number, status, left=(pasts.left(path, draw(st.integers(0, 2))),) if leaves else ()))
    state = draw(st.sampled_from(["executed", "executed", "executed", "failed"]))
    first = pasts.receipt(minute, ordered, tuple(nodes), state=state)
    if not draw(st.booleans()):
        return [first]
    names = draw(st.sampled_from([None, frozenset({"left"})])) if tree and state == "executed" else None
    return [first, pasts.taken_back(first, minute + draw(st.integers(1, late)) - 0.25, names)]


@st.composite
def some_pasts(draw, *, late):
    return [draw(runs(minute, late=late)) for minute in range(draw(st.integers(1, 6)))]


def write(state: Path, past, host=""):
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir(mode=0o700)
    for receipts in past:
        for one in receipts:
            pasts.save(state, one, host=host)


def naive(past, root):
    """What stands by nothing but receipts, each read whole: those of runs that were taken back are left out, and so is
    who only found what they had made."""
    standing, lost = [], {}
    for receipts in past:
        first, last = receipts[0], receipts[-1]
        if last.target_root != root:
            continue
        kept = []
        for before, after in zip(first.nodes, last.nodes, strict=True):
            if after.status == "rolled_back":
                lost |= {one.path: (one, last.finished) for one in before.left}
            elif last.state == "executed" and after.left:
                (one,) = after.left
                gone, until = lost.get(one.path, (None, ""))
                if after.status == "unchanged" and one == gone and first.started <= until:
                    continue
                lost.pop(one.path, None)
                kept.append(after)
        if last.state == "executed":
            standing.append(msgspec.structs.replace(last, nodes=tuple(kept)))
    return fold(standing)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(past=some_pasts(late=4), host=st.sampled_from(["", "far"]))
def test_the_index_says_what_a_naive_fold_over_the_receipts_says(tmp_path, past, host):
    write(tmp_path / "state", past, host)
    expected = {
        (root, path): (entry.run_id, entry.node, entry.left)
        for root in ("/root", "/home")
        for path, entry in naive(past, root).items()
    }
    assert entries(tmp_path / "state", host) == expected


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(past=some_pasts(late=1))
def test_where_each_run_was_taken_back_before_the_next_began_the_index_is_the_state_views_own_fold(tmp_path, past):
    write(tmp_path / "state", past)
    for root in ("/root", "/home"):
        view = {}
        for receipts in past:
            if receipts[-1].state == "executed" and receipts[-1].target_root == root:
                after = advance(view, receipts[-1], {})
                view = view if after is None else after
        found = {path: one for (where, path), one in entries(tmp_path / "state").items() if where == root}
        assert found == {path: (one.run_id, one.node, one.left) for path, one in view.items()}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), many=st.sampled_from([1, filling.MANY]))
def test_an_index_that_grew_with_its_receipts_is_the_one_made_from_them_at_once(tmp_path, data, many):
    state = tmp_path / "state"
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir(mode=0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(filling, "MANY", many)
        for _ in range(data.draw(st.integers(1, 4), "changes before each question")):
            for _ in range(data.draw(st.integers(0, 4))):
                minute, host = data.draw(st.integers(0, 5)), data.draw(st.sampled_from(["", "", "far"]))
                change(state, minute, host, data)
            grown = ask(state)
            assert grown == ask(state)
        assert grown == rebuilt(state)


def change(state, minute, host, data):
    """A run is recorded, or another one in its place, is gone, or can no longer be read."""
    path = pasts.place(state, pasts.run_id(minute), host=host)
    what = data.draw(st.sampled_from(["record", "record", "remove", "damage"]))
    if what == "record":
        pasts.place(state, pasts.run_id(minute), host=host, rollback=True).unlink(missing_ok=True)
        for one in data.draw(runs(minute, late=4)):
            pasts.save(state, one, host=host)
    elif what == "remove":
        path.unlink(missing_ok=True)
    elif path.exists():
        with open(path, "ab") as file:  # in place: neither name nor inode change
            file.write(b"x")
