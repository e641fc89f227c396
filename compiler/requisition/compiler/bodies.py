"""Bodies of lambdas as functions: Starlark's checker enters functions, but not lambdas."""

import re
from bisect import bisect_right
from dataclasses import dataclass
from operator import itemgetter

from requisition.compiler.tokens import code_only, position

_TOKEN = re.compile(r"\\\r?\n|\b(?:lambda|for)\b|[\[(){},:;\n\]]")
_MAX_NESTED = 8  # a lambda is copied once for each that holds it


@dataclass(frozen=True, slots=True)
class _Lambda:
    start: int  # of the parameters
    colon: int = -1  # before the body; -1 while in the parameters
    stop: int = -1  # of the body


@dataclass(frozen=True, slots=True)
class Copies:
    """Functions to append to a text, and from where in the text each of their bodies was copied."""

    text: str
    functions: str
    spans: tuple[tuple[int, int, int], ...]  # start and stop in `functions`, start in `text`
    lines: tuple[int, ...]  # where each line of `functions` starts

    def origin(self, line: int, column: int) -> tuple[int, int] | None:
        """The place in the text of a place in `functions`, both counted from 1; None outside of bodies."""
        if not 1 <= line <= len(self.lines):
            return None
        offset = self.lines[line - 1] + column - 1
        number = bisect_right(self.spans, offset, key=itemgetter(0)) - 1
        if number < 0 or offset >= self.spans[number][1]:
            return None
        start, _, source = self.spans[number]
        return position(self.text, source + offset - start)


def copies(text: str) -> Copies:
    """A function for every lambda in the text."""
    functions: list[str] = []
    spans: list[tuple[int, int, int]] = []
    size = 0
    for found in _lambdas(code_only(text)) if "lambda" in text else ():
        body = text[found.colon + 1 : found.stop]
        head = f"def _lambda_{len(spans)}({text[found.start : found.colon].strip()}):\n  return ("
        functions += [head, body, "\n)\n"]
        spans.append((size + len(head), size + len(head) + len(body), found.colon + 1))
        size += len(head) + len(body) + 3
    joined = "".join(functions)
    return Copies(text, joined, tuple(spans), (0, *(found.end() for found in re.finditer("\n", joined))))


def _lambdas(code: str) -> list[_Lambda]:
    found: list[_Lambda] = []
    stack: list[_Lambda | None] = []  # None is an open bracket

    def end(stop: int) -> None:
        """Lambdas whose body ends here; those still in their parameters stay."""
        while stack and stack[-1] is not None and stack[-1].colon >= 0:
            one = stack.pop()
            if one is not None and sum(outer is not None for outer in stack) < _MAX_NESTED:
                found.append(_Lambda(one.start, one.colon, stop))

    for token in _TOKEN.finditer(code):
        text = token[0]
        if text[0] == "\\":
            continue  # the line goes on
        if text == "lambda":
            stack.append(_Lambda(token.end()))
        elif text in "[({":
            stack.append(None)
        elif text in "])}":
            end(token.start())
            if stack:
                stack.pop()
        elif text == ":":
            end(token.start())  # of a lambda that is the default of a parameter, or a key
            if stack and (one := stack[-1]) is not None:
                stack[-1] = _Lambda(one.start, token.start())
        elif text in (",", "for") or None not in stack:
            end(token.start())
    end(len(code))
    return found
