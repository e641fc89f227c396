"""What needs what, by number: the walks over a graph, each linear in nodes and edges.

Node n needs the nodes `needs[n]`. All walks are deterministic: nodes come in the order of the document where
nothing else decides. None is recursive, so that a chain of any length is walked.
"""

from collections import deque
from collections.abc import Collection, Iterable, Sequence
from functools import cached_property


class Cyclic(ValueError):
    """Nodes that wait for each other; `cycle` is one ring of them, each needing the next, the last the first."""

    def __init__(self, cycle: list[int]) -> None:
        super().__init__("nodes wait for each other")
        self.cycle = cycle


class Arrows:
    """Edges of a graph whose nodes are the numbers below `len(needs)`."""

    def __init__(self, needs: Sequence[Sequence[int]]) -> None:
        self.needs = needs

    @cached_property
    def dependents(self) -> Sequence[Sequence[int]]:
        """The reverse of `needs`."""
        found: list[list[int]] = [[] for _ in self.needs]
        for number, needed in enumerate(self.needs):
            for one in needed:
                found[one].append(number)
        return found

    @cached_property
    def order(self) -> list[int]:
        """All nodes, each after what it needs (Kahn's algorithm). Raises Cyclic."""
        missing = list(map(len, self.needs))
        order = [number for number, count in enumerate(missing) if not count]
        for number in order:  # which grows while it is read
            for one in self.dependents[number]:
                missing[one] -= 1
                if not missing[one]:
                    order.append(one)
        if len(order) < len(missing):
            raise Cyclic(self._cycle(missing))
        return order

    def _cycle(self, missing: Sequence[int]) -> list[int]:
        """A ring among the nodes that still miss something: each of them needs another such one."""
        number = next(number for number, count in enumerate(missing) if count)
        seen: dict[int, int] = {}
        while number not in seen:
            seen[number] = len(seen)
            number = next(one for one in self.needs[number] if missing[one])
        return list(seen)[seen[number] :]

    def below(self, start: Iterable[int], depth: int | None = None) -> set[int]:
        """`start` and what it needs, directly or through others; `depth`: through at most so many steps."""
        return _reached(self.needs, start, depth)

    def above(self, start: Iterable[int], depth: int | None = None) -> set[int]:
        """`start` and what needs it, directly or through others."""
        return _reached(self.dependents, start, depth)

    def levels(self) -> list[list[int]]:
        """Nodes by the length of the longest chain that they wait for. Raises Cyclic."""
        level = [0] * len(self.needs)
        for number in self.order:
            after = level[number] + 1
            for one in self.dependents[number]:
                if level[one] < after:
                    level[one] = after
        found: list[list[int]] = [[] for _ in range(1 + max(level, default=-1))]
        for number, one in enumerate(level):
            found[one].append(number)
        return found

    def heaviest(self, weights: Sequence[int] | None = None) -> list[int]:
        """The chain of the greatest sum of weights (not negative), and of most nodes among those; first what starts
        first. Without weights the longest chain. Raises Cyclic."""
        count = len(self.needs)
        own = [1 + weight * (count + 1) for weight in weights] if weights else [1] * count  # a sum's rest is its length
        best, before = [0] * count, [-1] * count
        for number in self.order:
            most = 0
            for one in self.needs[number]:
                if best[one] > most:
                    most, before[number] = best[one], one
            best[number] = most + own[number]
        if not best:
            return []
        chain = [max(range(len(best)), key=best.__getitem__)]
        while before[chain[-1]] >= 0:
            chain.append(before[chain[-1]])
        return chain[::-1]

    def shortest(self, start: Collection[int], goal: Collection[int]) -> list[int]:
        """A shortest way along `needs` from one of `start` to one of `goal`, both ends in it; empty without one."""
        came: dict[int, int] = dict.fromkeys(start, -1)
        queue = deque(came)
        while queue:
            number = queue.popleft()
            if number in goal:
                way = [number]
                while came[way[-1]] >= 0:
                    way.append(came[way[-1]])
                return way[::-1]
            for one in self.needs[number]:
                if one not in came:
                    came[one] = number
                    queue.append(one)
        return []

    def islands(self) -> list[list[int]]:
        """Groups of nodes without an edge from one group to another: the weakly connected components."""
        group = [-1] * len(self.needs)
        found: list[list[int]] = []
        for first in range(len(group)):
            if group[first] >= 0:
                continue
            group[first], stack = len(found), [first]
            members = []
            while stack:
                number = stack.pop()
                members.append(number)
                for one in (*self.needs[number], *self.dependents[number]):
                    if group[one] < 0:
                        group[one] = len(found)
                        stack.append(one)
            found.append(sorted(members))
        return found

    def among(self, members: Iterable[int]) -> tuple[list[int], "Arrows"]:
        """The graph of some nodes and the edges between them: its nodes by their numbers here, and its arrows."""
        kept = sorted(set(members))
        place = {number: position for position, number in enumerate(kept)}
        return kept, Arrows([[place[one] for one in self.needs[number] if one in place] for number in kept])


def _reached(neighbours: Sequence[Sequence[int]], start: Iterable[int], depth: int | None) -> set[int]:
    found = set(start)
    edge: Collection[int] = found
    while edge and (depth is None or depth > 0):
        edge = {one for number in edge for one in neighbours[number]} - found
        found |= edge
        depth = None if depth is None else depth - 1
    return found
