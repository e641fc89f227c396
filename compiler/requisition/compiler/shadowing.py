"""Where a script binds a name that the language of packages has: Starlark would take it in silence."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from requisition.compiler.prelude import GLOBALS

RESERVED = frozenset((*GLOBALS, "fail"))
_SUSPECT = re.compile(rf"(?<![\w.])(?:{'|'.join(sorted(RESERVED))})\b(?!\s*[.(])|\bdef\s+(?:{'|'.join(RESERVED)})\b")
_TOKEN = re.compile(r"\w+|\\\n|[\[({]|[\])}]|(?:\*\*|//|<<|>>|[-+*/%&|^!<>=])?=|->|\*\*?|[\n,:;.]|[^\s\w]")
_BINDING_OPERATOR = re.compile(r"(?:\*\*|//|<<|>>|[-+*/%&|^])?=\Z")
_OPERAND = re.compile(r"\w|[\])}\"']")
_KEYWORDS = frozenset(("in", "return", "and", "or", "not", "if", "elif", "else", "for", "lambda"))
_PARAMETER_AFTER = frozenset(("(", ",", "*", "**", "lambda"))


@dataclass(slots=True)
class _Context:
    """One open bracket, the parameters of a lambda, or (at the bottom) the statement itself."""

    kind: str  # statement, group (tuple or list), access (call or index), parameters, lambda
    target: bool = False  # between `for` and `in`


@dataclass(slots=True)
class _Scan:
    code: str
    stack: list[_Context] = field(default_factory=lambda: [_Context("statement")])
    candidates: list[int] = field(default_factory=list)  # bound if an assignment operator follows
    first: str = ""  # word of the statement
    last: str = "\n"  # token

    def run(self) -> Iterator[int]:
        for token in _TOKEN.finditer(self.code):
            text = token[0]
            if text in RESERVED:
                yield from self._name(token)
            elif text in "([{":
                self._open(text)
            elif text in ")]}":
                self._leave("lambda")
                if len(self.stack) > 1:
                    self.stack.pop()
            elif _BINDING_OPERATOR.match(text):
                if len(self.stack) == 1:
                    yield from self.candidates
                    self.candidates.clear()
            else:
                self._mark(text)
            if text != "\\\n" and (text != "\n" or not self._in_brackets()):
                self.first = self.first or text.strip()
                self.last = text

    def _name(self, token: re.Match[str]) -> Iterator[int]:
        context = self.stack[-1]
        if self.last == ".":
            return
        parameter = context.kind in ("parameters", "lambda") and self.last in _PARAMETER_AFTER
        follows = self.code[token.end() : token.end() + 80].lstrip(" ")[:1]
        if self.last == "def" or parameter:
            yield token.start()
        elif follows in (".", "(", "["):
            return
        elif self._in_target():
            yield token.start()
        elif all(one.kind in ("statement", "group") for one in self.stack):
            self.candidates.append(token.start())

    def _in_target(self) -> bool:
        for context in reversed(self.stack):
            if context.target or context.kind != "group":
                return context.target
        return False

    def _in_brackets(self) -> bool:
        return any(context.kind not in ("statement", "lambda") for context in self.stack)

    def _open(self, text: str) -> None:
        if self.first == "def" and len(self.stack) == 1:
            kind = "parameters"
        elif text != "{" and _OPERAND.match(self.last) and self.last not in _KEYWORDS:
            kind = "access"
        else:
            kind = "group"
        self.stack.append(_Context(kind))

    def _mark(self, text: str) -> None:
        context = self.stack[-1]
        if text == "for":
            context.target = True
        elif text == "in":
            context.target = False
        elif text == "lambda":
            self.stack.append(_Context("lambda"))
        elif text == ":" and context.kind == "lambda":
            self.stack.pop()
        elif text == ":" and len(self.stack) == 1 and self.first in ("if", "elif", "else", "for", "def"):
            self._statement()
        elif text in "\n;" and not self._in_brackets():
            self._leave("lambda")
            self._statement()

    def _leave(self, kind: str) -> None:
        while len(self.stack) > 1 and self.stack[-1].kind == kind:
            self.stack.pop()

    def _statement(self) -> None:
        self.candidates.clear()
        self.stack[0].target = False
        self.first = ""


def shadowing(code: str) -> list[int]:
    """Offsets of such names, in text without strings and comments (`tokens.code_only`)."""
    return list(_Scan(code).run()) if _SUSPECT.search(code) else []
