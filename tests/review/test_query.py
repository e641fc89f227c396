"""The language of `plan query`: its laws against sets made by hand, and how its mistakes are told."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from requisition.review.answer import answer, as_document, part
from requisition.review.functions import FUNCTIONS
from requisition.review.names import quoted
from requisition.schemas.diagnostic import BadInput
from requisition.schemas.document import Node
from requisition.schemas.receipt import NodeRun, Receipt
from review.test_view import chains
from support.graphs import acyclic, name, node, order_of, phase


def asked(text, nodes) -> set[str]:
    """The ids that a query selects."""
    found, view = answer(text, order_of(nodes))
    return {view.ids[number] for number in found.members}


def told(text, nodes) -> list[list[str]]:
    found, view = answer(text, order_of(nodes))
    return [[view.ids[number] for number in group] for group in found.told]


@given(acyclic(most=9), st.data())
def test_deps_paths_and_their_bounds_are_those_of_the_chains(nodes, data):
    if not nodes:
        return
    start, goal = (data.draw(st.sampled_from(nodes)).id for _ in range(2))
    steps = data.draw(st.integers(0, 3))
    found = chains(nodes)
    assert asked(f"deps('{start}')", nodes) == {chain[-1] for chain in found if chain[0] == start}
    assert asked(f"rdeps('{start}')", nodes) == {chain[0] for chain in found if chain[-1] == start}
    near = {chain[-1] for chain in found if chain[0] == start and len(chain) <= steps + 1}
    assert asked(f"deps('{start}', {steps})", nodes) == near
    between = [chain for chain in found if (chain[0], chain[-1]) == (start, goal)]
    assert asked(f"allpaths('{start}', '{goal}')", nodes) == {one for chain in between for one in chain}
    (path,) = told(f"somepath('{start}', '{goal}')", nodes)
    assert path in between if between else path == []


SETS = st.recursive(
    st.sampled_from(
        ["kind('file.*')", "kind(shell.exec)", "phase(install)", "location('lib.star')", "*:/d/?", "roots()"]
    ),
    lambda inner: st.tuples(st.sampled_from(["union", "intersect", "except", "+", "&", "-", "|", "^"]), inner, inner),
    max_leaves=5,
)
SAME = {"+": "union", "|": "union", "&": "intersect", "^": "intersect", "-": "except"}


def by_hand(tree, nodes) -> set[str]:
    if isinstance(tree, str):
        return {
            "kind('file.*')": {one.id for one in nodes if one.action.startswith("file.")},
            "kind(shell.exec)": {one.id for one in nodes if one.action == "shell.exec"},
            "phase(install)": {one.id for one in nodes if one.phase == "demo/install"},
            "location('lib.star')": {one.id for one in nodes if one.location.startswith("lib.star:")},
            "*:/d/?": {one.id for one in nodes if len(one.id.partition(":")[2]) == 4},
            "roots()": {one.id for one in nodes if not one.needs},
        }[tree]
    operator, left, right = tree[0], by_hand(tree[1], nodes), by_hand(tree[2], nodes)
    return {"union": left | right, "intersect": left & right, "except": left - right}[SAME.get(operator, operator)]


def written(tree) -> str:
    return tree if isinstance(tree, str) else f"({written(tree[1])} {tree[0]} {written(tree[2])})"


@given(acyclic(), SETS)
def test_sets_are_combined_as_sets_are(nodes, tree):
    assert asked(written(tree), nodes) == by_hand(tree, nodes)


@given(acyclic(), SETS)
def test_roots_leaves_levels_and_critical_path_of_some_nodes_are_those_of_their_subgraph(nodes, tree):
    chosen = by_hand(tree, nodes)
    among = [
        structs.replace(one, needs=tuple(n for n in one.needs if n in chosen)) for one in nodes if one.id in chosen
    ]
    for function in ("roots", "leaves", "levels", "critical_path"):
        assert told(f"{function}({written(tree)})", nodes) == told(f"{function}()", among)


@given(st.text(max_size=30))
def test_any_text_is_answered_or_refused_in_words(text):
    with suppress(BadInput):
        asked(text, [node(0), node(1, [0])])


@given(st.text(min_size=1, max_size=20))
def test_a_name_of_any_characters_is_found_as_it_is_quoted(text):
    one = Node(text, "file.copy", "demo/install")
    assert asked(quoted(text), [one]) == {text}


NODES = [
    Node("web/install/file.mkdir:/etc/web", "file.mkdir", "web/install", {"path": "/etc/web", "mode": 0o755}),
    Node("web/install/file.copy:/etc/web/a.conf", "file.copy", "web/install", {"path": "/etc/web/a.conf"}),
    Node("web/verify/shell.exec:a.conf", "shell.exec", "web/verify", {"argv": ["web", "--check", {"$secret": "key"}]}),
    Node("web/verify/x y", "shell.exec", "web/verify", {"stdin": {"$ref": "web/install/file.mkdir:/etc/web"}}),
]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("web/install/file.mkdir:/etc/web", [0]),
        ("/etc/web", [0]),
        ("a.conf", [1, 2]),  # the end of both
        ("/etc/*", [0, 1]),
        ("file.*", [0, 1]),
        ("web/verify/*", [2, 3]),
        ("'web/verify/x y'", [3]),
        ("*", [0, 1, 2, 3]),
        ("nothing*", []),
        ("attr(mode, 0755)", [0]),
        ("attr(mode)", [0]),
        ("attr('arg?', '--check')", [2]),
        ("attr(argv, key)", [2]),
        ("attr(*, *etc/web)", [0, 3]),
        ("phase(web/verify) + /etc/web - a.conf", [0, 3]),
        ("* & a.conf - kind(shell.exec)", [1]),
        ("risk(irreversible)", [2, 3]),
    ],
)
def test_names_and_patterns_mean_what_the_page_says(text, numbers):
    assert asked(text, NODES) == {NODES[number].id for number in numbers}


@pytest.mark.parametrize(
    ("text", "column", "what", "advice"),
    [
        ("dep(a.conf)", 1, "there is no function dep()", "did you mean deps()?"),
        ("* - deps(/etc/wbe)", 10, "the order has no node '/etc/wbe'", "did you mean /etc/web?"),
        ("web/verify/y", 1, "the order has no node 'web/verify/y'", 'did you mean "web/verify/x y"?'),
        ("kind()", 1, "kind() takes 1 argument, found 0", "write it as: kind(pattern)"),
        ("deps(*, 1, 2)", 12, "deps() takes 1 to 2 arguments, found 3", "write it as: deps(nodes, [number])"),
        ("deps(*, two)", 9, "a number belongs here, not 'two'", "such as 1 or 12"),
        ("deps(*, -1)", 9, "unexpected - in the query", "a name that begins with - stands in quotes"),
        ("kind(roots())", 6, "a pattern belongs here, not nodes", 'such as "file.*"'),
        ("* except", 9, "the query ends too early", 'write it as: deps("NODE") intersect kind("shell.*")'),
        ("* and *", 3, "unexpected and in the query", 'write it as: deps("NODE") intersect kind("shell.*")'),
        ("kind('file)", 6, "unexpected ' in the query", "close the quote"),
        ("status(failed)", 1, "an order did not run, so that its nodes have no status", "give the receipt of a run"),
    ],
)
def test_a_mistake_is_told_at_its_column_with_what_was_meant(text, column, what, advice):
    with pytest.raises(BadInput) as failure:
        asked(text, NODES)
    (found,) = failure.value.diagnostics
    assert (found.where, found.what, found.next) == (f"query:1:{column}", what, advice)
    assert found.excerpt.splitlines() == ["    " + text, "    " + " " * (column - 1) + "^"]


def test_a_long_query_of_several_lines_is_shown_around_the_mistake():
    with pytest.raises(BadInput) as failure:
        asked("* +\n" + "* + " * 60 + "gone", NODES)
    source, caret = failure.value.diagnostics[0].excerpt.splitlines()
    assert failure.value.diagnostics[0].where == "query:2:241"
    assert source[caret.index("^") :] == "gone"


@pytest.mark.parametrize("text", ["*" * 5000, "deps(" * 700 + "*" + ")" * 700])
def test_a_query_beyond_its_bounds_is_refused(text):
    with pytest.raises(BadInput, match="characters|deeper"):
        asked(text, NODES)


def test_a_cycle_is_told_where_an_order_of_nodes_is_asked_for_and_walked_elsewhere():
    ring = [node(0, [1]), node(1, [0])]
    assert asked("deps(/d/0)", ring) == {name(0), name(1)}
    with pytest.raises(BadInput, match="wait for each other"):
        asked("levels()", ring)


def receipt(nodes, runs) -> Receipt:
    return Receipt(
        1, "demo.receipt", "t", "r", "failed", "error", order_of(nodes), "", "", "", "h", "/", nodes=tuple(runs)
    )


def test_of_a_receipt_statuses_are_asked_and_the_critical_path_is_the_one_that_took_longest():
    nodes = [node(0), node(1, [0]), node(2, [1]), node(3, [0])]
    spans = [(0, 1, "done"), (1, 2, "done"), (2, 3, "unchanged"), (1, 9, "failed")]
    ran = receipt(nodes, [NodeRun(n, status, started=a, finished=b) for n, (a, b, status) in enumerate(spans)])
    found, view = answer("status('fail*')", ran)
    assert as_document("status('fail*')", ran, found, view).nodes[0].status == ("failed",)
    assert found.members == {3}
    assert answer("critical_path()", ran)[0].groups == ((0, 3),)
    assert told("critical_path()", nodes) == [[name(0), name(1), name(2)]]


def test_the_document_and_the_drawing_hold_what_was_selected_and_its_edges():
    nodes = [node(0), node(1, [0]), node(2, [0, 1])]
    text = "levels() - /d/1"
    found, view = answer(text, order_of(nodes))
    document = as_document(text, order_of(nodes), found, view)
    assert (document.shape, document.groups) == ("levels", ((name(0),), (name(2),)))
    drawn = part(order_of(nodes), found, view)
    assert [(one.id, one.needs) for one in drawn.nodes] == [(name(0), ()), (name(2), (name(0),))]
    assert [one.id for one in drawn.phases] == [phase(0), phase(2)]


def test_every_function_has_its_line_in_the_page():
    page = (Path(__file__).parents[2] / "docs/query.md").read_text(encoding="utf-8")
    assert [one for one in FUNCTIONS if f"`{one}(" not in page] == []
