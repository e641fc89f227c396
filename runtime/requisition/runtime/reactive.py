"""Nodes that are done because something they wait for was: a restart after a change of configuration.

They are taken back last, when what they reacted to is as it was before: the service reads its old configuration again.
"""

from collections.abc import Iterator, Mapping

from requisition.runtime.hydrate import Bound, Hydrated, bodies
from requisition.schemas.receipt import NodeRun
from requisition.stdlib.action import ActionError

Scope = tuple[int, ...]


def reacts(one: Bound) -> bool:
    """Whether a node is only done when one that it waits for was."""
    name = one.action.spec.reactive if one.action is not None else ""
    if not name:
        return False
    return bool(getattr(one.slots, name) if one.slots is not None else one.node.slots.get(name, True) is True)


def causes(one: Bound, graph: Hydrated) -> Iterator[tuple[int, bool]]:
    """The nodes whose change is a reason: all that it waits for, directly or through others, and, marked True, those
    that flow nodes among them run. Not those of its own provider: that a service was enabled is no reason to restart
    it. Raises ActionError when it waits for nothing, since it would never be done."""
    if not one.node.needs:
        raise ActionError(
            "it waits for nothing, so it would never be done",
            f"say what it reacts to: after = [...]; or {_switch(one)} = False to have it done each time",
        )
    own = _provider(one)
    return ((index, inside) for index, inside in _before(one, graph) if _provider(graph.bound[index]) != own)


def is_due(one: Bound, graph: Hydrated, runs: Mapping[tuple[int, Scope], NodeRun], scope: Scope) -> bool:
    """Whether a node in a scope has a reason, by what became so far of the nodes before it. What a node before it, that
    began the same thing anew, had waited for itself is none. Raises ActionError."""
    within: set[int] = set()

    def is_done(index: int, *, inside: bool) -> bool:
        if inside:
            if not within:
                within.update(node for (node, _), run in list(runs.items()) if run.status == "done")
            return index in within
        around = (runs.get((index, scope[:depth])) for depth in range(len(scope) + 1))
        return any(run is not None and run.status == "done" for run in around)

    reasons = {index for index, inside in causes(one, graph) if is_done(index, inside=inside)}
    if reasons:
        for index, inside in _before(one, graph):
            if _renews(graph.bound[index], one) and is_done(index, inside=inside):
                reasons.difference_update(early for early, _ in _before(graph.bound[index], graph))
    return bool(reasons)


def _before(one: Bound, graph: Hydrated) -> Iterator[tuple[int, bool]]:
    """All that a node waits for, directly or through others, and, marked True, what flow nodes among them run."""
    seen = {one.index}
    pending = [(one.index, False)]
    while pending:
        at, inside = pending.pop()
        node = graph.order.nodes[at]
        further = [(graph.by_id[need], inside) for need in node.needs]
        if graph.bound[at].action is None:
            further += [(inner, True) for body in bodies(node) for inner in graph.members[graph.phases[body]]]
        for index, within in further:
            if index not in seen:
                seen.add(index)
                pending.append((index, within))
                yield index, within


def _renews(one: Bound, other: Bound) -> bool:
    """Whether a node begins anew what another one is about, which then needs to react to nothing older."""
    names = one.action.spec.renews if one.action is not None else ()
    if not names or _provider(one) != _provider(other) or one.slots is None or other.slots is None:
        return False
    return all(getattr(one.slots, name) == getattr(other.slots, name, None) for name in names)


def _switch(one: Bound) -> str:
    return one.action.spec.reactive if one.action is not None else ""


def _provider(one: Bound) -> str:
    return one.node.action.partition(".")[0]
