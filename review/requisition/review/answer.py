"""The answer to a query as a document: what `plan query --json` prints (`plan schema query`)."""

import gc
from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from requisition.review.functions import Selection, Shape
from requisition.review.selection import select
from requisition.review.view import DependencyView
from requisition.schemas.document import Node, Order
from requisition.schemas.orderfile import order_of
from requisition.schemas.receipt import Receipt


class FoundNode(Struct, frozen=True, omit_defaults=True):
    """One node. `status`: what became of it, of a receipt; the items of a gather can differ."""

    id: str
    action: str
    phase: str
    location: str = ""
    status: tuple[str, ...] = ()


class Answer(Struct, frozen=True):
    """What a query selected. `groups` hold ids as they are told: all nodes in the order of the document, a path as it
    is walked, or a list for each level; `nodes` come in the order of the groups."""

    query: str
    document: str
    shape: Shape
    groups: tuple[tuple[str, ...], ...]
    nodes: tuple[FoundNode, ...]


def answer(text: str, document: Order | Receipt) -> tuple[Selection, DependencyView]:
    """What a query selects, and the view that its numbers are of. Raises BadInput."""
    collecting = gc.isenabled()
    gc.disable()  # an index is made of many small lists, and none of it is garbage
    try:
        view = DependencyView(order_of(document).nodes)
        return select(text, document, view), view
    finally:
        if collecting:
            gc.enable()


def as_document(text: str, document: Order | Receipt, found: Selection, view: DependencyView) -> Answer:
    """The answer for programs."""
    statuses: dict[int, set[str]] = {}
    if isinstance(document, Receipt):
        for run in document.nodes:
            statuses.setdefault(run.node, set()).add(run.status)
    groups = tuple(tuple(view.ids[number] for number in group) for group in found.told)
    nodes = tuple(
        _node(view.nodes[number], sorted(statuses.get(number, ()))) for group in found.told for number in group
    )
    return Answer(text, document.name, found.shape, groups, nodes)


def _node(node: Node, status: Sequence[str]) -> FoundNode:
    return FoundNode(node.id, node.action, node.phase, node.location, tuple(status))


def part(document: Order | Receipt, found: Selection, view: DependencyView) -> Order:
    """What was selected of the order, with the edges between it, to be drawn."""
    order = order_of(document)
    names = {view.ids[number] for number in found.members}
    nodes = tuple(
        replace(node, needs=tuple(need for need in node.needs if need in names))
        for node in order.nodes
        if node.id in names
    )
    used = {node.phase for node in nodes}
    return replace(order, nodes=nodes, phases=tuple(phase for phase in order.phases if phase.id in used))
