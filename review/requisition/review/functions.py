"""What the functions of a query answer; docs/query.md tells of each. All are linear in nodes and edges."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

from requisition.review.arrows import Arrows
from requisition.review.names import is_pattern, matcher
from requisition.review.values import texts
from requisition.review.view import DependencyView
from requisition.schemas.document import Node, Order
from requisition.schemas.orderfile import order_of
from requisition.schemas.receipt import Receipt

Shape = Literal["nodes", "path", "levels"]
Kind = Literal["nodes", "pattern", "number"]


class Selection(NamedTuple):
    """Numbers of nodes. `groups` say how they are told: a path in one group as it is walked, levels in a group each;
    other nodes in the order of the document."""

    members: set[int]
    shape: Shape = "nodes"
    groups: tuple[tuple[int, ...], ...] = ()

    @property
    def told(self) -> tuple[tuple[int, ...], ...]:
        """The groups, in order."""
        return self.groups or (tuple(sorted(self.members)),)

    def only(self, kept: set[int]) -> "Selection":
        """What of it is in `kept`, told in the same way."""
        groups = tuple(left for group in self.groups if (left := tuple(one for one in group if one in kept)))
        return Selection(self.members & kept, self.shape if groups else "nodes", groups)


class Question(NamedTuple):
    """What is asked: a document, and the graph of its order."""

    document: Order | Receipt
    view: DependencyView

    @property
    def order(self) -> Order:
        """The order, of a receipt the one that ran."""
        return order_of(self.document)

    @property
    def arrows(self) -> Arrows:
        """The graph by number."""
        return self.view.arrows


class Parameter(NamedTuple):
    """One argument of a function."""

    kind: Kind
    required: bool = True


class Function(NamedTuple):
    """What a function takes, and how it answers."""

    parameters: tuple[Parameter, ...]
    answer: Callable[..., Selection]

    def shown(self, name: str) -> str:
        """Its use, in a line."""
        words = [one.kind if one.required else f"[{one.kind}]" for one in self.parameters]
        return f"{name}({', '.join(words)})"


class Unanswerable(Exception):
    """A question that this document cannot answer."""

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(what)
        self.advice = advice


def _somepath(asked: Question, start: set[int], goal: set[int]) -> Selection:
    way = asked.arrows.shortest(sorted(start), goal)
    return Selection(set(way), "path", (tuple(way),) if way else ())


def _allpaths(asked: Question, start: set[int], goal: set[int]) -> Selection:
    return Selection(asked.arrows.below(start) & asked.arrows.above(goal))


def _by(asked: Question, value: Callable[[Node], object]) -> Selection:
    return Selection({number for number, node in enumerate(asked.view.nodes) if value(node)})


def _kind(asked: Question, pattern: str) -> Selection:
    match = matcher(pattern)
    chosen = {one for one in {node.action for node in asked.view.nodes} if match(one)}
    return _by(asked, lambda node: node.action in chosen)


def _phase(asked: Question, pattern: str) -> Selection:
    match = matcher(pattern)
    names = {phase.id: phase.name for phase in asked.order.phases}
    chosen = {one for one in {node.phase for node in asked.view.nodes} if match(one) or match(names.get(one, one))}
    return _by(asked, lambda node: node.phase in chosen)


def _attr(asked: Question, slot: str, pattern: str = "*") -> Selection:
    name, match = matcher(slot), matcher(pattern)

    @lru_cache(maxsize=None, typed=True)
    def number(key: str, value: int) -> bool:
        return any(match(text) for text in texts(key, value))

    def holds(key: str, value: object) -> object:
        if isinstance(value, str):
            return match(value)
        return number(key, value) if isinstance(value, int) else any(match(text) for text in texts(key, value))

    if not is_pattern(slot):
        return _by(asked, lambda node: slot in node.slots and holds(slot, node.slots[slot]))
    return _by(asked, lambda node: any(name(key) and holds(key, value) for key, value in node.slots.items()))


def _location(asked: Question, pattern: str) -> Selection:
    match = matcher(pattern)

    def holds(node: Node) -> object:
        file = node.location.rpartition(":")[0]
        return match(file) or match(node.location) or ("/" in file and match(file.rpartition("/")[2]))

    return _by(asked, holds)


def _status(asked: Question, pattern: str) -> Selection:
    if not isinstance(asked.document, Receipt):
        raise Unanswerable("an order did not run, so that its nodes have no status", "give the receipt of a run")
    match = matcher(pattern)
    return Selection({run.node for run in asked.document.nodes if match(run.status)})


def _risk(asked: Question, pattern: str) -> Selection:
    from requisition.review.risks import risks

    match, numbers = matcher(pattern), asked.view.numbers
    return Selection({numbers[risk.node] for risk in risks(asked.order) if match(risk.kind)})


def _within(asked: Question, members: set[int] | None) -> tuple[Sequence[int], Arrows]:
    """Some nodes and the edges between them; all of them without `members`."""
    if members is None:
        return range(asked.view.node_count), asked.arrows
    return asked.arrows.among(members)


def _critical_path(asked: Question, members: set[int] | None = None) -> Selection:
    kept, arrows = _within(asked, members)
    way = tuple(kept[number] for number in arrows.heaviest(_durations(asked, kept)))
    return Selection(set(way), "path", (way,) if way else ())


def _durations(asked: Question, kept: Sequence[int]) -> list[int] | None:
    """Microseconds that each node took, of a receipt."""
    if not isinstance(asked.document, Receipt):
        return None
    took = [0] * asked.view.node_count
    for run in asked.document.nodes:
        took[run.node] += max(run.finished - run.started, 0)
    return [took[number] for number in kept]


def _levels(asked: Question, members: set[int] | None = None) -> Selection:
    kept, arrows = _within(asked, members)
    groups = tuple(tuple(kept[number] for number in level) for level in arrows.levels())
    return Selection(set(kept), "levels" if groups else "nodes", groups)


def _roots(asked: Question, members: set[int] | None = None) -> Selection:
    kept, arrows = _within(asked, members)
    return Selection({number for number, needed in zip(kept, arrows.needs, strict=True) if not needed})


def _leaves(asked: Question, members: set[int] | None = None) -> Selection:
    kept, arrows = _within(asked, members)
    return Selection({number for number, needing in zip(kept, arrows.dependents, strict=True) if not needing})


_NODES, _PATTERN = Parameter("nodes"), Parameter("pattern")
_SOME, _STEPS = Parameter("nodes", required=False), Parameter("number", required=False)
FUNCTIONS: dict[str, Function] = {
    "deps": Function((_NODES, _STEPS), lambda asked, start, steps=None: Selection(asked.arrows.below(start, steps))),
    "rdeps": Function((_NODES, _STEPS), lambda asked, start, steps=None: Selection(asked.arrows.above(start, steps))),
    "somepath": Function((_NODES, _NODES), _somepath),
    "allpaths": Function((_NODES, _NODES), _allpaths),
    "kind": Function((_PATTERN,), _kind),
    "phase": Function((_PATTERN,), _phase),
    "attr": Function((_PATTERN, Parameter("pattern", required=False)), _attr),
    "location": Function((_PATTERN,), _location),
    "status": Function((_PATTERN,), _status),
    "risk": Function((_PATTERN,), _risk),
    "critical_path": Function((_SOME,), _critical_path),
    "levels": Function((_SOME,), _levels),
    "roots": Function((_SOME,), _roots),
    "leaves": Function((_SOME,), _leaves),
}
