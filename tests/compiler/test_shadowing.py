import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from requisition.compiler.shadowing import RESERVED, shadowing
from requisition.compiler.tokens import code_only, position

BOUND = [
    "plan = 5",
    "a, plan = 1, 2",
    "(plan, b) = 1, 2",
    "[plan] = [1]",
    "a = plan = 5",
    "plan += 1",
    "plan: int = 5",
    "if x: plan = 5",
    "a \\\n, plan = 1, 2",
    "for plan in x: pass",
    "for a, (note, b) in x: pass",
    "def note(): pass",
    "def f(a, note): pass",
    "def f(a, *note): pass",
    "def f(a, *, b, **note): pass",
    "def f(\n  a,\n  note = 1,\n):\n  pass",
    "x = lambda plan: 1",
    "x = lambda a, plan=1: 1",
    "f(lambda a,\n plan: 1)",
    "[x for plan in y]",
    "f([x for a in y for note in a])",
    "fail = print",
    "x = [lambda error: 1, success]",
    "f(\n  note = 'x',\n)\nwarn = 1",
    "x = plan.file.copy(note = lambda note: 1)",
]
USED = [
    "def f(a = note): pass",
    "def f(a: plan): pass",
    "x = lambda a=plan: plan",
    "[plan for x in plan]",
    "[x for x in y if plan]",
    "f(note = 1)",
    "f(a,\n  note = 1)",
    "f(lambda: note('x'), note = 'y')",
    "x[plan] = 5",
    "f(plan).x = 5",
    "plan.x = 5",
    "x.plan = 5",
    "x = {plan: 1}",
    "x = {'a': 1, 'note': 2}",
    "if plan == 1: x = 5",
    "x = (plan)\ny = 2",
    "x, y = plan, 3",
    "x = a if plan else b",
    "for x in plan: y = 1",
    "for x in [plan]:\n  y = 1",
    "f(x)[plan].y = 1",
    "x = 'plan = 5'  # plan = 5",
    "x = '''\nplan = 5\n'''",
    "x = r'\\' + plan",
    "planet = 5",
]


def bound(text: str) -> list[tuple[int, int]]:
    """What Python's own parser says: Starlark binds names as Python does."""
    places = []
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name) if name in RESERVED:
                places.append((node.lineno, node.col_offset + 1))
            case ast.FunctionDef(name=name) if name in RESERVED:
                places.append((node.lineno, node.col_offset + 1 + len("def ")))
    return sorted(places)


def found(text: str) -> list[tuple[int, int]]:
    code = code_only(text)
    return sorted(position(code, offset) for offset in shadowing(code))


@pytest.mark.parametrize("text", BOUND)
def test_a_name_bound_in_any_way_is_found_at_its_place(text: str) -> None:
    assert found(text) == bound(text) != []


@pytest.mark.parametrize("text", USED)
def test_a_name_that_is_used_is_left_alone(text: str) -> None:
    assert found(text) == []


names = st.sampled_from(["plan", "note", "a", "b.c", "d"])
values = st.recursive(
    names | st.sampled_from(["1", "'plan = 1'"]),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda two: f"({two[0]}, {two[1]})"),
        st.tuples(inner, inner).map(lambda two: f"({two[0]} == {two[1]})"),
        st.tuples(inner, names, inner).map(lambda all_: f"f({all_[0]}, {all_[1].replace('.', '')} = {all_[2]})"),
        st.tuples(names, inner).map(lambda two: f"(lambda {two[0].replace('.', '')}, x = {two[1]}: {two[1]})"),
        st.tuples(inner, names, inner).map(lambda all_: f"[{all_[0]}\n for {all_[1]}, e in {all_[2]} if {all_[0]}]"),
        st.tuples(inner, inner).map(lambda two: f"{{{two[0]}: {two[1]}}}"),
        inner.map(lambda one: f"g[{one}]"),
    ),
    max_leaves=8,
)
statements = st.one_of(
    st.tuples(names, values).map(lambda two: f"{two[0]} = {two[1]}"),
    st.tuples(names, names, values).map(lambda all_: f"{all_[0]}, ({all_[1]}, g[{all_[2]}]) = {all_[2]}"),
    st.tuples(names, values).map(lambda two: f"for {two[0]} in {two[1]}: {two[0]} = {two[1]}"),
    st.tuples(values, names).map(lambda two: f"if {two[0]}: {two[1]} = 1; a = {two[0]}"),
    st.tuples(names, values).map(lambda two: f"def h({two[0].replace('.', '')}, *, y = {two[1]}):\n  return {two[1]}"),
)


@given(st.lists(statements, max_size=4).map("\n".join))
def test_it_agrees_with_pythons_parser(text: str) -> None:
    assert found(text) == bound(text)
