"""Laws of the linker, for random recordings: what must be ordered is ordered, and nothing waits for later nodes."""

from itertools import combinations

from hypothesis import assume, given
from hypothesis import strategies as st

from requisition.compiler.inputs import InputTable
from requisition.compiler.link import Linker
from requisition.compiler.recording import Call, PhaseRecord, Recording
from requisition.compiler.variants import FilesBeside
from requisition.schemas.diagnostic import BadInput, Diagnostic
from requisition.schemas.document import Node, Platform
from requisition.stdlib.catalogue import load

CATALOGUE = load()
NOTHING = InputTable(FilesBeside("/nonexistent", Platform("linux"), "x.star"))
PATHS = ["/", "/a", "/a/b", "/a/b/c", "/a/b/d", "/a/e", "/f", "/ab"]
SLOTS = {
    "file.mkdir": lambda path, _: {"path": path},
    "file.write": lambda path, _: {"path": path, "content": "x"},
    "file.chmod": lambda path, _: {"path": path, "mode": 0o600},
    "file.remove": lambda path, _: {"path": path, "recursive": True},
    "file.read": lambda path, _: {"path": path},
    "file.rename": lambda path, other: {"source": path, "path": other},
    "shell.exec": lambda path, _: {"argv": ["x"], "cwd": path},
    "flow.complete": lambda *_: {"message": "done"},
}
CLAIMING = ("file.mkdir", "file.write")
one_call = st.tuples(
    st.sampled_from(sorted(SLOTS)),
    st.sampled_from(PATHS),
    st.sampled_from(PATHS),
    st.sets(st.integers(0, 30), max_size=2),
)


def linked(chosen: list[tuple[str, str, str, set[int]]]) -> list[Node]:
    calls = [
        Call(
            action,
            SLOTS[action](path, other),
            [{"_ref": number} for number in sorted(after) if number < at] or None,
            None,
            None,
            None,
            None,
            f"package.star:{at}",
            0,
        )
        for at, (action, path, other, after) in enumerate(chosen)
    ]
    recording = Recording(calls, phases=[PhaseRecord("install", "forward")])
    return Linker("demo", recording, CATALOGUE, NOTHING, {}, list(range(len(calls)))).link().nodes


def outcome(chosen: list[tuple[str, str, str, set[int]]]) -> tuple[list[Node], tuple[Diagnostic, ...]]:
    try:
        return linked(chosen), ()
    except BadInput as refused:
        return [], refused.diagnostics


def reach(nodes: list[Node]) -> list[set[int]]:
    """For each node, all that it waits for, directly or not."""
    at = {node.id: number for number, node in enumerate(nodes)}
    found: list[set[int]] = []
    for node in nodes:
        direct = {at[need] for need in node.needs}
        assert all(number < len(found) for number in direct), "a node waits for a later one"
        found.append(direct.union(*(found[number] for number in direct)))
    return found


def uses(node: Node) -> list[tuple[str, bool]]:
    return [
        (node.slots[slot.name], slot.writes)
        for slot in CATALOGUE[node.action].slots
        if slot.type == "path" and slot.name in node.slots
    ]


def above(one: str, other: str) -> bool:
    return one != other and other.startswith(one.rstrip("/") + "/")


def must_wait(earlier: Node, later: Node) -> bool:
    return any(
        (path == other and (wrote or writes)) or (above(path, other) and wrote) or (above(other, path) and writes)
        for path, wrote in uses(earlier)
        for other, writes in uses(later)
    )


@given(st.lists(one_call, max_size=14))
def test_nodes_that_touch_one_path_or_a_path_and_its_folder_run_as_written(chosen):
    nodes, findings = outcome(chosen)
    assume(not findings)
    waits = reach(nodes)
    for first, second in combinations(range(len(nodes)), 2):
        if must_wait(nodes[first], nodes[second]):
            assert first in waits[second], (nodes[first].id, nodes[second].id)


@given(st.lists(one_call, max_size=14))
def test_a_flow_node_stands_between_what_is_before_it_and_what_is_after(chosen):
    nodes, findings = outcome(chosen)
    assume(not findings)
    waits = reach(nodes)
    for at, node in enumerate(nodes):
        if node.action.startswith("flow."):
            assert waits[at] == set(range(at))
            assert all(at in waits[later] for later in range(at + 1, len(nodes)))


@given(st.lists(one_call, max_size=14))
def test_two_claims_of_a_path_are_refused_exactly_when_nothing_orders_them(chosen):
    nodes, findings = outcome(chosen)
    if findings:
        assert all("both put something at the same path" in one.what for one in findings)
        claimed = [path for action, path, *_ in chosen if action in CLAIMING]
        assert len(claimed) > len(set(claimed))
        return
    claims: dict[str, tuple[str, object]] = {}
    for (action, path, _, after), node in zip(chosen, nodes, strict=True):
        if action in CLAIMING:
            said = (action, node.slots)
            assert path not in claims or claims[path] == said or after, node.id
            claims[path] = said
            continue
        for used in [used for used, writes in uses(node) if writes]:
            claims = {one: said for one, said in claims.items() if one != used and not above(used, one)}


@given(st.lists(one_call, max_size=14))
def test_names_are_unique_and_do_not_depend_on_later_calls(chosen):
    nodes, findings = outcome(chosen)
    assume(not findings)
    names = [node.id for node in nodes]
    assert len(set(names)) == len(names)
    for end in range(len(chosen)):
        assert [node.id for node in linked(chosen[:end])] == names[:end]


def test_a_long_chain_of_writers_above_and_below_stays_linear_in_its_edges():
    chosen = []
    for number in range(400):
        chosen += [("file.write", f"/a/{number}", "", set()), ("file.chmod", "/a", "", set())]
    nodes = linked(chosen)
    assert sum(len(node.needs) for node in nodes) <= 2 * len(nodes)
