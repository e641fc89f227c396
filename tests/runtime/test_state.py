"""The state view follows the receipts, also to where nothing is left."""

from requisition.runtime.layout import root_directory
from requisition.runtime.receipts import read_trace
from requisition.runtime.state import RootState, fold
from support.orders import OrderBuilder
from support.process import request, run_runtime


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
