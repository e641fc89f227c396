"""Laws of the view of a graph, against answers that are found by looking at every path."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from requisition.review.view import DependencyView
from requisition.schemas.diagnostic import BadInput
from requisition.schemas.document import Node
from support.graphs import acyclic, name, node, wide


def chains(nodes) -> list[list[str]]:
    """Every chain of needs, each node alone included: the naive answer to most questions."""
    needs = {one.id: one.needs for one in nodes}
    found = [[one.id] for one in nodes]
    for chain in found:
        found += [[*chain, need] for need in needs[chain[-1]]]
    return found


@given(acyclic(most=9))
def test_dependencies_and_dependents_are_those_of_some_chain(nodes):
    view, all_chains = DependencyView(nodes), chains(nodes)
    ids = [one.id for one in nodes]
    for one in nodes:
        needed = {chain[-1] for chain in all_chains if chain[0] == one.id and len(chain) > 1}
        needing = {chain[0] for chain in all_chains if chain[-1] == one.id and len(chain) > 1}
        assert view.all_dependencies(one.id) == [name for name in ids if name in needed]
        assert view.all_dependents(one.id) == [name for name in ids if name in needing]
        assert view.depends_on(one.id) == [name for name in ids if name in one.needs]
        assert view.dependents(one.id) == [other.id for other in nodes if one.id in other.needs]
        assert view.node(one.id) is one


@given(acyclic(most=9))
def test_the_critical_path_is_a_chain_and_none_is_longer(nodes):
    path = DependencyView(nodes).critical_path()
    found = chains(nodes)
    assert len(path) == max(map(len, found), default=0)
    assert not path or path[::-1] in found


@given(acyclic(most=9), st.data())
def test_with_durations_no_chain_takes_longer_than_the_critical_path(nodes, data):
    durations = {one.id: data.draw(st.integers(0, 5)) for one in nodes}
    path = DependencyView(nodes).critical_path(durations)

    def took(chain):
        return sum(durations[one] for one in chain), len(chain)

    assert took(path) == max(map(took, chains(nodes)), default=(0, 0))
    assert not path or path[::-1] in chains(nodes)


@given(acyclic(most=9), st.data())
def test_a_path_between_is_a_shortest_chain_and_empty_where_none_is(nodes, data):
    if not nodes:
        return
    source, target = (data.draw(st.sampled_from(nodes)).id for _ in range(2))
    between = [chain for chain in chains(nodes) if (chain[0], chain[-1]) == (source, target)]
    path = DependencyView(nodes).path_between(source, target)
    assert path in between if between else path == []
    assert len(path) == min(map(len, between), default=0)


@given(acyclic())
def test_orders_and_levels_put_each_node_after_what_it_needs(nodes):
    view = DependencyView(nodes)
    place = {one: number for number, one in enumerate(view.topological_order())}
    level = {one: number for number, group in enumerate(view.parallel_levels()) for one in group}
    assert place.keys() == level.keys() == {one.id for one in nodes}
    assert all(place[need] < place[one.id] for one in nodes for need in one.needs)
    assert all(level[one.id] == max((level[need] + 1 for need in one.needs), default=0) for one in nodes)
    assert not view.has_cycle()


@given(acyclic())
def test_roots_need_nothing_leaves_are_needed_by_nothing_and_counts_add_up(nodes):
    view = DependencyView(nodes)
    needed = {need for one in nodes for need in one.needs}
    assert view.roots() == [one.id for one in nodes if not one.needs]
    assert view.leaves() == [one.id for one in nodes if one.id not in needed]
    assert (view.node_count, view.edge_count) == (len(nodes), sum(len(one.needs) for one in nodes))


@given(acyclic())
def test_independent_sets_have_no_edge_between_them_and_cannot_be_split(nodes):
    view = DependencyView(nodes)
    group = {one: number for number, members in enumerate(view.independent_sets()) for one in members}
    assert group.keys() == {one.id for one in nodes}
    assert all(group[need] == group[one.id] for one in nodes for need in one.needs)
    edges = {(one.id, need) for one in nodes for need in one.needs}
    for members in view.independent_sets():
        joined = {members[0]}
        while more := {b if a in joined else a for a, b in edges if (a in joined) != (b in joined)}:
            joined |= more
        assert joined == set(members)


@given(acyclic(), st.data())
def test_a_subgraph_has_the_nodes_that_were_named_and_the_edges_between_them(nodes, data):
    view = DependencyView(nodes)
    chosen = data.draw(st.lists(st.sampled_from(view.ids), unique=True)) if nodes else []
    part = view.subgraph(chosen)
    assert part.ids == [one for one in view.ids if one in chosen]
    for one in part.ids:
        assert part.depends_on(one) == [need for need in view.depends_on(one) if need in chosen]
    assert part.node_count == len(chosen)


@given(acyclic(), st.data())
def test_a_ring_of_nodes_is_found_wherever_it_lies_and_told(nodes, data):
    if len(nodes) < 2:
        return
    start, end = sorted(data.draw(st.sets(st.integers(0, len(nodes) - 1), min_size=2, max_size=2)))
    ring = [*nodes]
    for number in range(start, end + 1):
        after = ring[number + 1 if number < end else start].id
        ring[number] = Node(ring[number].id, "file.copy", "demo/install", needs=(*ring[number].needs, after))
    view = DependencyView(ring)
    assert view.has_cycle()
    for question in (view.topological_order, view.parallel_levels, view.critical_path):
        with pytest.raises(BadInput, match="wait for each other") as told:
            question()
        way = told.value.diagnostics[0].why.split(" → ")
        shown = [one for one in way if one != "…"]
        assert all(second in view.depends_on(first) for first, second in pairwise(shown))


def test_a_node_that_needs_itself_is_a_cycle_of_one():
    view = DependencyView([node(0, [0])])
    assert view.has_cycle()
    assert view.all_dependencies(name(0)) == []


def test_a_need_that_is_named_twice_is_one_edge():
    view = DependencyView([node(0), node(1, [0, 0])])
    assert view.edge_count == 1
    assert view.parallel_levels() == [[name(0)], [name(1)]]


def test_edges_from_nowhere_and_two_nodes_of_one_id_are_refused():
    with pytest.raises(BadInput, match="which is not in the order"):
        DependencyView([node(1, [0])]).roots()
    with pytest.raises(BadInput, match="two nodes are called"):
        DependencyView([node(1), node(1)])


def test_an_id_that_the_graph_does_not_have_is_told():
    with pytest.raises(BadInput, match="no node 'nobody'"):
        DependencyView([node(1)]).depends_on("nobody")


def test_a_chain_of_any_length_is_walked_without_recursion():
    view = DependencyView([node(number, [number - 1] if number else []) for number in range(20_000)])
    assert view.critical_path() == view.topological_order() == view.ids
    assert len(view.parallel_levels()) == 20_000
    assert len(view.path_between(name(19_999), name(0))) == 20_000
    assert len(view.independent_sets()) == 1


def test_a_hundred_thousand_nodes_are_answered():
    view = DependencyView(wide(100_000).nodes)
    assert len(view.topological_order()) == sum(map(len, view.parallel_levels())) == 100_000
    assert len(view.critical_path()) == 1099
    assert len(view.independent_sets()) == 1
