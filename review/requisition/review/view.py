"""The graph of an order as its reviewers ask about it: what depends on what, by the ids of nodes.

An edge is a `needs` of the order. That phases follow each other is no edge: within a phase nodes run as soon as
their edges allow.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

from requisition.review.arrows import Arrows, Cyclic
from requisition.schemas.diagnostic import BadInput
from requisition.schemas.document import Node

_SHOWN = 6


class DependencyView:
    """Nodes and their edges, indexed once; every question is linear in nodes and edges. Lists come in the order of
    the document unless another is named. Raises BadInput for an id that the graph does not have."""

    def __init__(self, nodes: Sequence[Node], arrows: Arrows | None = None) -> None:
        """`arrows`: the edges, where they are known; by default the needs of the nodes. Raises BadInput for two nodes
        of one id."""
        self.nodes = nodes
        self.ids = [node.id for node in nodes]
        self.numbers = {name: number for number, name in enumerate(self.ids)}
        if len(self.numbers) < len(nodes):
            twice = next(name for number, name in enumerate(self.ids) if self.numbers[name] != number)
            raise BadInput.of(f"two nodes are called {twice!r}", next="build the order again")
        self._arrows = arrows

    @cached_property
    def arrows(self) -> Arrows:
        """The edges by number, made when they are first asked for. Raises BadInput for one that leads nowhere."""
        if self._arrows is not None:
            return self._arrows
        number = self.numbers.__getitem__
        try:
            return Arrows([tuple(map(number, node.needs)) for node in self.nodes])
        except KeyError:
            node, need = next((node, need) for node in self.nodes for need in node.needs if need not in self.numbers)
        raise BadInput.of(f"{node.id} needs {need!r}, which is not in the order", next="build the order again")

    @property
    def node_count(self) -> int:
        """How many nodes there are."""
        return len(self.ids)

    @cached_property
    def edge_count(self) -> int:
        """How many edges there are; a need that is named twice is one."""
        return sum(len(set(needed)) for needed in self.arrows.needs)

    def node(self, name: str) -> Node:
        """The node of that id."""
        return self.nodes[self._number(name)]

    def depends_on(self, name: str) -> list[str]:
        """What a node needs directly."""
        return self._named(sorted(set(self.arrows.needs[self._number(name)])))

    def dependents(self, name: str) -> list[str]:
        """What needs a node directly."""
        return self._named(sorted(set(self.arrows.dependents[self._number(name)])))

    def all_dependencies(self, name: str) -> list[str]:
        """What must be done before a node can start."""
        number = self._number(name)
        return self._named(sorted(self.arrows.below([number]) - {number}))

    def all_dependents(self, name: str) -> list[str]:
        """What cannot start before a node is done."""
        number = self._number(name)
        return self._named(sorted(self.arrows.above([number]) - {number}))

    def roots(self) -> list[str]:
        """Nodes that need nothing: where a run starts."""
        return self._named(number for number, needed in enumerate(self.arrows.needs) if not needed)

    def leaves(self) -> list[str]:
        """Nodes that nothing needs: where a run ends."""
        return self._named(number for number, needing in enumerate(self.arrows.dependents) if not needing)

    def has_cycle(self) -> bool:
        """Whether nodes wait for each other. The compiler builds no such order, and the runtime runs none."""
        try:
            _ = self.arrows.order
        except Cyclic:
            return True
        return False

    def topological_order(self) -> list[str]:
        """All nodes, each after what it needs. Raises BadInput for a cycle, as do the next two."""
        return self._named(self._acyclic().order)

    def parallel_levels(self) -> list[list[str]]:
        """Nodes by how long a chain they wait for: those of one level could run at once when the former are done."""
        return [self._named(level) for level in self._acyclic().levels()]

    def critical_path(self, durations: Mapping[str, int] | None = None) -> list[str]:
        """The longest chain of nodes that wait for each other, the first to run first; with `durations` by id (any
        unit) the one that takes longest. It bounds a run from below, however much runs side by side."""
        weights = None if durations is None else [durations.get(name, 0) for name in self.ids]
        return self._named(self._acyclic().heaviest(weights))

    def path_between(self, source: str, target: str) -> list[str]:
        """A shortest chain of needs from `source` to `target`, both in it; empty when `source` does not need
        `target`."""
        return self._named(self.arrows.shortest((self._number(source),), (self._number(target),)))

    def independent_sets(self) -> list[list[str]]:
        """Groups of nodes without an edge between groups: each could run side by side with all others."""
        return [self._named(group) for group in self.arrows.islands()]

    def subgraph(self, names: Iterable[str]) -> "DependencyView":
        """Some nodes, and the edges between them."""
        kept, arrows = self.arrows.among(map(self._number, names))
        return DependencyView([self.nodes[number] for number in kept], arrows)

    def _acyclic(self) -> Arrows:
        try:
            _ = self.arrows.order
        except Cyclic as ring:
            names = self._named(ring.cycle[:_SHOWN])
            way = " → ".join([*names, "…" if len(ring.cycle) > _SHOWN else names[0]])
            raise BadInput.of("nodes of the order wait for each other", why=way, next="build it again") from None
        return self.arrows

    def _number(self, name: str) -> int:
        try:
            return self.numbers[name]
        except KeyError:
            raise BadInput.of(f"the order has no node {name!r}", next="plan show --full lists the nodes") from None

    def _named(self, numbers: Iterable[int]) -> list[str]:
        return [self.ids[number] for number in numbers]
