"""Tokens of Starlark text, as far as telling code from strings and comments goes."""

import re

TOKEN = re.compile(
    r"""(?P<string>[rb]{0,2}(?:\"\"\"(?:[^\\]|\\.)*?(?:\"\"\"|\Z)|'''(?:[^\\]|\\.)*?(?:'''|\Z)"""
    r"""|"(?:[^"\\\n]|\\.)*"?|'(?:[^'\\\n]|\\.)*'?))"""
    r"""|(?P<comment>\#[^\n]*)|(?P<line>\n[ \t]*)|(?P<open>[\[({])|(?P<close>[\])}])"""
    r"""|(?P<chain>\bnot\b|\blambda\b|\bif\b|\belse\b|[-+~*/%|&^.<>=!]+)|(?P<end>[,;])|(?P<word>\w+)|(?P<other>.)""",
    re.DOTALL,
)


def code_only(text: str) -> str:
    """The text with strings and comments blanked out, every other character at its place."""
    parts = []
    for token in TOKEN.finditer(text):
        if token.lastgroup in ("string", "comment"):
            parts.append("".join("\n" if char == "\n" else " " for char in token[0]))
        else:
            parts.append(token[0])
    return "".join(parts)
