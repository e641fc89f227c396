"""One run at a time on a target root, and nothing left of a lock whose holder was killed."""

import os
import subprocess
import threading

import pytest

from requisition.runtime.lock import Holder, Locked, hold, is_held
from support.orders import OrderBuilder
from support.process import command, encoded, request, run_runtime

ME = Holder(4711, 0, "2026-01-01T00:00:00Z", "apply")


@pytest.fixture
def busy(tmp_path):
    """A runtime in the middle of an apply: (its process, how to let it go on)."""
    (tmp_path / "root").mkdir()
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    order = OrderBuilder(tmp_path / "package", tmp_path / "root")
    wrote = order.node("file.write", content="x", path="/x")
    order.node("shell.exec", argv=["cat", str(gate)], needs=[wrote])
    asked = encoded(request("apply", tmp_path / "state", order.write()))
    with subprocess.Popen(command(), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as runtime:
        runtime.stdin.write(asked)
        runtime.stdin.flush()
        with open(gate, "wb") as opened:  # waits until the command reads
            yield runtime, opened.close
            opened.close()
        runtime.stdin.close()


def test_a_second_run_is_told_who_is_at_work_and_touches_nothing(tmp_path, busy):
    runtime, go_on = busy
    other = OrderBuilder(tmp_path / "other", tmp_path / "root")
    other.node("file.write", content="y", path="/y")
    path = other.write()
    refused = run_runtime(request("apply", tmp_path / "state", path))
    assert refused.code == 5
    assert f"is being changed by process {runtime.pid} of user {os.geteuid()} (apply) since 20" in refused.text
    assert not (tmp_path / "root" / "y").exists()
    go_on()
    assert runtime.wait() == 0
    assert run_runtime(request("apply", tmp_path / "state", path)).status == "done"


def test_a_killed_holder_leaves_a_run_to_recover_and_no_lock(tmp_path, busy):
    runtime, _ = busy
    runtime.kill()
    runtime.wait()
    again = run_runtime(request("apply", tmp_path / "state", tmp_path / "package" / "order.plan"))
    assert again.code == 6
    assert run_runtime(request("rollback", tmp_path / "state")).status == "done"
    assert not (tmp_path / "root" / "x").exists()


def test_of_many_that_come_at_once_each_runs_whole_or_is_refused(tmp_path):
    (tmp_path / "root").mkdir()
    orders = []
    for number in range(4):
        order = OrderBuilder(tmp_path / f"package{number}", tmp_path / "root", package=f"demo{number}")
        for file in range(20):
            order.node("file.write", content=f"{number}", path=f"/{file}")
        orders.append(order.write())
    for _ in range(2):
        answers = {}

        def apply(number, answers=answers):
            asked = request("apply", tmp_path / "state", orders[number], on_conflict="overwrite")
            answers[number] = run_runtime(asked)

        racers = [threading.Thread(target=apply, args=(number,)) for number in range(4)]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join()
        assert {answer.code for answer in answers.values()} <= {0, 5}, [answer.text for answer in answers.values()]
        assert 0 in {answer.code for answer in answers.values()}
        assert len({path.read_text() for path in (tmp_path / "root").iterdir()}) == 1


@pytest.mark.parametrize("text", [b"", b"{}", b"\xff", b'{"pid": "x"}'])
def test_a_lock_that_tells_nothing_is_a_lock(tmp_path, text):
    path = str(tmp_path / "lock")
    with hold(path, ME, "/r"):
        (tmp_path / "lock").write_bytes(text)
        with pytest.raises(Locked, match="/r is being changed by another process"), hold(path, ME, "/r"):
            raise AssertionError("held twice")


def test_a_lock_is_released_by_whatever_ends_its_block(tmp_path):
    path = str(tmp_path / "lock")
    with pytest.raises(KeyError), hold(path, ME, "/r"):
        raise KeyError
    with hold(path, ME, "/r"):
        assert b"4711" in (tmp_path / "lock").read_bytes()
    assert (tmp_path / "lock").read_bytes() == b""


def test_a_lock_is_not_taken_through_a_link(tmp_path):
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"), hold(str(tmp_path / "lock"), ME, "/r"):
        raise AssertionError("followed")
    assert not (tmp_path / "elsewhere").exists()


def test_whether_a_lock_is_held_can_be_seen_without_taking_it(tmp_path):
    path = str(tmp_path / "lock")
    assert not is_held(path)
    with hold(path, ME, "/"):
        assert is_held(path)
        assert is_held(path)
    assert not is_held(path)
    (tmp_path / "lock").write_text("left over by a killed process")
    assert not is_held(path)
    with hold(path, ME, "/"):
        pass
