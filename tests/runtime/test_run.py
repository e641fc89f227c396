import json

from requisition.runtime import run as runs
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

    monkeypatch.setattr(runs, "load_hooks", lambda emit: (breaks,))
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
