"""Packages of a tree in one run: side by side, one failure is its own and that of those above it."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from requisition.runtime.memberships import check_members
from requisition.schemas.diagnostic import BadInput
from requisition.schemas.document import Context, Node, Order, Phase, Platform, TreeMember
from support.orders import OrderBuilder
from support.process import request
from support.receipts import read_receipt
from support.session import ask
from support.trees import build, snapshot

FAIL = {"argv": ["false"], "name": "fail"}


@pytest.fixture
def order(tmp_path):
    build(tmp_path / "root", {"old": (b"old\n", 0o640)})
    return OrderBuilder(tmp_path / "package", tmp_path / "root")


@pytest.fixture
def run(tmp_path, order):
    def go(verb="apply", path=None, **fields):
        return ask(request(verb, tmp_path / "state", path or order.write(), on_conflict="overwrite", **fields))

    return go


def statuses(receipt):
    return {receipt.order.nodes[one.node].id.rpartition(":")[2]: one.status for one in receipt.nodes}


def written(tmp_path):
    return {path.name for path in (tmp_path / "root").iterdir()}


def test_a_package_that_fails_takes_down_those_above_it_and_nobody_else(tmp_path, order, run):
    good = order.member("good")
    order.node("file.write", content="x", path="/good", name="good")
    bad = order.member("bad")
    done = order.node("file.write", content="x", path="/half", name="half")
    order.node("shell.exec", needs=[done], **FAIL)
    middle = order.member("middle", needs=[bad])
    order.node("file.write", content="x", path="/middle", name="middle")
    order.member("", needs=[good, middle])
    order.node("file.write", content="x", path="/top", name="top")
    answer = run()
    assert answer.status == "failed"
    assert written(tmp_path) == {"old", "good"}
    assert "halted, because bad failed: middle, the root" in answer.text
    receipt = read_receipt(answer.result.receipt)
    assert receipt.state == "executed"
    assert statuses(receipt) == {
        "good": "done", "half": "rolled_back", "fail": "failed", "middle": "skipped", "top": "skipped",
    }  # fmt: skip


def test_what_such_a_run_left_is_known_has_no_drift_and_is_taken_back_whole(tmp_path, order, run):
    before = snapshot(tmp_path / "root")
    order.member("good")
    order.node("file.write", content="x", path="/good", name="good")
    order.member("bad")
    order.node("file.write", content="x", path="/old", name="old")
    order.node("shell.exec", **FAIL)
    answer = run()
    assert (tmp_path / "root/old").read_text() == "old\n"
    status = ask(request("status", tmp_path / "state", target_root=str(tmp_path / "root")))
    assert (status.status, status.result.summary["ok"]) == ("done", 1)
    assert run("rollback", answer.result.receipt).status == "done"
    assert snapshot(tmp_path / "root") == before


def test_when_all_that_was_done_was_taken_back_the_run_is_rolled_back(tmp_path, order, run):
    before = snapshot(tmp_path / "root")
    order.member("")
    order.node("file.write", content="x", path="/a", name="a")
    order.node("shell.exec", **FAIL)
    answer = run()
    assert read_receipt(answer.result.receipt).state == "rolled_back"
    assert snapshot(tmp_path / "root") == before


def test_packages_that_do_not_need_each_other_run_at_the_same_time(tmp_path, order, run):
    """Each waits for what the other makes, so that one after the other would never end."""
    for own, other in (("a", "b"), ("b", "a")):
        order.member(own)
        meet = f"touch {tmp_path}/{own}; for i in $(seq 200); do [ -e {tmp_path}/{other} ] && exit 0; sleep 0.05; done; exit 1"
        order.node("shell.exec", argv=["sh", "-c", meet], name=own)
    assert run(jobs=2).status == "done"


def test_a_package_begins_when_all_that_it_needs_is_done(tmp_path, order, run):
    log = tmp_path / "log"
    a = order.member("a")
    order.node("shell.exec", argv=["sh", "-c", f"sleep 0.2; echo a >> {log}"], name="a")
    b = order.member("b")
    order.node("shell.exec", argv=["sh", "-c", f"echo b >> {log}"], name="b")
    order.member("", needs=[a, b])
    order.node("shell.exec", argv=["sh", "-c", f"echo top >> {log}"], name="top")
    assert run(jobs=4).status == "done"
    assert log.read_text().split() == ["b", "a", "top"]


def test_a_completed_phase_of_the_package_that_fails_is_compensated_once_and_no_other(tmp_path, order, run):
    log = tmp_path / "log"
    for member in ("good", "bad"):
        order.member(member)
        back = order.phase("back", kind="compensation")
        order.phase("first", compensate=back)
        order.node(
            "shell.exec",
            phase="back",
            argv=["sh", "-c", f"echo {member} >> {log}"],
            checks_only=True,
            name=f"c-{member}",
        )
        order.node("file.write", phase="first", content="x", path=f"/{member}", name=member)
    order.node("shell.exec", phase="second", **FAIL)
    answer = run()
    assert log.read_text().split() == ["bad"]
    assert written(tmp_path) == {"old", "good"}
    assert run("rollback", answer.result.receipt).status == "done"
    assert log.read_text().split() == ["bad", "good"]


def test_a_failed_package_may_be_kept_as_it_is_to_be_looked_at(tmp_path, order, run):
    order.member("bad")
    done = order.node("file.write", content="x", path="/half", name="half")
    order.node("shell.exec", needs=[done], **FAIL)
    assert run(keep_failed=True).status == "failed"
    assert written(tmp_path) == {"old", "half"}


def test_a_run_cut_off_after_a_package_was_taken_back_does_that_package_again(tmp_path, order, run):
    """The second package kills the runtime once the first one has failed; the resumed run finds the first one mended."""
    order.member("a")
    order.node("file.write", content="x", path="/a", name="a")
    order.node("shell.exec", argv=["test", "-e", str(tmp_path / "mended")], checks_only=True, name="check")
    order.member("b")
    kill = f"[ -e {tmp_path}/mended ] || {{ sleep 0.5; touch {tmp_path}/mended; kill -9 $PPID; }}"
    order.node("shell.exec", argv=["sh", "-c", kill], name="kill")
    from support.process import run_runtime

    cut = run_runtime(request("apply", tmp_path / "state", order.write(), jobs=2))
    assert cut.result is None
    assert written(tmp_path) == {"old"}
    again = run_runtime(request("resume", tmp_path / "state"))
    assert again.status == "done", again.text
    assert written(tmp_path) == {"old", "a"}


def whole(members, nodes=(), phases=None):
    phases = tuple(Phase(f"{m.name}/install", "install", member=m.path) for m in members) if phases is None else phases
    return Order(1, "x", "x", Platform("linux"), Context("top"), phases, tuple(nodes), members=tuple(members))


A, B = TreeMember("a", "a", "0" * 64), TreeMember("b", "b", "0" * 64)


@pytest.mark.parametrize(
    ("order", "says"),
    [
        (whole([A, A]), "is listed twice"),
        (whole([TreeMember("a", "a", "0" * 64, needs=("b",)), B]), "not listed before it: b"),
        (whole([TreeMember("a", "a", "0" * 64, needs=("a",))]), "not listed before it: a"),
        (whole([A], phases=(Phase("x/install", "install", member="x"),)), "which the order does not list"),
        (whole([A], phases=(Phase("x/install", "install"),)), "which the order does not list"),
        (whole([], phases=(Phase("x/install", "install", member="x"),)), "which the order does not list"),
        (
            whole([A, B], [Node("a/1", "x", "a/install"), Node("b/1", "x", "b/install", needs=("a/1",))]),
            "of a package that its own does not need",
        ),
        (
            whole(
                [A, B],
                phases=(
                    Phase("a/i", "i", member="a", compensate="b/c"),
                    Phase("b/c", "c", kind="compensation", member="b"),
                ),
            ),
            "compensated by one of another package",
        ),
    ],
)
def test_a_tree_that_does_not_hold_together_is_refused(order, says):
    with pytest.raises(BadInput, match=says):
        check_members(order)


@given(st.lists(st.sets(st.integers(0, 11)), min_size=1, max_size=12), st.data())
def test_in_any_tree_each_package_runs_once_after_what_it_needs_unless_that_failed(needs, data):
    """The schedule by itself, with failures planted anywhere."""
    from types import SimpleNamespace

    from requisition.runtime.effects import NodeFailed
    from requisition.runtime.members import run_members
    from requisition.schemas.diagnostic import Diagnostic

    members = [
        TreeMember(str(n), str(n), "", needs=tuple(str(m) for m in sorted(mine) if m < n))
        for n, mine in enumerate(needs)
    ]
    broken = {m.path for m in members if data.draw(st.booleans())} if data.draw(st.booleans()) else set()
    order = whole(members)
    seen, lock, skipped = [], threading.Lock(), set()

    def run_phase(index, scope, host):
        with lock:
            seen.append(order.phases[index].member)
        if order.phases[index].member in broken:
            raise NodeFailed(Diagnostic(what="planted"))

    host = SimpleNamespace(view=lambda: SimpleNamespace(root=SimpleNamespace(close=lambda: None)))
    executor = SimpleNamespace(
        graph=SimpleNamespace(order=order, members=[[n] for n in range(len(members))], bound=list(range(len(members)))),
        rules=SimpleNamespace(jobs=3, keep_failed=False),
        host=host,
        run_phase=run_phase,
        take_back_member=lambda member, host: None,
        effects=SimpleNamespace(end_phase=lambda phase: None, end_phases=lambda phases: None),
        ledger=SimpleNamespace(other=lambda one, scope, status, why: skipped.add(str(one))),
    )
    found = run_members(executor)
    below = {}
    for member in members:
        below[member.path] = set(member.needs).union(*(below[need] for need in member.needs))
    reachable = {m.path for m in members if not below[m.path] & broken}
    assert sorted(seen) == sorted(reachable)
    assert skipped == {m.path for m in members} - reachable
    for path in seen:
        assert below[path] <= set(seen[: seen.index(path)])
    assert bool(found) == bool(broken & reachable)
