"""Where in a YAML text a character of a value stands, for findings that point at it."""

import re
from bisect import bisect_right

_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_FOLD = re.compile("[ \t]*(?:\r\n|[\r\n\x85\u2028\u2029])[ \t\r\n\x85\u2028\u2029]*")
_ESCAPE = re.compile(r"\\(?:x..|u.{4}|U.{8}|\r?\n[ \t]*|.)", re.DOTALL)
_INDENT = re.compile(r"[ \t]*")


class Characters:
    """The characters of one text, by the values that they belong to."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._starts = [0, *(found.end() for found in _BREAK.finditer(text))]

    def place(self, of_value: tuple[int, int], offset: int) -> tuple[int, int]:
        """Line and column (from 1) of the character at `offset` of the value that stands at a line and column."""
        line, column = of_value
        at = self._starts[min(line, len(self._starts)) - 1] + column - 1
        quote = self._text[at : at + 1]
        if quote in ("|", ">"):
            index = _in_block(self._text, self._starts, line, offset)
        else:
            index = _in_flow(self._text, at, quote, offset)
        number = bisect_right(self._starts, index)
        return number, index - self._starts[number - 1] + 1

    def line(self, number: int) -> str:
        """A line of the text (from 1), without its break."""
        end = self._starts[number] if number < len(self._starts) else len(self._text)
        return self._text[self._starts[number - 1] : end].rstrip("\r\n\x85\u2028\u2029")


def _in_flow(text: str, at: int, quote: str, offset: int) -> int:
    """Plain or quoted: escapes stand for one character (YAML 1.1, 5.7), breaks are folded (YAML 1.1, 8.1)."""
    at += quote in ("'", '"')
    passed = 0
    while at < len(text):
        escape = _ESCAPE.match(text, at) if quote == '"' and text[at] == "\\" else None
        if escape and escape[0][1] in "\r\n":
            at = escape.end()  # the line goes on: nothing of it is in the value
            continue
        if passed >= offset:
            break
        fold = _FOLD.match(text, at)
        if fold:
            at, passed = fold.end(), passed + max(1, len(_BREAK.findall(fold[0])) - 1)
            continue
        at = escape.end() if escape else at + (2 if quote == "'" and text.startswith("''", at) else 1)
        passed += 1
    return min(at, len(text))


def _in_block(text: str, starts: list[int], line: int, offset: int) -> int:
    """A block (`|`, `>`): lines without their indentation, each with one break."""
    indent, passed, end = -1, 0, len(text)
    for number in range(line, len(starts)):
        start, after = starts[number], starts[number + 1] if number + 1 < len(starts) else end
        content = text[start:after]
        blank = not content.strip()
        if indent < 0 and not blank:
            found = _INDENT.match(content)
            indent = found.end() if found else 0
        kept = len(_BREAK.sub("\n", content)) - (0 if blank else indent)
        kept = 1 if blank else kept
        if passed + kept > offset:
            return min(start + max(indent, 0) + offset - passed, end)
        passed += kept
    return end
