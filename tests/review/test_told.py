"""Receipts that are damaged, or meant to do harm, are named and left out; the others are answered from."""

import os

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from requisition.review.history import index, questions
from requisition.review.history.questions import ANY_HOST, Filter
from requisition.review.history.told import MAX_RECEIPT
from requisition.schemas import canonical, planform
from requisition.schemas.document import Order
from requisition.schemas.receipt import NodeRun
from support import pasts

GOOD, BAD = pasts.run_id(1), pasts.run_id(2)


@pytest.fixture
def state(tmp_path):
    pasts.save(tmp_path / "state", receipt(1))
    pasts.save(tmp_path / "state", receipt(2, "/b"))
    return tmp_path / "state"


def receipt(minute, path="/a", **fields):
    return pasts.receipt(minute, pasts.order([path]), (NodeRun(0, "done", left=(pasts.left(path),)),), **fields)


def contained(payload, kind="receipt"):
    return b"".join(planform.pieces(planform.Header(kind, payload, planform.digest(payload)), ()))


def edited(**fields):
    """A receipt with other values in it, whole by its digests."""
    document = msgspec.json.decode(canonical.encode(receipt(2, "/b")))
    return contained(msgspec.json.encode(document | fields))


def with_node(**fields):
    return edited(nodes=[{"node": 0, "status": "done", "left": [{"path": "/b", "kind": "file", "mode": 420}]} | fields])


ORDER = msgspec.json.decode(canonical.encode(pasts.order(["/b"])))
HOSTILE = {
    "noise": (b"noise", "not a .plan file"),
    "empty": (b"", "not a .plan file"),
    "cut short": (edited()[:-40], "cut short"),
    "one bit": (edited()[:-9] + bytes([edited()[-9] ^ 1]) + edited()[-8:], ""),
    "an order": (contained(canonical.encode(pasts.order(["/b"])), "order"), "this is an order"),
    "no JSON": (contained(b"{"), "the receipt is damaged"),
    "deep": (contained(b'{"order":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "the receipt is damaged"),
    "a list": (contained(b"[]"), "the receipt is damaged"),
    "newer": (edited(version=99), "unsupported receipt version 99"),
    "of another run": (edited(run_id=GOOD), "the receipt of another run"),
    "of another order": (edited(order_checksum="sha256:" + "0" * 64), "another order than it names"),
    "with another order": (edited(order=ORDER | {"serial": 7}), "another order than it names"),
    "no order": (edited(order=None), "the order in the receipt is damaged"),
    "a node too many": (with_node(node=1), "a node that its order does not have"),
    "a negative node": (with_node(node=-1), "the receipt is damaged"),
    "a status of its own": (with_node(status="splendid"), "the receipt is damaged"),
    "a large number": (with_node(left=[{"path": "/b", "kind": "file", "mode": 1 << 70}]), "the receipt is damaged"),
    "no path": (with_node(left=[{"kind": "file"}]), "the receipt is damaged"),
    "no time": (edited(started="now"), "now"),
    "a time beyond": (edited(finished="99999-01-01T00:00:00Z"), "99999"),
}


def asked(state):
    def told(connection):
        found = questions.standing(connection, Filter(host=ANY_HOST))
        return [one.path for one in found], questions.problems(connection)

    return index.ask(str(state), told)


@pytest.mark.parametrize(("content", "why"), HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("host", ["", "far"])
def test_a_receipt_that_is_none_is_named_and_left_out(state, content, why, host):
    path = pasts.save(state, receipt(2, "/b"), host=host)
    path.write_bytes(content)
    paths, problems = asked(state)
    assert paths == (["/a", "/b"] if host else ["/a"])
    assert [(one.host, one.run) for one in problems] == [(host, BAD)]
    assert why in problems[0].why
    pasts.save(state, receipt(2, "/b"), host=host)
    assert asked(state) == (["/a", "/b", "/b"] if host else ["/a", "/b"], [])


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_bytes_are_in_a_receipt_it_is_answered_from_or_named(state, data):
    document = canonical.encode(receipt(2, "/b"))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(document) - 1))
        new = data.draw(st.one_of(st.binary(max_size=3), st.sampled_from([b"0", b"-1", b"null", b'""', b"[]", b"1e9"])))
        document = document[:at] + new + document[at + data.draw(st.integers(0, 3)) :]
    pasts.place(state, BAD).write_bytes(contained(document))
    paths, problems = asked(state)
    assert "/a" in paths
    assert [one.run for one in problems] in ([], [BAD])
    assert paths == ["/a"] or not problems


def test_what_is_no_file_is_not_waited_for(state):
    path = pasts.place(state, BAD)
    path.unlink()
    os.mkfifo(path)
    paths, problems = asked(state)
    assert paths == ["/a"]
    assert "no regular file" in problems[0].why
    path.unlink()
    path.mkdir()
    assert "no regular file" in asked(state)[1][0].why
    path.rmdir()
    path.symlink_to("/dev/zero")
    assert "no regular file" in asked(state)[1][0].why


def test_a_receipt_of_any_size_costs_no_memory(state):
    os.truncate(pasts.place(state, BAD), MAX_RECEIPT + 1)
    assert "larger than" in asked(state)[1][0].why


def test_a_rollback_that_cannot_be_read_is_named_and_the_receipt_before_it_counts(state):
    path = pasts.save(state, pasts.taken_back(receipt(2, "/b"), 5))
    assert asked(state) == (["/a"], [])
    path.write_bytes(b"noise")
    paths, problems = asked(state)
    assert paths == ["/a", "/b"]
    assert problems[0].why.startswith("rollback.plan: ")


def test_names_with_controls_in_them_are_kept_as_they_are(state):
    path = "/a\x1b[2J\x00\u202eb"
    pasts.save(state, receipt(3, path))
    assert asked(state) == (["/a", path, "/b"], [])


def test_a_folder_that_no_run_can_have_made_is_named(state):
    strange = os.fsencode(state / "runs") + b"/\xff\n"
    os.mkdir(strange)
    os.link(pasts.place(state, GOOD), strange + b"/receipt.plan")
    paths, problems = asked(state)
    assert paths == ["/a", "/b"]
    assert problems[0].run == r"\udcff\n"


def test_an_order_is_stored_once_however_often_it_ran(state):
    for minute in range(10, 20):
        pasts.save(state, receipt(minute))
    counts = index.ask(str(state), lambda connection: [connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
                                                       for table in ("runs", "orders", "nodes", "lefts")])  # fmt: skip
    assert counts == [12, 2, 2, 1]


def test_what_was_done_as_root_is_known_by_the_order_and_what_it_left_is_not(state):
    ordered = pasts.order(["/etc/secret", "/plain"])
    nodes = tuple(msgspec.structs.replace(node, elevate=node.id.endswith("secret")) for node in ordered.nodes)
    ordered: Order = msgspec.structs.replace(ordered, nodes=nodes)
    done = (NodeRun(0, "done"), NodeRun(1, "done", left=(pasts.left("/plain"),)))
    pasts.save(state, pasts.receipt(3, ordered, done, elevated=pasts.half(pasts.run_id(4))))
    (event,) = index.ask(str(state), lambda connection: questions.events(connection, Filter(), "/etc/secret"))
    assert (event.status, event.left, event.stands) == ("done", None, False)
    assert event.ran.half == pasts.half(pasts.run_id(4))
