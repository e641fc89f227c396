"""Taking back, last in first out: what cannot be taken back is told, and the rest goes on."""

import errno
import os

import pytest

from requisition.runtime import unwind
from requisition.runtime.host import RealHost
from requisition.runtime.journal import Compensated, Journal, Undone, read_journal
from requisition.schemas.document import Phase
from requisition.schemas.receipt import Left
from requisition.stdlib.action import ActionError
from requisition.stdlib.host import ABSENT, FileChange, Move
from requisition.stdlib.providers.shell import Exec
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
    """Applies the order; (answer, its receipt)."""

    def go(**fields):
        answer = ask(request("apply", tmp_path / "state", order.write(), on_conflict="overwrite", **fields))
        return answer, read_receipt(answer.result.receipt)

    return go


def taken_back(receipt):
    return [(entry.id.rpartition(":")[2], entry.status) for entry in receipt.rollback]


def undone(tmp_path, kind=Undone):
    journal = next((tmp_path / "state" / "runs").glob("*/journal"))
    return [record for record in read_journal(str(journal)) if isinstance(record, kind)]


def test_what_was_done_last_is_taken_back_first(tmp_path, order, run):
    before, root = snapshot(tmp_path / "root"), tmp_path / "root"
    log = tmp_path / "log"
    last = []
    for name in "abc":
        undo = ["sh", "-c", f"echo {name} >> {log}"]
        last = [order.node("shell.exec", argv=["true"], undo=undo, name=name, needs=last)]
    order.node("shell.exec", needs=last, **FAIL)
    answer, receipt = run()
    assert answer.status == "failed"
    assert receipt.state == "rolled_back"
    assert log.read_text().split() == ["c", "b", "a"]
    assert taken_back(receipt)[-3:] == [("c", "done"), ("b", "done"), ("a", "done")]
    assert [record.intent for record in undone(tmp_path)][-3:] == [2, 1, 0]
    assert snapshot(root) == before


def test_a_failed_undo_is_told_and_the_rest_is_taken_back(tmp_path, order, run):
    log = tmp_path / "log"
    a = order.node("shell.exec", argv=["true"], undo=["sh", "-c", f"echo a >> {log}"], name="a")
    b = order.node("shell.exec", argv=["true"], undo=["sh", "-c", "echo no way >&2; exit 3"], name="b", needs=[a])
    order.node("shell.exec", needs=[b], **FAIL)
    answer, receipt = run()
    assert receipt.state == "failed"
    assert log.read_text() == "a\n"
    assert ("b", "failed") in taken_back(receipt)
    assert ("a", "done") in taken_back(receipt)
    told = [finding for finding in answer.result.diagnostics if "shell.exec:b" in finding.what]
    assert len(told) == 1
    assert "no way" in told[0].what
    assert told[0].where == "package.star:2"
    assert told[0].why == "the undo did not succeed"


def test_what_cannot_be_undone_at_all_is_told_and_no_failure(tmp_path, order, run):
    a = order.node("shell.exec", argv=["true"], name="a")
    b = order.node("shell.exec", argv=["true"], checks_only=True, name="b", needs=[a])
    order.node("file.write", content="x", path="/x", name="x")
    order.node("shell.exec", needs=[b], **FAIL)
    answer, receipt = run()
    assert receipt.state == "rolled_back"
    assert not (tmp_path / "root" / "x").exists()
    assert {("a", "not_compensable"), ("x", "done")} <= set(taken_back(receipt))
    assert "b" not in dict(taken_back(receipt))  # it only looked
    told = [finding for finding in answer.result.diagnostics if "shell.exec:a" in finding.what]
    assert [(finding.why, "cannot be undone" in finding.what) for finding in told] == [
        ("its effect cannot be undone", True)
    ]
    assert not [finding for finding in answer.result.diagnostics if "shell.exec:b" in finding.what]


def test_what_somebody_changed_is_left_and_told(tmp_path, order, run):
    write = order.node("file.write", content="ours", path="/x")
    script = f"echo theirs > {tmp_path}/root/x; exit 1"
    order.node("shell.exec", argv=["sh", "-c", script], undo=["true"], name="fail", needs=[write])
    answer, receipt = run()
    assert receipt.state == "failed"
    assert (tmp_path / "root" / "x").read_text() == "theirs\n"
    assert "/x was changed since" in answer.text


@pytest.fixture
def compensated(tmp_path, order):
    """Two phases; the first has a compensation that appends to a log and may fail."""

    def make(*argv):
        order.phases.append(Phase("demo/install", "install", compensate="demo/undo"))
        order.phases.append(Phase("demo/undo", "undo", kind="compensation"))
        order.node("file.write", content="x", path="/x")
        order.node("shell.exec", argv=["sh", "-c", " ".join(argv)], phase="undo", checks_only=True, name="u")
        order.node("shell.exec", phase="verify", **FAIL)

    return make


def test_a_completed_phase_is_compensated_before_its_nodes_are_taken_back(tmp_path, compensated, run):
    compensated(f"test -e {tmp_path}/root/x && echo seen > {tmp_path}/log")
    answer, receipt = run()
    assert receipt.state == "rolled_back", answer.text
    assert (tmp_path / "log").read_text() == "seen\n"
    assert not (tmp_path / "root" / "x").exists()
    entry = next(entry for entry in receipt.rollback if entry.what == "compensation")
    assert (entry.id, entry.status) == ("demo/undo", "done")
    assert undone(tmp_path, Compensated) == [Compensated("demo/install", "done")]
    assert [e.text for e in answer.events if e.kind == "rollback" and e.phase == "demo/undo"] == ["compensated"]


def test_a_compensation_that_fails_is_told_and_the_rest_is_taken_back(tmp_path, compensated, run):
    compensated("echo no way >&2; exit 3")
    answer, receipt = run()
    assert receipt.state == "failed"
    assert not (tmp_path / "root" / "x").exists()
    assert "compensation of demo/install failed" in answer.text
    assert "no way" in answer.text
    entry = next(entry for entry in receipt.rollback if entry.what == "compensation")
    assert entry.status == "failed"
    assert undone(tmp_path, Compensated) == [Compensated("demo/install", "failed")]


def test_a_phase_without_compensation_that_is_completed_is_just_taken_back(tmp_path, order, run):
    order.node("file.write", content="x", path="/x")
    order.node("shell.exec", phase="verify", **FAIL)
    _, receipt = run()
    assert receipt.state == "rolled_back"
    assert {entry.what for entry in receipt.rollback} == {"node"}


def test_a_phase_that_is_retried_takes_back_only_its_own(tmp_path, order, run):
    log = tmp_path / "log"
    first = ["sh", "-c", f"echo first >> {log}"]
    order.node("shell.exec", argv=["true"], undo=first, name="before")
    order.phase("verify", retry={"max_attempts": 2, "initial_delay_ms": 0})
    order.node("shell.exec", argv=["sh", "-c", f"echo try >> {log}; exit 1"], phase="verify", undo=["true"], name="f")
    _, receipt = run()
    assert receipt.state == "rolled_back"
    assert log.read_text().split() == ["try", "try", "first"]


class Syncs:
    """How often an unwind made things durable, and what it had recorded by then."""

    def __init__(self, monkeypatch):
        self.unwinding, self.undone, self.noted = False, [], 0
        real_note, real_commit, real_unwind = Journal.note, Journal.commit, unwind.Unwinder.unwind

        def note(journal, record):
            self.noted += isinstance(record, Undone)
            real_note(journal, record)

        def commit(journal, records=()):
            if self.unwinding:
                self.undone.append(self.noted)
                self.noted = 0
            real_commit(journal, records)

        def walk(this):
            self.unwinding = True
            try:
                return real_unwind(this)
            finally:
                self.unwinding = False

        monkeypatch.setattr(Journal, "note", note)
        monkeypatch.setattr(Journal, "commit", commit)
        monkeypatch.setattr(unwind.Unwinder, "unwind", walk)


def test_what_was_taken_back_is_made_durable_in_groups(order, run, monkeypatch):
    for number in range(7):
        order.node("file.write", content="x", path=f"/{number}", phase="prepare")
    order.node("shell.exec", undo=["true"], **FAIL)
    syncs = Syncs(monkeypatch)
    monkeypatch.setattr(unwind, "GROUP", 3)
    run()
    assert syncs.undone == [3, 3, 2]


def test_changes_of_one_path_are_recorded_one_by_one(order, run, monkeypatch):
    last = []
    for number in range(3):
        last = [order.node("file.write", content=f"{number}", path="/x", name=f"{number}", needs=last)]
    for number in range(3):
        order.node("file.write", content="x", path=f"/{number}", phase="provision")
    order.node("shell.exec", phase="verify", undo=["true"], **FAIL)
    syncs = Syncs(monkeypatch)
    run()
    assert syncs.undone == [5, 1, 1, 0]


def test_a_thing_that_was_moved_and_then_changed_goes_back_under_its_first_name(tmp_path, order, run):
    before = snapshot(tmp_path / "root")
    moved = order.node("file.rename", source="/old", path="/new")
    wrote = order.node("file.write", content="other", path="/new", needs=[moved], name="w")
    order.node("shell.exec", needs=[wrote], undo=["true"], **FAIL)
    answer, receipt = run()
    assert receipt.state == "rolled_back", answer.text
    assert snapshot(tmp_path / "root") == before


def test_without_room_for_the_journal_all_is_taken_back_and_that_is_told_once(tmp_path, order, run, monkeypatch):
    before = snapshot(tmp_path / "root")
    for number in range(3):
        order.node("file.write", content="x", path=f"/{number}", phase="prepare")
    order.node("shell.exec", undo=["true"], **FAIL)
    real, real_unwind, tries = Journal.commit, unwind.Unwinder.unwind, []

    def commit(journal, records=()):
        if full[0]:
            tries.append(1)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(journal, records)

    def walk(this):
        full[0] = True
        try:
            return real_unwind(this)
        finally:
            full[0] = False

    full = [False]
    monkeypatch.setattr(unwind, "GROUP", 1)
    monkeypatch.setattr(Journal, "commit", commit)
    monkeypatch.setattr(unwind.Unwinder, "unwind", walk)
    answer, _ = run()
    assert snapshot(tmp_path / "root") == before
    assert len(tries) == 1, "a journal that cannot be written is not tried for each file"
    told = [finding for finding in answer.result.diagnostics if "could not be recorded" in finding.what]
    assert len(told) == 1
    assert "run plan rollback again" in told[0].next


def test_only_what_was_chosen_above_the_mark_is_part_of_a_partial_unwind():
    stack = unwind.RecoveryStack()
    intents = [unwind.Intent(number, (), ()) for number in range(6)]
    for intent in intents[:2]:
        stack.begun.add(stack.push(intent))
    assert stack.push(unwind.PhaseMark("p", "c")) == -1
    for intent in intents[2:]:
        stack.begun.add(stack.push(intent))
    assert stack.positions == [0, 1, -1, 2, 3, 4, 5]
    stack.begun.remove(3)
    stack.undone.add(4)
    part = stack.part(1, lambda intent: intent.node != 5)
    assert part.entries == [intents[1], intents[2]]
    assert part.positions == [1, 2]
    assert part.begun == {1, 2}


def test_the_stack_names_all_its_paths_and_a_mark_has_none():
    stack = unwind.RecoveryStack()
    stack.push(unwind.Intent(0, (), (FileChange("/a", ABSENT, Left("/a", "file")),), None, (Move("/b", "/c", 1),)))
    stack.push(unwind.PhaseMark("p", "c"))
    assert list(stack.paths()) == ["/a", "/b", "/c"]


def test_before_and_after_an_own_undo_answers_are_looked_up_anew(order, run, monkeypatch):
    seen = []
    forget, undo, sync = RealHost.forget_answers, Exec.undo, RealHost.sync
    monkeypatch.setattr(RealHost, "forget_answers", lambda host: (seen.append("forget"), forget(host)))
    monkeypatch.setattr(RealHost, "sync", lambda host: (seen.append("sync"), sync(host)))
    monkeypatch.setattr(Exec, "undo", lambda action, host, state: (seen.append("undo"), undo(action, host, state)))
    order.node("shell.exec", argv=["true"], undo=["true"], name="a")
    order.node("shell.exec", phase="verify", undo=["true"], **FAIL)
    run()
    assert seen[-7:] == ["forget", "undo", "forget", "forget", "undo", "forget", "sync"]


def test_what_was_never_begun_is_not_taken_back(order, run, monkeypatch):
    put = RealHost.put_file

    def fails(host, change, content):
        if change.path == "/b":
            raise ActionError("no more")
        put(host, change, content)

    for name in "abc":
        order.node("file.write", content="x", path=f"/{name}", name=name)
    monkeypatch.setattr(RealHost, "put_file", fails)
    _, receipt = run()
    assert receipt.state == "rolled_back"
    assert taken_back(receipt) == [("b", "done"), ("a", "done")]


def test_what_a_retry_took_back_is_not_taken_back_again(tmp_path, order, run):
    log = tmp_path / "log"
    order.phase("verify", retry={"max_attempts": 2, "initial_delay_ms": 0})
    undo = ["sh", "-c", f"echo undo >> {log}"]
    order.node("shell.exec", argv=["sh", "-c", f"echo try >> {log}; exit 1"], phase="verify", undo=undo, name="f")
    run()
    assert log.read_text().split() == ["try", "undo", "try", "undo"]
