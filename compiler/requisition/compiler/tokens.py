"""Tokens of Starlark text, as far as telling code from strings and comments goes."""

import re

_STRING = (
    r'r?(?:"""(?:[^\\]|\\.)*?(?:"""|\Z)'
    r"|'''(?:[^\\]|\\.)*?(?:'''|\Z)"
    r'|"(?:[^"\\\n]|\\.)*"?'
    r"|'(?:[^'\\\n]|\\.)*'?)"
)
TOKEN = re.compile(
    rf"(?P<word>(?!r?[\"'])\w+)|(?P<string>{_STRING})"
    r"|(?P<comment>\#[^\n]*)|(?P<join>\\\r?\n)|(?P<line>\n\ *)|(?P<open>[\[({])|(?P<close>[\])}])"
    r"|(?P<operator>[-+~*/%|&^.<>=!]+)|(?P<end>[,;:])|(?P<other>.)",
    re.DOTALL,
)
_NOT_CODE = re.compile(rf"{_STRING}|\#[^\n]*", re.DOTALL)
_BRACKET = re.compile(r"[\[\](){}]")
_VISIBLE = re.compile(r"[^\n]")


def code_only(text: str) -> str:
    """The text with strings and comments blanked out, every other character at its place."""
    return _NOT_CODE.sub(_blank, text)


def position(text: str, offset: int) -> tuple[int, int]:
    """Line and column of an offset, both from 1."""
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


def unclosed(code: str) -> int | None:
    """The offset of the innermost bracket that is never closed, in text without strings and comments."""
    opened: list[int] = []
    for found in _BRACKET.finditer(code):
        if found[0] in "[({":
            opened.append(found.start())
        elif opened:
            opened.pop()
    return opened[-1] if opened else None


def _blank(found: re.Match[str]) -> str:
    part = found[0]
    return _VISIBLE.sub(" ", part) if "\n" in part else " " * len(part)
