import json
import os

from requisition.runtime import hooks
from support.orders import OrderBuilder
from support.process import request
from support.session import ask


def written(tmp_path, serial=0):
    (tmp_path / "root").mkdir(exist_ok=True)
    order = OrderBuilder(tmp_path / "package", tmp_path / "root", serial=serial)
    order.node("file.write", content="x", path="/x")
    return order.write()


def heads(tmp_path):
    return [json.loads(path.read_text()) for path in (tmp_path / "state/roots").glob("*/head.json")]


def test_a_serial_counts_even_where_there_was_nothing_to_do(tmp_path):
    ask(request("apply", tmp_path / "state", written(tmp_path, serial=1)))
    answer = ask(request("apply", tmp_path / "state", written(tmp_path, serial=5)))
    assert answer.result.summary == {"unchanged": 1}
    assert heads(tmp_path)[0]["serials"] == {"demo": 5}
    refused = ask(request("apply", tmp_path / "state", written(tmp_path, serial=4)))
    assert refused.status == "refused"
    allowed = ask(request("apply", tmp_path / "state", written(tmp_path, serial=4), allow_downgrade=True))
    assert allowed.status == "done"
    assert heads(tmp_path)[0]["serials"] == {"demo": 5}


def test_a_hook_sees_every_event_and_can_break_nothing(tmp_path, monkeypatch):
    seen = []

    def breaks(event):
        seen.append(event.kind)
        raise ValueError("a broken hook")

    monkeypatch.setattr(hooks, "load_hooks", lambda emit: (breaks,))
    answer = ask(request("apply", tmp_path / "state", written(tmp_path)))
    assert answer.status == "done"
    assert {"plan", "phase", "node"} <= set(seen)
    assert any("a broken hook" in event.text for event in answer.events if event.kind == "warning")


def test_a_stopped_run_is_taken_back_and_leaves_a_receipt(tmp_path):
    (tmp_path / "root").mkdir()
    order = OrderBuilder(tmp_path / "package", tmp_path / "root")
    order.node("file.write", content="x", path="/x")
    order.node("shell.exec", argv=["sleep", "60"], phase="verify")
    state = tmp_path / "state"
    answer = ask(request("apply", state, order.write()), cancelled=lambda: (tmp_path / "root/x").exists())
    assert answer.status == "failed"
    assert answer.result.data["state"] == "rolled_back"
    assert not (tmp_path / "root/x").exists()
    assert answer.result.receipt


def test_a_settled_order_looks_closer_where_a_path_was_touched(tmp_path):
    order = written(tmp_path)
    state, target = tmp_path / "state", tmp_path / "root/x"
    ask(request("apply", state, order))
    ask(request("apply", state, order))
    before = target.stat()
    target.write_text("y")
    os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))
    answer = ask(request("apply", state, order, on_conflict="overwrite"))
    assert answer.result.summary == {"done": 1}
    assert target.read_text() == "x"
    target.unlink()
    assert ask(request("apply", state, order)).result.summary == {"done": 1}


def test_an_order_that_came_in_between_unsettles(tmp_path):
    state, target = tmp_path / "state", tmp_path / "root/x"
    first = written(tmp_path)
    ask(request("apply", state, first))
    other = OrderBuilder(tmp_path / "other", tmp_path / "root")
    other.node("file.write", content="z", path="/x")
    ask(request("apply", state, other.write()))
    assert target.read_text() == "z"
    assert ask(request("apply", state, first)).result.summary == {"done": 1}
    assert target.read_text() == "x"
