"""The state view follows the receipts, also to where nothing is left."""

import pytest

from requisition.runtime.layout import root_directory
from requisition.runtime.past import target_roots
from requisition.runtime.receipts import read_trace
from requisition.runtime.state import RootState, fold
from requisition.schemas.diagnostic import BadInput
from support.orders import OrderBuilder
from support.process import request, run_runtime
from support.session import ask


def test_when_the_last_path_is_removed_the_view_is_empty(tmp_path):
    (tmp_path / "root").mkdir()
    receipts = []
    for action, slots in (("file.write", {"content": "x"}), ("file.remove", {})):
        order = OrderBuilder(tmp_path / "package", tmp_path / "root")
        order.node(action, path="/x", **slots)
        answer = run_runtime(request("apply", tmp_path / "state", order.write()))
        assert answer.status == "done", answer.text
        receipts.append(answer.result.receipt)
    place = root_directory(str(tmp_path / "state"), str(tmp_path / "root"))
    assert RootState(place, str(tmp_path / "root")).entries == {}
    traces = [read_trace(path) for path in receipts]
    assert list(fold(traces[:1])) == ["/x"]
    assert fold(traces) == {}
    assert run_runtime(request("status", tmp_path / "state", target_root=str(tmp_path / "root"))).status == "done"


@pytest.fixture
def two_packages(tmp_path):
    """Each made a folder with a file in it; somebody put another one there."""
    (tmp_path / "root").mkdir()
    runs = {}
    for package in ("one", "two"):
        order = OrderBuilder(tmp_path / package, tmp_path / "root", package=package)
        made = order.node("file.mkdir", path=f"/{package}/deep/er", parents=True)
        order.node("file.write", path=f"/{package}/deep/er/file", content=package, needs=[made])
        answer = ask(request("apply", tmp_path / "state", order.write()))
        assert answer.status == "done", answer.text
        runs[package] = answer.result.run_id
        (tmp_path / f"root/{package}/deep/mine").write_text("")
        (tmp_path / f"root/{package}/deep/er/file").unlink()
    return runs


def drift(tmp_path, **fields):
    answer = ask(request("status", tmp_path / "state", target_root=str(tmp_path / "root"), **fields))
    return sorted((event.status, event.data["path"]) for event in answer.events if event.kind == "drift")


def test_a_status_looks_at_what_it_is_asked_for(tmp_path, two_packages):
    of = {name: [("extra", f"/{name}/deep/mine"), ("missing", f"/{name}/deep/er/file")] for name in ("one", "two")}
    assert drift(tmp_path) == sorted(of["one"] + of["two"])
    assert drift(tmp_path, packages=("two",)) == of["two"]
    assert drift(tmp_path, runs=frozenset({two_packages["one"]})) == of["one"]
    assert drift(tmp_path, packages=("two",), runs=frozenset({two_packages["one"]})) == []
    assert drift(tmp_path, runs=frozenset()) == []


def test_target_roots_are_known_without_reading_a_run(tmp_path, two_packages):
    assert target_roots(str(tmp_path / "nothing")) == []
    (tmp_path / "state/roots/0123456789abcdef").mkdir()  # refused before it began
    for run in (tmp_path / "state/runs").iterdir():
        (run / "run.json").write_text("damaged")
    assert target_roots(str(tmp_path / "state")) == [str(tmp_path / "root")]
    (tmp_path / "state/roots/0123456789abcdef/head.json").write_text("{")
    with pytest.raises(BadInput, match="0123456789abcdef"):
        target_roots(str(tmp_path / "state"))
