"""What a query selects in an order or receipt: names become nodes, sets are combined, functions called.

A name is a node's id, or the end of one that begins after a `/` or `:`; a pattern is of a whole id, or of what follows
its phase or its action.
"""

from typing import Any

from requisition.review.arrows import Cyclic
from requisition.review.functions import FUNCTIONS, Parameter, Question, Selection, Unanswerable
from requisition.review.names import ends, is_pattern, matching, nearest, quoted
from requisition.review.query import Call, Place, Text, Tree, parse, refusal
from requisition.review.view import DependencyView
from requisition.schemas.document import Order
from requisition.schemas.receipt import Receipt


def select(text: str, document: Order | Receipt, view: DependencyView) -> Selection:
    """What a query selects. Raises BadInput, for mistakes in the query at their column."""
    return _Asked(text, Question(document, view)).of(parse(text))


class _Asked:
    """One query on its way through one document."""

    def __init__(self, text: str, question: Question) -> None:
        self.text = text
        self.question = question
        self.view = question.view

    def of(self, tree: Tree) -> Selection:
        """What a tree selects."""
        if isinstance(tree, Text):
            return Selection(self._named(tree))
        if isinstance(tree, Call):
            return self._called(tree)
        left, right = self.of(tree.left), self.of(tree.right)
        if tree.operator == "union":
            return Selection(left.members | right.members)
        return left.only(right.members if tree.operator == "intersect" else left.members - right.members)

    def _named(self, tree: Text) -> set[int]:
        name, ids = tree.text, self.view.ids
        if (exact := self.view.numbers.get(name)) is not None:
            return {exact}
        if name == "*":
            return set(range(self.view.node_count))
        if is_pattern(name):
            return matching(name, self.view.nodes)
        found = {
            number for number, one in enumerate(ids) if one.endswith(name) and one[: -len(name)][-1:] in ("/", ":")
        }
        if not found or not name:
            raise self._unknown(tree)
        return found

    def _called(self, call: Call) -> Selection:
        function = FUNCTIONS.get(call.name)
        if function is None:
            near = nearest(call.name, FUNCTIONS)
            advice = f"did you mean {near}()?" if near else f"there are {', '.join(FUNCTIONS)}"
            raise self.refusal(call.place, f"there is no function {call.name}()", advice=advice)
        needed = sum(one.required for one in function.parameters)
        if not needed <= len(call.arguments) <= len(function.parameters):
            surplus = call.arguments[len(function.parameters) :]
            place = surplus[0].place if surplus else call.place
            what = f"{call.name}() takes {_count(needed, len(function.parameters))}, found {len(call.arguments)}"
            raise self.refusal(place, what, advice=f"write it as: {function.shown(call.name)}")
        values = [self._argument(one, tree) for one, tree in zip(function.parameters, call.arguments, strict=False)]
        try:
            return function.answer(self.question, *values)
        except Cyclic:
            self.view.topological_order()  # has the words
            raise
        except Unanswerable as error:
            raise self.refusal(call.place, str(error), advice=error.advice) from None

    def _argument(self, parameter: Parameter, tree: Tree) -> Any:
        if parameter.kind == "nodes":
            return self.of(tree).members
        if not isinstance(tree, Text):
            advice = 'such as "file.*"' if parameter.kind == "pattern" else "such as 1 or 12"
            raise self.refusal(tree.place, f"a {parameter.kind} belongs here, not nodes", advice=advice)
        if parameter.kind == "pattern":
            return tree.text
        if not (tree.text.isascii() and tree.text.isdigit() and len(tree.text) < 10):
            raise self.refusal(tree.place, f"a number belongs here, not {tree.text!r}", advice="such as 1 or 12")
        return int(tree.text)

    def _unknown(self, tree: Text) -> Exception:
        near = nearest(tree.text, self.view.ids) or nearest(tree.text, ends(self.view.ids))
        advice = (
            f"did you mean {quoted(near)}?" if near else "plan show --full lists the nodes; * and ? stand for others"
        )
        if not tree.quoted and any(mark in tree.text for mark in "+-") and not near:
            advice = "blanks stand around + and -; " + advice
        return self.refusal(tree.place, f"the order has no node {tree.text!r}", advice=advice)

    def refusal(self, place: Place, what: str, *, advice: str) -> Exception:
        return refusal(self.text, place, what, advice=advice)


def _count(least: int, most: int) -> str:
    words = f"{most}" if least == most else f"{least} to {most}"
    return f"{words} argument" + ("" if most == 1 else "s")
