"""A scan before the parser: how deeply a script nests. Starlark's recursive parser has no bound of its own
and dies of three thousand brackets."""

from requisition.compiler.tokens import TOKEN


def nesting_depth(text: str) -> tuple[int, int]:
    """(the deepest nesting, its line). Brackets, chains of operators and prefixes within one expression,
    and indentation count together, because each can be a level of the parser's recursion."""
    deepest, where, line = 0, 1, 1
    chains, total = [0], 0  # operators in each open bracket's present item, and their sum
    indents: list[int] = [0]
    for token in TOKEN.finditer(text):
        kind = token.lastgroup
        if kind == "line":
            line += 1
            if len(chains) == 1:
                chains[0] = total = 0
                _indent(text, token.end(), len(token[0].expandtabs(8)) - 1, indents)
        elif kind == "open":
            chains.append(0)
        elif kind == "close" and len(chains) > 1:
            total -= chains.pop() - 1
            chains[-1] += 1
        elif kind == "chain":
            length = 1 if token[0].isalpha() else len(token[0])
            chains[-1] += length
            total += length
        elif kind == "end":
            total -= chains[-1]
            chains[-1] = 0
        elif kind == "string":
            line += token[0].count("\n")
        depth = len(chains) - 1 + len(indents) - 1 + total // 8
        if depth > deepest:
            deepest, where = depth, line
    return deepest, where


def _indent(text: str, at: int, width: int, indents: list[int]) -> None:
    """Levels of indentation after a line begins; blank lines and comments do not count."""
    if text[at : at + 1] in ("\n", "#", ""):
        return
    while indents[-1] > width:
        indents.pop()
    if width > indents[-1]:
        indents.append(width)
