"""An order bound to its actions: what waits for what, who is consumed, where a secret reaches, what is refused."""

import pytest

from requisition.runtime.hydrate import bodies, check_path, hydrate, slot_names
from requisition.runtime.registry import Registry
from requisition.schemas.diagnostic import BadInput
from requisition.schemas.document import Context, Node, Order, Phase, Platform

INSTALL, VERIFY = Phase("install", "install"), Phase("verify", "verify")
BODY, UNDO = Phase("body", "body", kind="body"), Phase("undo", "undo", kind="compensation")
SECRET = {"$secret": "token"}


def node(name, *needs, action="content.literal", phase="install", **slots):
    if action == "content.literal":
        slots = {"text": name} | slots
    return Node(name, action, phase, slots, tuple(sorted(needs)), location=f"p.star:{name}")


def write(name, *needs, phase="install", **slots):
    return node(name, *needs, action="file.write", phase=phase, **({"path": f"/{name}", "content": ""} | slots))


def ref(name, output="content"):
    return {"$ref": name, "output": output}


def order(*nodes, phases=(INSTALL, VERIFY)):
    return Order(1, "demo.order", "t", Platform("linux"), Context("demo"), phases, nodes)


def bound(*nodes, phases=(INSTALL, VERIFY)):
    return hydrate(order(*nodes, phases=phases), Registry())


def refused(*nodes, phases=(INSTALL, VERIFY)):
    with pytest.raises(BadInput) as failure:
        bound(*nodes, phases=phases)
    return failure.value


# the graph ---------------------------------------------------------------------------------------


def test_a_node_waits_for_those_of_its_own_phase_and_phases_come_in_turn():
    graph = bound(node("c", "a", "b"), node("a"), node("late", "c", phase="verify"), node("b", "a"))
    assert graph.waits == [2, 0, 0, 1]
    assert graph.then == [(), (0, 3), (), (0,)]
    assert graph.sequence == [1, 3, 0, 2]
    assert graph.members == [[0, 1, 3], [2]]
    assert graph.by_id == {"c": 0, "a": 1, "late": 2, "b": 3}
    assert graph.phases == {"install": 0, "verify": 1}
    assert [one.index for one in graph.bound] == [0, 1, 2, 3]
    assert [one.phase for one in graph.bound] == [0, 0, 1, 0]


def test_those_whose_outputs_are_used_are_known_and_so_is_what_is_typed_at_once():
    graph = bound(node("a"), node("b"), write("w", "a", content=ref("a")))
    assert graph.consumed == {0}
    assert [one.slots is None for one in graph.bound] == [False, False, True]
    assert graph.bound[2].refs == (0,)
    assert [one.repeats for one in graph.bound] == [False, False, True]


def test_a_mark_is_found_however_deep_it_lies():
    graph = bound(
        node("a"),
        node("b"),
        node("s", "a", "b", action="shell.exec", argv=["x", ref("a")], env={"K": ref("b")}, phase="install"),
    )
    assert set(graph.bound[2].refs) == {0, 1}
    assert graph.consumed == {0, 1}


def test_slots_with_plain_lists_and_tables_are_typed_at_once():
    graph = bound(node("s", action="shell.exec", argv=["x"], env={"K": "v"}))
    assert graph.bound[0].slots.argv == ["x"]
    assert graph.bound[0].repeats is False


def test_it_is_counted_how_many_nodes_name_a_path():
    graph = bound(write("a", path="/x"), write("b", path="/x"), write("c"), node("d", text="/x"))
    assert graph.writers == {"/x": 2, "/c": 1}


def test_the_last_node_of_a_body_is_its_result_and_a_gather_owns_its_body():
    gather = node("g", action="flow.gather", items=[1], body="body", limit=0)
    graph = bound(gather, node("x", phase="body"), node("y", phase="body"), phases=(INSTALL, BODY))
    assert graph.gathers == {"body": "g"}
    assert graph.consumed == {2}
    assert graph.bound[0].action is None
    choose = node("c", action="flow.choose", input=1, cases=[{"when": ["lit", True], "body": "body"}], default="")
    graph = bound(choose, node("x", phase="body"), phases=(INSTALL, BODY))
    assert graph.gathers == {}
    assert graph.consumed == {1}
    assert bound(gather, phases=(INSTALL, BODY)).consumed == set()


def test_all_bodies_of_a_flow_node_are_known():
    cases = [{"when": ["lit", True], "body": "one"}, {"body": "two"}, "odd", {"body": 3}]
    assert bodies(node("c", action="flow.choose", cases=cases, default="other")) == ["other", "one", "two"]
    assert bodies(node("c", action="flow.wait_until", body="b", default="")) == ["b"]


# secrets -----------------------------------------------------------------------------------------


def test_a_secret_reaches_whatever_uses_it_and_nothing_else():
    graph = bound(
        node("a", text=SECRET),
        write("b", "a", content=ref("a")),
        node("c"),
        write("d", "b"),
    )
    assert [one.secret for one in graph.bound] == [True, True, False, False]


def test_a_secret_among_the_items_reaches_the_body():
    gather = node("g", action="flow.gather", items=[SECRET], body="body", limit=0)
    inner = write("w", phase="body", content={"$item": "g", "field": ""})
    graph = bound(gather, inner, node("x"), phases=(INSTALL, BODY))
    assert [one.secret for one in graph.bound] == [True, True, False]


@pytest.mark.parametrize(
    "slots", [{"argv": ["echo", SECRET]}, {"argv": ["x"], "env": {"K": SECRET}}, {"argv": ["x"], "undo": [SECRET]}]
)
def test_a_secret_is_refused_where_a_slot_is_not_made_for_one(slots):
    failure = refused(node("s", action="shell.exec", **slots))
    assert "is given a secret" in str(failure)
    assert "p.star:s" in str(failure)


def test_every_misplaced_secret_is_told_at_once():
    failure = refused(
        node("s", action="shell.exec", argv=[SECRET], env={"K": SECRET}), node("t", action="shell.exec", argv=[SECRET])
    )
    assert len(failure.diagnostics) == 3


def test_the_path_of_a_secret_file_is_no_secret():
    first = write("a", content=SECRET)
    path = node("s", "a", action="shell.exec", argv=["cat", ref("a", "path")])
    assert bound(first, path).bound[1].secret
    by_default = node("s", "a", action="shell.exec", argv=["cat", {"$ref": "a"}])
    assert bound(first, by_default).bound[1].secret
    text = node("l", text=SECRET)
    assert "is given a secret" in str(refused(text, node("s", "l", action="shell.exec", argv=[ref("l", "content")])))


def test_an_item_of_secret_items_is_a_secret():
    gather = node("g", action="flow.gather", items=[SECRET], body="body", limit=0)
    inner = node("s", phase="body", action="shell.exec", argv=["x", {"$item": "g", "field": ""}])
    assert "is given a secret" in str(refused(gather, inner, phases=(INSTALL, BODY)))


def test_a_secret_on_stdin_is_where_it_belongs():
    assert bound(node("s", action="shell.exec", argv=["x"], stdin=SECRET)).bound[0].secret


# refusals ----------------------------------------------------------------------------------------

REFUSED = {
    "one id twice": ([node("a"), node("a")], (INSTALL, VERIFY), "same id"),
    "an unknown phase": ([node("a", phase="x")], (INSTALL,), "its phase 'x'"),
    "an unknown need": ([node("a", "x")], (INSTALL,), "it needs 'x'"),
    "an unknown need beside a promise": ([node("b"), write("a", "b", "x", content=ref("b"))], (INSTALL,), "needs 'x'"),
    "an unknown promise": ([write("a", content=ref("x"))], (INSTALL,), "it refers to 'x'"),
    "a promise nobody waits for": ([node("b"), write("a", content=ref("b"))], (INSTALL,), "without waiting"),
    "a cycle": ([node("a", "b"), node("b", "a"), node("free")], (INSTALL,), "wait for each other: a, b"),
    "an unknown slot": ([write("a", zeal=1)], (INSTALL,), "unknown slot 'zeal'; file.write has "),
    "an unknown slot beside a promise": (
        [node("b"), write("a", "b", content=ref("b"), zeal=1)], (INSTALL,), "unknown slot 'zeal'"
    ),
    "a missing slot beside a promise": (
        [node("b"), node("a", "b", action="file.write", content=ref("b"))], (INSTALL,), "slot 'path' is missing"
    ),
    "a body that is nowhere": ([node("g", action="flow.gather", items=[], body="x")], (INSTALL,), "not a body phase"),
    "a body that is a phase": (
        [node("g", action="flow.gather", items=[], body="verify")], (INSTALL, VERIFY), "not a body phase"
    ),
    "a compensation that is nowhere": (
        [], (Phase("install", "install", compensate="x"),), "install refers to 'x', which is not a compensation phase"
    ),
    "a compensation that is a body": (
        [], (Phase("install", "install", compensate="body"), BODY), "not a compensation phase"
    ),
    "a compensation of two": (
        [],
        (Phase("install", "i", compensate="undo"), Phase("verify", "v", compensate="undo"), UNDO),
        "belongs to both install and verify",
    ),
    "a body that runs itself": (
        [node("g", action="flow.gather", items=[], body="body", phase="body")], (INSTALL, BODY), "'body' runs itself"
    ),
    "bodies that run each other": (
        [
            node("g", action="flow.gather", items=[], body="body", phase="other"),
            node("h", action="flow.gather", items=[], body="other", phase="body"),
        ],
        (INSTALL, BODY, Phase("other", "o", kind="body")),
        "runs itself",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_in_words(name):
    nodes, phases, words = REFUSED[name]
    assert words in str(refused(*nodes, phases=phases))


def test_all_findings_come_at_once_with_their_places():
    failure = refused(write("a", zeal=1), node("b", phase="x"), write("c", path="c"))
    assert [finding.where for finding in failure.diagnostics] == ["p.star:a", "p.star:b", "p.star:c"]


def test_of_a_long_cycle_five_nodes_are_named():
    ring = [node(f"n{at}", f"n{(at + 1) % 9}") for at in range(9)]
    assert str(refused(*ring)).endswith("wait for each other: n0, n1, n2, n3, n4")


def test_nested_bodies_are_fine():
    outer = node("g", action="flow.gather", items=[1], body="body")
    inner = node("h", action="flow.gather", items=[1], body="other", phase="body")
    phases = (INSTALL, BODY, Phase("other", "o", kind="body"))
    assert bound(outer, inner, node("x", phase="other"), phases=phases).gathers == {"body": "g", "other": "h"}


def test_a_phase_may_be_compensated():
    assert bound(node("x", phase="undo"), phases=(Phase("install", "i", compensate="undo"), UNDO)).sequence == [0]


@pytest.mark.parametrize("mode", [0, 0o7777, 0o644])
def test_all_permission_bits_are_permitted(mode):
    assert bound(write("a", mode=mode)).bound[0].slots.mode == mode


@pytest.mark.parametrize("mode", [-1, 0o10000])
def test_other_bits_are_not(mode):
    assert f"slot 'mode' holds {mode}" in str(refused(write("a", mode=mode)))


@pytest.mark.parametrize("path", ["/a", "/a/b", "/a.b", "/..a", "/a..", "/.hidden", "/a/.b", "/-rf", "/a b"])
def test_a_path_is_absolute_and_normalized(path):
    check_path(node("a"), "path", path)


@pytest.mark.parametrize(
    "path", ["", "a", "./a", "/a/", "//a", "/a//b", "/a/..", "/../a", "/a/./b", "/.", "/a\0b", 7, None, ["/a"]]
)
def test_any_other_path_is_refused(path):
    with pytest.raises(BadInput, match="expected an absolute normalized path"):
        check_path(node("a"), "path", path)


def test_the_root_itself_is_a_place_to_work_in_and_an_optional_path_may_be_empty():
    assert bound(node("s", action="shell.exec", argv=["x"], cwd="/", creates="")).bound[0].slots.cwd == "/"
    with pytest.raises(BadInput, match="slot 'creates'"):
        check_path(node("a"), "creates", "x")


def test_slots_are_known_by_what_they_hold():
    spec = Registry().get("file.copy", where="").spec
    names = slot_names(spec)
    assert names.paths == ("path",)
    assert names.inputs == ("source",)
    assert names.modes == ("mode",)
    assert names.claims
    assert not slot_names(Registry().get("file.chmod", where="").spec).claims
    assert slot_names(spec) is names
