"""The language of `plan query`: text to a tree, and what is wrong with a text, at its column.

    deps("web/install/file.copy:/etc/web.conf") intersect kind("shell.*")
    allpaths(/etc/web.conf, package.*) except phase(prepare)

The grammar is `query.lark`; what names and functions mean is in `selection`.
"""

import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple, NoReturn

from requisition.schemas.diagnostic import BadInput, Diagnostic

MAX_TEXT = 4096
MAX_DEPTH = 200
_SHOWN = 100  # characters of a long query, around the caret
_ESCAPE = re.compile(
    r"\\(?:([\\\"'])|([nrt])|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U(00(?:0[0-9a-fA-F]|10)[0-9a-fA-F]{4}))"
)
_LETTERS = {"n": "\n", "r": "\r", "t": "\t"}
_EXPECTED = (
    ("WORD", "a node, a pattern of nodes, or a function"),
    ("UNION", "union, intersect, except"),
    ("COMMA", "a comma"),
    ("RPAR", ")"),
    ("$END", "the end"),
)
_ADVICE = 'write it as: deps("NODE") intersect kind("shell.*")'
_OF_OTHERS = {'"': "close the quote", "'": "close the quote", "-": "a name that begins with - stands in quotes"}


class Place(NamedTuple):
    """Where in the text something begins; line and column from 1."""

    line: int
    column: int


class Text(NamedTuple):
    """A name or a pattern; `quoted` as it was written."""

    text: str
    place: Place
    quoted: bool


class Call(NamedTuple):
    """A function and what stands between its parentheses."""

    name: str
    arguments: tuple["Tree", ...]
    place: Place


class Combined(NamedTuple):
    """Two sets: `union`, `intersect` or `except`."""

    operator: str
    left: "Tree"
    right: "Tree"

    @property
    def place(self) -> Place:
        """Where it begins."""
        tree: Tree = self
        while isinstance(tree, Combined):
            tree = tree.left
        return tree.place


Tree = Text | Call | Combined


def parse(text: str) -> Tree:
    """The tree of a query. Raises BadInput with a caret below the column."""
    if len(text) > MAX_TEXT:
        raise BadInput.of(f"the query has {len(text)} characters, at most {MAX_TEXT} are read")
    from lark.exceptions import UnexpectedInput

    try:
        tree: Tree = _parser().parse(text)
    except UnexpectedInput as error:
        _refuse(text, error)
    if _depth(tree) > MAX_DEPTH:
        raise BadInput.of(f"the query is nested deeper than {MAX_DEPTH} levels", next="ask in several steps")
    return tree


def refusal(text: str, place: Place, what: str, *, why: str = "", advice: str = "") -> BadInput:
    """What to raise for a mistake in a query."""
    source = text.split("\n")[place.line - 1]
    skipped = max(place.column - _SHOWN // 2, 0) if len(source) > _SHOWN else 0
    source, column = source[skipped : skipped + _SHOWN], place.column - skipped
    lead = "".join("\t" if char == "\t" else " " for char in source[: column - 1])
    where = f"query:{place.line}:{place.column}"
    excerpt = f"    {source}\n    {lead}^"
    return BadInput(Diagnostic(what=what, where=where, why=why, next=advice, excerpt=excerpt, code="query"))


class _Builder:
    """What the parser calls for each rule, innermost first."""

    union = staticmethod(lambda inner: Combined("union", inner[0], inner[-1]))
    except_ = staticmethod(lambda inner: Combined("except", inner[0], inner[-1]))
    intersect = staticmethod(lambda inner: Combined("intersect", inner[0], inner[-1]))
    call = staticmethod(lambda inner: Call(str(inner[0]), tuple(inner[1:]), _place(inner[0])))
    word = staticmethod(lambda inner: Text(str(inner[0]), _place(inner[0]), quoted=False))
    text = staticmethod(lambda inner: Text(_ESCAPE.sub(_character, inner[0][1:-1]), _place(inner[0]), quoted=True))


def _place(token: Any) -> Place:
    return Place(token.line, token.column)


def _character(found: re.Match[str]) -> str:
    plain, letter, *codes = found.groups()
    return plain or _LETTERS.get(letter or "") or chr(int(next(filter(None, codes)), 16))


@cache
def _parser() -> Any:
    from lark import Lark

    grammar = files("requisition.review").joinpath("query.lark").read_text("utf-8")
    builder: Any = _Builder()
    return Lark(grammar, parser="lalr", maybe_placeholders=False, transformer=builder)


def _depth(tree: Tree) -> int:
    depth, level = 0, [tree]
    while level:
        depth += 1
        level = [inner for one in level for inner in _inner(one)]
    return depth


def _inner(tree: Tree) -> Sequence[Tree]:
    if isinstance(tree, Combined):
        return (tree.left, tree.right)
    return tree.arguments if isinstance(tree, Call) else ()


def _refuse(text: str, error: Any) -> NoReturn:
    """From what the parser met, a character or a token, and what it could have met instead."""
    allowed = getattr(error, "allowed", None) or getattr(error, "accepts", None) or error.expected
    token = getattr(error, "token", None)
    expected = ", ".join(words for name, words in _EXPECTED if name in allowed)
    if token is not None and token.type == "$END":
        lines = text.rstrip().split("\n")
        place, what, found = Place(len(lines), len(lines[-1]) + 1), "the query ends too early", ""
    else:
        found = str(error.char if token is None else token)
        place, what = Place(error.line, error.column), f"unexpected {found} in the query"
    why = f"expected {expected}" if expected else ""
    raise refusal(text, place, what, why=why, advice=_OF_OTHERS.get(found, _ADVICE)) from error
