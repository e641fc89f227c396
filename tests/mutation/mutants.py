"""Small wrongs, one at a time: each mutant is a module's source with one of them in it.

Comparisons, boolean operators, conditions, integers, arithmetic, and statements that act (a call, a raise, an
assignment in place) are changed. Texts, annotations, decorators and defaults of fields are left: what they say is
for people and for the type checker.
"""

import ast
from collections.abc import Iterator
from typing import NamedTuple

COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
COMPUTED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.LShift: ast.RShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}


class Mutant(NamedTuple):
    """`source` is the whole module with one wrong in it, which `what` names; `line` is of the original."""

    line: int
    what: str
    source: str


def mutants(source: str) -> Iterator[Mutant]:
    """Every mutant of a module, in the order of its lines."""
    tree = ast.parse(source)
    for place in list(_places(tree)):
        for field, value, old in _changes(place):
            before, whole = getattr(place, field), ast.unparse(tree)
            setattr(place, field, value)
            changed = ast.unparse(ast.fix_missing_locations(tree))
            setattr(place, field, before)
            if changed != whole:
                yield Mutant(*old, changed)


def _places(tree: ast.Module) -> Iterator[ast.AST]:
    """The nodes of all function bodies. What stands outside of functions is read by eye."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            for statement in node.body:
                yield from _below(statement)


def _below(node: ast.AST) -> Iterator[ast.AST]:
    """A node and what is in it, but not functions (they come by themselves) and annotations."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return
    yield node
    for name, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if name != "annotation" and isinstance(child, ast.AST):
                yield from _below(child)


def _changes(node: ast.AST) -> Iterator[tuple[str, object, tuple[int, str]]]:
    """(field, what it becomes, (line, words)) for every wrong that can be done to one node."""
    match node:
        case ast.Compare(ops=[first, *others]) if type(first) in COMPARED:
            yield "ops", [COMPARED[type(first)](), *others], _said(node, "compared the other way")
        case ast.BoolOp(op=ast.And()):
            yield "op", ast.Or(), _said(node, "`and` became `or`")
        case ast.BoolOp(op=ast.Or()):
            yield "op", ast.And(), _said(node, "`or` became `and`")
        case ast.BinOp(op=operator) | ast.AugAssign(op=operator) if type(operator) in COMPUTED:
            yield "op", COMPUTED[type(operator)](), _said(node, "computed the other way")
        case ast.Constant(value=bool() as value):
            yield "value", not value, _said(node, f"{value} turned round")
        case ast.Constant(value=int() as value):
            yield "value", value + 1, _said(node, f"{value} became {value + 1}")
        case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test) if not isinstance(test, ast.Compare):
            yield "test", ast.UnaryOp(ast.Not(), test), _said(node, "condition turned round")
    for name in ("body", "orelse"):
        block = getattr(node, name, None)
        if isinstance(block, list):
            for at, statement in enumerate(block):
                if _acts(statement):
                    left_out = [*block[:at], ast.Pass(), *block[at + 1 :]]
                    yield name, left_out, _said(statement, "left out")


def _acts(statement: ast.stmt) -> bool:
    """Whether leaving the statement out is a wrong of its own."""
    if isinstance(statement, ast.Expr):
        return not isinstance(statement.value, ast.Constant)
    return isinstance(statement, ast.Raise | ast.Continue | ast.Break | ast.AugAssign)


def _said(node: ast.AST, what: str) -> tuple[int, str]:
    text = ast.unparse(node).splitlines()[0]
    return getattr(node, "lineno", 0), f"{what}: {text[:90]}"
