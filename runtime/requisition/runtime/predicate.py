"""Conditions decided at run time: a JSON tree compiled at build, evaluated here without a parser.

The forms are listed in docs/architecture.md. Evaluation is total but for `PredicateError`, bounded by the
size of the tree, and runs no code of the order.
"""

import operator
import re
from collections.abc import Callable, Mapping
from posixpath import normpath
from typing import Any

MAX_TEXT = 1 << 20
MAX_PATTERN = 512


class PredicateError(Exception):
    """The tree is malformed, or a value has not the type that the operator needs."""


def evaluate(tree: Any, names: Mapping[str, Any], exists: Callable[[str], bool]) -> Any:
    """Value of a predicate tree. `names` are the values it may use; `exists` looks below the root."""
    if not isinstance(tree, list) or not tree or not isinstance(tree[0], str):
        raise PredicateError(f"not a predicate: {tree!r}")
    name, arguments = tree[0], tree[1:]
    if name == "lit":
        return _one(name, arguments)
    if name == "name":
        wanted = _text(name, _one(name, arguments))
        if wanted not in names:
            raise PredicateError(f"unknown name {wanted!r}; known here: {', '.join(sorted(names))}")
        return names[wanted]
    if name == "and":
        return all(_truth(evaluate(inner, names, exists)) for inner in arguments)
    if name == "or":
        return any(_truth(evaluate(inner, names, exists)) for inner in arguments)
    values = [evaluate(inner, names, exists) for inner in arguments]
    if name == "exists":
        return exists(_below_root(_text(name, _one(name, values))))
    function = _FUNCTIONS.get(name)
    if function is None:
        raise PredicateError(f"unknown operator {name!r}")
    arity, call = function
    if len(values) != arity:
        raise PredicateError(f"{name} takes {arity} values, found {len(values)}")
    try:
        return call(*values)
    except (TypeError, KeyError, IndexError, ValueError) as error:
        raise PredicateError(f"{name} cannot be applied to {_shown(values)}") from error


def _below_root(text: str) -> str:
    """A path as slots have it: `~/x` and `x` are below the root too; `..` may not lead out, and is not followed."""
    path = "/" + (text[1:] if text.startswith("~/") else text).lstrip("/")
    if not text or "\0" in text or ".." in path.split("/"):
        raise PredicateError(f"exists: {text!r} is no path below the root")
    return normpath(path)


def holds(tree: Any, names: Mapping[str, Any], exists: Callable[[str], bool]) -> bool:
    """Whether the predicate is true; anything but a boolean is an error."""
    return _truth(evaluate(tree, names, exists))


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise PredicateError(f"expected true or false, found {_shown([value])}")
    return value


def _one(name: str, arguments: list[Any]) -> Any:
    if len(arguments) != 1:
        raise PredicateError(f"{name} takes 1 value, found {len(arguments)}")
    return arguments[0]


def _text(name: str, value: Any) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise PredicateError(f"{name} needs text, found {_shown([value])}")
    return value


def _shown(values: list[Any]) -> str:
    return ", ".join(type(value).__name__ for value in values)


def _same_kind(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def check(a: Any, b: Any) -> bool:
        if isinstance(a, bool) or isinstance(b, bool) or type(a) is not type(b):
            raise TypeError
        return compare(a, b)

    return check


def _matches(value: Any, pattern: Any) -> bool:
    text, expression = _text("matches", value), _text("matches", pattern)
    if len(expression) > MAX_PATTERN:
        raise PredicateError(f"a pattern is longer than {MAX_PATTERN} characters")
    try:
        return re.search(expression, text) is not None
    except re.error as error:
        raise PredicateError(f"bad pattern {expression!r}: {error}") from error


def _contains(value: Any, part: Any) -> bool:
    if isinstance(value, (str, bytes)):
        return _text("contains", part) in _text("contains", value)
    return part in value


_FUNCTIONS: dict[str, tuple[int, Callable[..., Any]]] = {
    "not": (1, lambda a: not _truth(a)),
    "==": (2, operator.eq),
    "!=": (2, operator.ne),
    "<": (2, _same_kind(operator.lt)),
    "<=": (2, _same_kind(operator.le)),
    ">": (2, _same_kind(operator.gt)),
    ">=": (2, _same_kind(operator.ge)),
    "in": (2, lambda a, b: _contains(b, a)),
    "contains": (2, _contains),
    "matches": (2, _matches),
    "startswith": (2, lambda a, b: _text("startswith", a).startswith(_text("startswith", b))),
    "endswith": (2, lambda a, b: _text("endswith", a).endswith(_text("endswith", b))),
    "len": (1, len),
    "get": (2, lambda a, key: a[key]),
}
