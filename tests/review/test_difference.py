"""What two orders mean differently, by laws over random changes and by single cases."""

import hashlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from requisition.review.difference import difference
from requisition.review.sides import Side, open_side
from requisition.schemas import orderfile
from requisition.schemas.document import Node, Order, Phase, Retry
from requisition.schemas.receipt import NodeRun, Receipt
from support.graphs import acyclic, order_of
from support.orders import OrderBuilder


def side(document) -> Side:
    return Side("x", document, None, ())


def between(a, b):
    """The difference between two orders, or lists of nodes."""
    one, other = (document if isinstance(document, Order | Receipt) else order_of(document) for document in (a, b))
    return difference(side(one), side(other))


@given(acyclic(), acyclic())
def test_an_order_does_not_differ_from_itself_and_added_is_removed_seen_from_the_other_end(some, others):
    assert between(some, some).empty
    there, back = between(some, others), between(others, some)
    assert (there.added, there.removed) == (back.removed, back.added)
    assert {one.id for one in there.changed} == {one.was or one.id for one in back.changed}
    assert there.empty == back.empty == (some == others)


@given(acyclic(), acyclic())
def test_what_is_told_is_enough_to_make_the_nodes_and_edges_of_the_other_order(some, others):
    found = between(some, others)
    needs = {node.id: set(node.needs) for node in some}
    for one in found.removed:
        del needs[one.id]
    by_id = {node.id: node for node in others}
    needs |= {one.id: set(by_id[one.id].needs) for one in found.added}
    for change in found.changed:
        before = needs.pop(change.was or change.id)
        needs[change.id] = (before | set(change.waits)) - set(change.no_longer_waits)
    assert needs == {node.id: set(node.needs) for node in others}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab\n\x1b", max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=2),
    max_leaves=4,
)


@given(st.dictionaries(st.sampled_from("abc"), VALUES), st.dictionaries(st.sampled_from("abc"), VALUES))
def test_slots_differ_exactly_when_a_change_is_told_and_it_names_them(before, after):
    found = between(*([Node("n", "file.write", "demo/install", slots)] for slots in (before, after)))
    told = {slot.name.partition(".")[0] for change in found.changed for slot in change.slots}
    assert told == {name for name in before.keys() | after.keys() if before.get(name, ...) != after.get(name, ...)}
    msgspec.json.encode(found)


def one(**slots) -> Node:
    fields = {name: slots.pop(name) for name in ("needs", "retry", "elevate", "phase", "id", "action") if name in slots}
    return replace(Node("demo/install/file.write:/a", "file.write", "demo/install", slots), **fields)


def slots(before: Node, after: Node) -> list[tuple[str, str, str, str]]:
    (change,) = between([before], [after]).changed
    return [(slot.name, slot.before, slot.after, slot.diff) for slot in change.slots]


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({"mode": 0o640}, {"mode": 0o600}, ("mode", "0640", "0600", "")),
        ({}, {"owner": "web"}, ("owner", "", "'web'", "")),
        ({"data": {"port": 80, "host": "a"}}, {"data": {"port": 90, "host": "a"}}, ("data.port", "80", "90", "")),
        ({"data": {"a": {"b": 1}}}, {"data": {"a": {}}}, ("data.a.b", "1", "", "")),
        ({"content": "a\nb\n"}, {"content": "a\nc\n"}, ("content", "", "", "@@ -1,2 +1,2 @@\n a\n-b\n+c\n")),
        ({"content": {"$secret": "one"}}, {"content": {"$secret": "two"}}, ("content", "••• one", "••• two", "")),
        ({"content": "x" * 900}, {"content": ""}, ("content", "'" + "x" * 199 + "… (902 characters)", "''", "")),
    ],
)
def test_a_slot_is_told_in_the_way_that_its_value_is_read(before, after, told):
    assert slots(one(**before), one(**after)) == [told]


@pytest.mark.parametrize("make", [lambda inner: [inner], lambda inner: {"a": inner}])
def test_values_that_are_nested_as_deep_as_a_document_may_be_are_compared_and_shown(make):
    from requisition.review.risks import risks
    from requisition.review.values import shown_value, texts

    before = after = {"$ref": "gone"}
    for number in range(900):
        before, after = make(before), make(after) if number else make(1)
    found = slots(one(data=before), one(data=after))
    assert len(found) == 1
    assert "…" in found[0][1]
    assert "…" in shown_value("data", before)
    assert list(texts("data", before)) == ["gone"]
    assert risks(order_of([one(data=before, elevate=True)]))


def test_what_stands_in_a_slot_for_secrets_only_is_never_shown():
    before, after = (one(action="encryption.decrypt", identity=key) for key in ("AGE-1", "AGE-2"))
    assert slots(before, after) == [("identity", "•••", "•••", "")]
    assert b"AGE-" not in msgspec.json.encode(between([before], [after]))


def test_a_node_that_moves_to_another_phase_is_one_change_and_those_that_use_it_are_none():
    user = one(id="demo/verify/x", phase="demo/verify", content={"$ref": "demo/install/file.write:/a"})
    users = [replace(user, needs=("demo/install/file.write:/a",))]
    now = replace(one(), id="demo/prepare/file.write:/a", phase="demo/prepare")
    changed = replace(user, needs=(now.id,), slots={"content": {"$ref": now.id}})
    found = between([one(), *users], [now, changed])
    assert (found.added, found.removed) == ((), ())
    (move,) = found.changed
    assert (move.id, move.was, move.slots, move.waits) == (now.id, "demo/install/file.write:/a", (), ())
    assert [(f.name, f.before, f.after) for f in move.fields] == [("phase", "demo/install", "demo/prepare")]


def test_where_two_nodes_could_have_moved_none_is_said_to():
    before = [one(), one(id="demo/prepare/file.write:/a", phase="demo/prepare")]
    after = [one(id="demo/verify/file.write:/a", phase="demo/verify")]
    found = between(before, after)
    assert (len(found.added), len(found.removed), found.changed) == (1, 2, ())


def test_fields_of_a_node_and_what_it_waits_for_are_told():
    others = [Node(name, "file.mkdir", "demo/install") for name in "xy"]
    before, after = one(needs=("x",)), one(needs=("y",), elevate=True, retry=Retry(3))
    (change,) = between([*others, before], [*others, after]).changed
    assert (change.waits, change.no_longer_waits) == (("y",), ("x",))
    assert [(f.name, f.before, f.after[:14]) for f in change.fields] == [
        ("retry", "", "max_attempts=3"),
        ("elevate", "", "yes"),
    ]


def test_phases_that_come_go_change_and_run_in_another_order_are_told():
    names = ("a", "b", "c", "d")
    before = replace(order_of([]), phases=tuple(Phase(name, name) for name in names))
    after = replace(before, phases=(Phase("d", "d"), Phase("a", "a", compensate="x"), Phase("c", "c"), Phase("e", "e")))
    found = [(p.id, p.change, p.after) for p in between(before, after).phases]
    assert found == [("b", "removed", ""), ("e", "added", ""), ("a", "changed", ""), ("d", "reordered", "")]


def test_what_the_order_is_for_is_told_setting_by_setting():
    before = order_of([])
    context = replace(before.context, settings={"port": 81, "motto": "yes"}, hosts=())
    found = between(before, replace(before, context=context, serial=8)).order
    assert [(f.name, f.before, f.after) for f in found] == [
        ("hosts", "web1", ""),
        ("serial", "7", "8"),
        ("settings.port", "8080", "81"),
    ]


def test_only_risks_that_were_not_there_before_are_new():
    shell = Node("s", "shell.exec", "demo/install", {"argv": ["x"], "shell": True})
    assert [risk.kind for risk in between([], [shell]).new_risks] == ["shell", "irreversible"]
    assert between([shell], [shell, one()]).new_risks == ()


def built(folder, content: bytes, *, bundle: bool = False, kept: bool = True):
    order = OrderBuilder(folder, folder / "root")
    order.node("file.copy", source=order.input("a.txt", content), path="/a")
    path = order.write()
    if bundle:
        sealed = orderfile.read(str(path))
        orderfile.write(str(path), sealed, {hashlib.sha256(content).hexdigest(): str(folder / "a.txt")})
    if not kept:
        (folder / "a.txt").write_bytes(b"something else by now")
    return open_side(str(path))


@pytest.mark.parametrize("bundle", [False, True])
def test_contents_of_inputs_are_compared_where_they_are_at_hand(bundle, tmp_path):
    a = built(tmp_path / "a", b"one\ntwo\n", bundle=bundle, kept=not bundle)
    b = built(tmp_path / "b", b"one\nthree\n", bundle=bundle, kept=not bundle)
    found = difference(a, b)
    assert [(i.path, i.diff) for i in found.inputs] == [("a.txt", "@@ -1,2 +1,2 @@\n one\n-two\n+three\n")]
    assert [change.inputs for change in found.changed] == [("a.txt",)]


def test_a_content_that_is_not_the_pinned_one_is_never_shown(tmp_path):
    a, b = built(tmp_path / "a", b"one\n", kept=False), built(tmp_path / "b", b"two\n")
    (change,) = difference(a, b).inputs
    assert change.diff.startswith("a content is not at hand")


@pytest.mark.parametrize(("content", "words"), [(b"\xff\0", "binary"), (b"x\n" * 300_000, "too much to show")])
def test_contents_that_are_no_text_or_too_large_are_told_by_their_size(content, words, tmp_path):
    (change,) = difference(built(tmp_path / "a", b"one\n"), built(tmp_path / "b", content)).inputs
    assert words in change.diff


def test_nothing_is_an_order_that_everything_is_added_to(tmp_path):
    found = difference(open_side("/dev/null"), built(tmp_path / "a", b"one\n"))
    assert [node.id for node in found.added] == ["demo/install/file.copy:/a"]
    assert (found.order, found.removed, found.changed) == ((), (), ())


def test_two_runs_of_one_order_differ_by_what_they_did():
    def ran(status):
        runs = (NodeRun(0, status),)
        return Receipt(1, "r", "t", "r", "executed", "complete", order_of([one()]), "", "", "", "h", "/", nodes=runs)

    assert between(ran("done"), ran("unchanged")).empty
    (change,) = between(ran("done"), ran("failed")).statuses
    assert (change.before, change.after) == ("done", "failed")


def test_a_difference_of_a_hundred_thousand_nodes_is_found():
    nodes = [Node(f"demo/install/file.mkdir:/{number}", "file.mkdir", "demo/install") for number in range(100_000)]
    moved = [replace(node, id=node.id.replace("install", "verify"), phase="demo/verify") for node in nodes]
    assert len(between(nodes, moved).changed) == 100_000


def test_the_document_is_one_that_its_schema_describes():
    import jsonschema

    from requisition.review.schemas import schema

    found = between([one(mode=1)], [one(mode=2), Node("s", "shell.exec", "demo/install", {"argv": ["x"]})])
    jsonschema.validate(msgspec.json.decode(msgspec.json.encode(found)), msgspec.json.decode(schema("diff")))
