"""Graphs for laws and figures: random ones without cycles, and an order of any size."""

from hypothesis import strategies as st
from msgspec import structs

from requisition.schemas.document import Node, Order, Phase
from support.sealed import order

ACTIONS = ("file.copy", "file.mkdir", "shell.exec", "service.restart")
PHASES = ("demo/prepare", "demo/install", "demo/verify")


@st.composite
def acyclic(draw, most: int = 12) -> tuple[Node, ...]:
    """Nodes in the order of the document, which need not be one in which they can run."""
    count = draw(st.integers(0, most))
    rank = draw(st.permutations(range(count)))
    pairs = st.tuples(st.integers(0, max(count - 1, 0)), st.integers(0, max(count - 1, 0)))
    edges = {(a, b) for a, b in draw(st.lists(pairs, max_size=3 * count)) if count and rank[b] < rank[a]}
    return tuple(node(number, sorted(b for a, b in edges if a == number)) for number in range(count))


def node(number: int, needs=()) -> Node:
    return Node(
        name(number),
        ACTIONS[number % len(ACTIONS)],
        phase(number),
        {"path": f"/d/{number}", "mode": 0o600 + number % 8},
        tuple(map(name, needs)),
        location=f"{'lib' if number % 2 else 'package'}.star:{number + 1}",
    )


def phase(number: int) -> str:
    return PHASES[number % len(PHASES)]


def name(number: int) -> str:
    return f"{phase(number)}/{ACTIONS[number % len(ACTIONS)]}:/d/{number}"


def order_of(nodes) -> Order:
    """An order of these nodes."""
    return structs.replace(
        order(), nodes=tuple(nodes), phases=tuple(Phase(one, one.partition("/")[2]) for one in PHASES)
    )


def wide(count: int) -> Order:
    """An order of two edges a node, as a grid of a hundred columns: each node needs that before it in its row, and that
    above it."""
    return order_of(
        node(number, sorted({one for one in (number - 1, number - 100) if one >= 0 and number % 100}))
        for number in range(count)
    )
