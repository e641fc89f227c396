"""Conditions: text in the package, a JSON tree in the order (docs/architecture.md, "Predicates").

exit_code == 0 and stdout contains "ready"
os in ["linux", "darwin"] and not exists("/etc/done")
item.port < 1024 or len(value) > 3
"""

import ast
from functools import cache
from importlib.resources import files
from typing import Any

from requisition.schemas.diagnostic import BadInput, Diagnostic

MAX_TEXT = 4096
MAX_DEPTH = 60
Tree = list[Any]


def compile_predicate(text: Any, location: str) -> Tree:
    """The tree. Raises BadInput with the column in the text and the place of the call."""
    if not isinstance(text, str) or len(text) > MAX_TEXT:
        raise BadInput.of(
            f"found {type(text).__name__}, expected a condition as text of at most {MAX_TEXT} characters",
            where=location,
            next='write one as "exit_code == 0"',
        )
    from lark.exceptions import UnexpectedInput

    if max(_depth(text), 0) > MAX_DEPTH:
        raise BadInput.of(f"a condition is nested deeper than {MAX_DEPTH}", where=location)
    try:
        found = _parser().parse(text)
    except UnexpectedInput as error:
        raise BadInput(_finding(text, error, location)) from error
    return _tree(found)


@cache
def _parser() -> Any:
    from lark import Lark

    grammar = files("requisition.compiler").joinpath("predicate.lark").read_text("utf-8")
    return Lark(grammar, parser="lalr", maybe_placeholders=False)


def _depth(text: str) -> int:
    """Brackets and `not`s that could nest; strings may make it larger than it is, which does no harm."""
    deepest = depth = 0
    for char in text:
        if char in "([":
            depth += 1
        elif char in ")]":
            depth -= 1
        deepest = max(deepest, depth)
    return deepest + text.count("not ")


def _tree(node: Any) -> Tree:
    kind, inner = node.data, node.children
    if kind == "name":
        return ["name", str(inner[0])]
    if kind == "string":
        return ["lit", ast.literal_eval(str(inner[0]))]
    if kind == "integer":
        return ["lit", int(inner[0])]
    if kind in ("true", "false", "none"):
        return ["lit", {"true": True, "false": False, "none": None}[kind]]
    if kind in ("or", "and"):
        return [str(kind), *(_tree(one) for one in inner)]
    if kind == "negation":
        return ["not", _tree(inner[0])]
    if kind == "comparison":
        return [str(inner[1]), _tree(inner[0]), _tree(inner[2])]
    if kind == "not_in":
        return ["not", ["in", _tree(inner[0]), _tree(inner[1])]]
    if kind == "exists":
        return ["exists", _tree(inner[0])]
    if kind == "length":
        return ["len", _tree(inner[0])]
    if kind == "list":
        return ["lit", [_constant(one) for one in inner]]
    return _trailers(inner)


def _trailers(inner: list[Any]) -> Tree:
    tree = _tree(inner[0])
    for trailer in inner[1:]:
        part = trailer.children[0]
        tree = ["get", tree, ["lit", str(part)] if not hasattr(part, "data") else _tree(part)]
    return tree


def _constant(node: Any) -> Any:
    tree = _tree(node)
    if tree[0] != "lit":
        raise BadInput.of("a list in a condition holds only texts and numbers", next="use == and or instead")
    return tree[1]


def _finding(text: str, error: Any, location: str) -> Diagnostic:
    column = min(max(getattr(error, "column", -1), 1), len(text) + 1) if text else 1
    if getattr(error, "token", None) is not None and error.token.type == "$END":
        column = len(text) + 1
    return Diagnostic(
        what=f"the condition cannot be read at column {column}",
        where=location,
        excerpt=f"    {text}\n    {' ' * (column - 1)}^",
        next='write it as: exit_code == 0 and stdout contains "ready"',
        code="predicate",
    )
