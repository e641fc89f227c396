"""An order that stands: the last run left it in place whole, and nothing of it was touched since.

That takes one `lstat` a path to know. No action is loaded and nothing is bound: the very same bytes were
bound and run here before. Whatever is in doubt goes the long way, by `preflight`.
"""

from requisition.runtime.hydrate import Hydrated
from requisition.runtime.root import TargetRoot
from requisition.runtime.sight import untouched
from requisition.runtime.state import RootState
from requisition.schemas.document import Order
from requisition.schemas.receipt import NodeRun


def standing(order: Order, checksum: str, view: RootState, root: TargetRoot) -> tuple[NodeRun, ...] | None:
    """One `unchanged` a node; None when that is not certain. An order with secrets is not: their values may
    be others now. Neither is one with nodes that left no file, or whose paths other nodes changed again."""
    if view.head.settled != checksum or order.secrets:
        return None
    index_of = {node.id: index for index, node in enumerate(order.nodes)}
    runs: dict[int, NodeRun] = {}
    for entry in view.entries.values():  # by path: one directory after the other
        index = index_of.get(entry.node)
        if index is None:
            continue
        if entry.left.kind == "token" or not untouched(root, entry.signature, entry.left):
            return None
        others = runs[index].left if index in runs else ()
        runs[index] = NodeRun(index, "unchanged", left=(*others, entry.left))
    if len(runs) != len(order.nodes):
        return None
    return tuple(runs[index] for index in range(len(order.nodes)))


def unbound(order: Order) -> Hydrated:
    """The graph of an order none of whose nodes is going to run."""
    return Hydrated(order, [], {}, {}, [], [], [], frozenset(), {}, [], {})
