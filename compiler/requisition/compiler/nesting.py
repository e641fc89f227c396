"""A scan before the parser: how deeply a script nests. Starlark's recursive parser has no bound of its own
and dies of three thousand brackets.

What is computed is never less than the depth of the tree that the parser builds: blocks by indentation and
`elif`, brackets, `lambda`, and operators, of which eight count as one level because their recursion is lighter.
"""

import re
from dataclasses import dataclass

from requisition.compiler.tokens import TOKEN

_LEVEL = 8  # a bracket, block or lambda, in operators
_CHAINING = frozenset(("not", "and", "or", "in", "if", "else"))
_BLANK = re.compile(r"[ \r]*(?:#|\n|\Z)")
_ELSE = re.compile(r"(elif|else)\b")


@dataclass(slots=True)
class _Group:
    """What one open bracket holds: the current element's operators, lambdas and deepest part, and the
    deepest element so far."""

    chain: int = 0
    lambdas: int = 0
    inner: int = 0
    deepest: int = 0

    def end_element(self) -> None:
        """A comma was met; within the parameters of a lambda it ends nothing."""
        if not self.lambdas:
            self.deepest = max(self.deepest, self.chain + self.inner)
            self.chain = self.inner = 0

    def height(self) -> int:
        return max(self.deepest, self.chain + self.inner)


class _Blocks:
    """The indented blocks around a statement: their widths, and how many `elif`s led to each."""

    def __init__(self) -> None:
        self._widths = [0]
        self._elifs = [0]

    def enter(self, text: str, start: int, width: int) -> None:
        """A statement starts."""
        while self._widths[-1] > width:
            self._widths.pop()
            self._elifs.pop()
        if width > self._widths[-1]:
            self._widths.append(width)
            self._elifs.append(0)
        follows = _ELSE.match(text, start)
        if follows is None:
            self._elifs[-1] = 0
        elif follows[1] == "elif":
            self._elifs[-1] += 1

    def height(self) -> int:
        return _LEVEL * (len(self._widths) - 1 + sum(self._elifs))


class _Scan:
    def __init__(self) -> None:
        self.deepest, self.where = 0, 1
        self._started = 1
        self._groups = [_Group()]
        self._blocks = _Blocks()

    def run(self, text: str) -> None:
        line = 1
        for token in TOKEN.finditer(text):
            kind = token.lastgroup
            if kind == "line":
                line += 1
                if len(self._groups) == 1 and not _BLANK.match(text, token.end()):
                    self._statement_ends(line)
                    self._blocks.enter(text, token.end(), len(token[0]) - 1)
            elif kind in ("string", "join"):
                line += token[0].count("\n")
            elif kind == "open":
                self._groups.append(_Group())
            elif kind == "close":
                self._close()
            elif kind in ("word", "operator", "end"):
                self._part(kind, token[0], line)
        while len(self._groups) > 1:
            self._close()
        self._statement_ends(line)

    def _part(self, kind: str, text: str, line: int) -> None:
        group = self._groups[-1]
        if kind == "operator":
            group.chain += len(text)
        elif text == "lambda":
            group.chain += _LEVEL
            group.lambdas += 1
        elif text in _CHAINING:
            group.chain += 1
        elif text == ":":
            group.lambdas = max(group.lambdas - 1, 0)
        elif text == ",":
            group.end_element()
        elif text == ";" and len(self._groups) == 1:
            self._statement_ends(line)

    def _close(self) -> None:
        if len(self._groups) > 1:
            inner = self._groups.pop().height() + _LEVEL - 1  # and one for what is called or indexed
            outer = self._groups[-1]
            outer.inner = max(outer.inner, inner)
            outer.chain += 1

    def _statement_ends(self, line: int) -> None:
        depth = self._blocks.height() + self._groups[0].height()
        if depth > self.deepest:
            self.deepest, self.where = depth, self._started
        self._groups = [_Group()]
        self._started = line


def nesting_depth(text: str) -> tuple[int, int]:
    """(the deepest nesting in levels, the line on which that statement starts)."""
    scan = _Scan()
    scan.run(text)
    return scan.deepest // _LEVEL, scan.where
