"""Conditions: text in the package, a JSON tree in the order (docs/architecture.md, "Predicates").

    exit_code == 0 and stdout contains "ready"
    os in ["linux", "darwin"] and not exists("/etc/done")
    item.port < 1024 or len(value) > 3

In a text, a backslash before a quote, a backslash, `n`, `r` or `t` means what it means in Starlark; before
anything else it stands for itself, so that patterns need no second one.
"""

import re
from functools import cache
from importlib.resources import files
from typing import Any

from requisition.schemas.diagnostic import BadInput, Diagnostic

MAX_TEXT = 4096
MAX_DEPTH = 60
MAX_DIGITS = 15
_SHOWN = 100  # characters of a long condition, around the caret
Tree = list[Any]

_ESCAPE = re.compile(r"\\([\\\"'nrt])")
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t"}
_EXPECTED = (
    ("NAME", "a name, a text in quotes, a number"),
    ("FIELD", "the name of a field"),
    ("COMPARE", "a comparison such as == or contains"),
    ("AND", "and"),
    ("OR", "or"),
    ("IN", "in"),
    ("LPAR", "("),
    ("RPAR", ")"),
    ("RSQB", "]"),
    ("$END", "the end"),
)
_OF_OTHERS = {
    "=": "write == to compare",
    "&": "write and",
    "|": "write or",
    "!": "write not, or != to compare",
    '"': "close the quote on the same line",
    "'": "close the quote on the same line",
}
_EXAMPLE = 'write it as: exit_code == 0 and stdout contains "ready"'


def compile_predicate(text: Any, location: str) -> Tree:
    """The tree of a condition. Raises BadInput with `location`, the place of the call that holds the text,
    and a caret below the column in the text."""
    if not isinstance(text, str) or len(text) > MAX_TEXT:
        raise BadInput.of(
            f"found {_shown(text)}, expected a condition as text of at most {MAX_TEXT} characters",
            where=location,
            next=_EXAMPLE,
        )
    from lark.exceptions import UnexpectedInput

    try:
        tree: Tree = _parser().parse(text)
    except UnexpectedInput as error:
        raise BadInput(_unexpected(text, error, location)) from error
    except _Unusable as error:
        raise BadInput(_finding(text, error.place, str(error), location)) from error
    if _depth(tree) > MAX_DEPTH:
        raise BadInput.of(f"the condition is nested deeper than {MAX_DEPTH} levels", where=location)
    return tree


def _shown(value: Any) -> str:
    return f"{len(value)} characters" if isinstance(value, str) else type(value).__name__


class _Unusable(Exception):
    """A token that is well-formed but has no meaning here."""

    def __init__(self, token: Any, what: str) -> None:
        super().__init__(what)
        self.place: tuple[int, int] = (token.line, token.column)


class _Builder:
    """What the parser calls for each rule, innermost first; no recursion, however deep the text."""

    any_of = staticmethod(lambda inner: ["or", *inner])
    all_of = staticmethod(lambda inner: ["and", *inner])
    negation = staticmethod(lambda inner: ["not", *inner])
    comparison = staticmethod(lambda inner: [str(inner[1]), inner[0], inner[2]])
    absence = staticmethod(lambda inner: ["not", ["in", *inner]])
    field = staticmethod(lambda inner: ["get", inner[0], ["lit", str(inner[1])]])
    entry = staticmethod(lambda inner: ["get", inner[0], inner[2]])
    exists = staticmethod(lambda inner: ["exists", *inner])
    length = staticmethod(lambda inner: ["len", *inner])
    name = staticmethod(lambda inner: ["name", str(inner[0])])
    true = staticmethod(lambda _: ["lit", True])
    false = staticmethod(lambda _: ["lit", False])
    none = staticmethod(lambda _: ["lit", None])

    @staticmethod
    def text(inner: list[Any]) -> Tree:
        return ["lit", _ESCAPE.sub(lambda found: _ESCAPED.get(found[1], found[1]), inner[0][1:-1])]

    @staticmethod
    def integer(inner: list[Any]) -> Tree:
        if len(inner[0].lstrip("-")) > MAX_DIGITS:
            raise _Unusable(inner[0], f"a number has at most {MAX_DIGITS} digits")
        return ["lit", int(inner[0])]

    @staticmethod
    def sequence(inner: list[Any]) -> Tree:
        opening, *items = inner
        if any(one[0] != "lit" for one in items):
            raise _Unusable(opening, "a list in a condition holds only texts, numbers, true, false and none")
        return ["lit", [one[1] for one in items]]


@cache
def _parser() -> Any:
    from lark import Lark

    grammar = files("requisition.compiler").joinpath("predicate.lark").read_text("utf-8")
    builder: Any = _Builder()
    return Lark(grammar, parser="lalr", maybe_placeholders=False, transformer=builder)


def _depth(tree: Tree) -> int:
    depth, level = 0, [tree]
    while level:
        depth += 1
        level = [inner for one in level for inner in one if isinstance(inner, list)]
    return depth


def _unexpected(text: str, error: Any, location: str) -> Diagnostic:
    """From what the parser met, a character or a token, and what it could have met instead."""
    allowed = getattr(error, "allowed", None) or getattr(error, "accepts", None) or error.expected
    token = getattr(error, "token", None)
    expected = ", ".join(words for name, words in _EXPECTED if name in allowed)
    if token is not None and token.type == "$END":
        place, what, found = _end(text), "the condition ends too early", ""
    else:
        found = str(error.char if token is None else token)
        place, what = (error.line, error.column), f"unexpected {found} in the condition"
    advice = _OF_OTHERS.get(found, _EXAMPLE)
    return _finding(text, place, what, location, f"expected {expected}" if expected else "", advice)


def _end(text: str) -> tuple[int, int]:
    lines = text.rstrip().split("\n")
    return len(lines), len(lines[-1]) + 1


def _finding(
    text: str, place: tuple[int, int], what: str, location: str, why: str = "", advice: str = _EXAMPLE
) -> Diagnostic:
    line, column = place
    source = text.split("\n")[line - 1]
    skipped = max(column - _SHOWN // 2, 0) if len(source) > _SHOWN else 0
    source, column = source[skipped : skipped + _SHOWN], column - skipped
    lead = "".join("\t" if char == "\t" else " " for char in source[: column - 1])
    return Diagnostic(
        what=what, where=location, excerpt=f"    {source}\n    {lead}^", why=why, next=advice, code="predicate"
    )
