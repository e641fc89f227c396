from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from requisition.compiler.predicate import MAX_DEPTH, compile_predicate
from requisition.runtime.predicate import PredicateError, evaluate, holds
from requisition.schemas.diagnostic import BadInput, Diagnostic

NAMES: dict[str, Any] = {
    "value": "ok then",
    "exit_code": 0,
    "stdout": "is ready\n",
    "os": "linux",
    "item": {"port": 80, "Name": "a.b", "in": [1, {"x": 2}]},
}


def decide(text: str) -> bool:
    return holds(compile_predicate(text, "a.star:3:5"), NAMES, lambda path: path == "/etc/here")


def compiled(text: str) -> Any:
    try:
        return compile_predicate(text, "a.star:1:1")
    except BadInput as error:
        return error


def refusal(text: Any) -> Diagnostic:
    with pytest.raises(BadInput) as caught:
        compile_predicate(text, "a.star:3:5")
    (finding,) = caught.value.diagnostics
    assert finding.where == "a.star:3:5"
    return finding


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("exit_code == 0", ["==", ["name", "exit_code"], ["lit", 0]]),
        ("a or b and not c", ["or", ["name", "a"], ["and", ["name", "b"], ["not", ["name", "c"]]]]),
        ("a and b and c", ["and", ["name", "a"], ["name", "b"], ["name", "c"]]),
        ("not a == b", ["not", ["==", ["name", "a"], ["name", "b"]]]),
        ("a not in [1, 'x', -2, true, None,]", ["not", ["in", ["name", "a"], ["lit", [1, "x", -2, True, None]]]]),
        ('item.port["x"]', ["get", ["get", ["name", "item"], ["lit", "port"]], ["lit", "x"]]),
        ("infoo == notes", ["==", ["name", "infoo"], ["name", "notes"]]),
        (r'"\d+\.\"\\n\n"', ["lit", '\\d+\\."\\n\n']),
        ("value contains 'x'", ["contains", ["name", "value"], ["lit", "x"]]),
        ("False", ["lit", False]),
    ],
)
def test_text_becomes_the_tree_of_the_architecture(text: str, tree: list[Any]) -> None:
    assert compile_predicate(text, "") == tree


@pytest.mark.parametrize(
    "text",
    [
        'exit_code == 0 and stdout contains "ready"',
        'value matches "^ok" and value matches "\\w+ \\bthen"',
        'os in ["linux", "darwin"] and os not in ["plan9"]',
        'exists("/etc/here") and not exists("/etc/there")',
        "len(value) > 3 and len(value) <= 7",
        "item.port < 1024 and item['port'] >= 80 and item.Name != 'x'",
        "not (exit_code == 1 or false)",
        "value startswith \"ok\" and value endswith 'then'",
        "item.in[1].x == 2 and 1 in item.in",
        'stdout\n  contains "ready"',
    ],
)
def test_the_runtime_decides_what_the_author_meant(text: str) -> None:
    assert decide(text) is True


@pytest.mark.parametrize(
    ("text", "column", "what", "why"),
    [
        ("exit_code = 0", 11, "unexpected =", "comparison such as =="),
        ("a == b == c", 8, "unexpected ==", "and, or"),
        ("a ==", 5, "ends too early", "expected a name"),
        ("  (a  ", 5, "ends too early", "expected )"),
        ("", 1, "ends too early", "expected a name"),
        ("a b", 3, "unexpected b", "comparison"),
        ("a.", 3, "ends too early", "name of a field"),
        ('a == "x', 6, 'unexpected "', ""),
        ("x in [1, y]", 6, "only texts, numbers", ""),
        ("1234567890123456 == 1", 1, "at most 15 digits", ""),
        ("a\n and ]", 6, "unexpected ]", "a name"),
        ("\ta & b", 4, "unexpected &", "and"),
    ],
)
def test_a_mistake_is_shown_with_a_caret_and_what_was_expected(text: str, column: int, what: str, why: str) -> None:
    finding = refusal(text)
    assert what in finding.what
    assert why in finding.why
    caret = finding.excerpt.splitlines()[1]
    assert caret.index("^") == 4 + column - 1
    assert finding.next


def test_a_long_condition_is_shown_around_the_mistake() -> None:
    finding = refusal("a or " * 300 + "?" + " or b" * 300)
    source, caret = finding.excerpt.splitlines()
    assert source[caret.index("^")] == "?"
    assert len(source) < 120


@pytest.mark.parametrize("text", [5, None, ["a"], "a" * 5000])
def test_only_short_text_is_a_condition(text: Any) -> None:
    assert "expected a condition as text" in refusal(text).what


@pytest.mark.parametrize(
    "make", [lambda n: "not " * n + "a", lambda n: "a" + ".b" * n, lambda n: "len(" * n + "a" + ")" * n]
)
def test_depth_is_bounded_so_that_the_runtime_need_not_recurse_deeper(make: Callable[[int], str]) -> None:
    assert compile_predicate(make(MAX_DEPTH - 2), "")
    assert "nested deeper" in refusal(make(MAX_DEPTH + 1)).what
    assert "nested deeper" in refusal(make(700)).what


def test_brackets_around_a_value_and_brackets_in_a_text_are_no_depth() -> None:
    assert compile_predicate("(" * 2000 + "a" + ")" * 2000, "") == ["name", "a"]
    assert compile_predicate("'" + "(" * 2000 + "'", "") == ["lit", "(" * 2000]


@given(st.text() | st.text(alphabet="abon dtir()[]\"'\\.,=!<>0-1\n"))
def test_any_text_gives_a_tree_or_a_finding(text: str) -> None:
    found = compiled(text)
    if isinstance(found, BadInput):
        assert found.diagnostics[0].where == "a.star:1:1"
    else:
        assert found[0] in ("name", "lit", "get", "==", "!=", "<", "<=", ">", ">=", "in", "not", "and", "or")


names = st.sampled_from([*NAMES, "unknown"])
leaves = names | st.integers(-999, 999).map(str) | st.sampled_from(['"ok"', "'['", "true", "none", "[1, 'a']", "[]"])
operators = st.sampled_from(
    ["==", "!=", "<", "<=", ">", ">=", "in", "not in", "contains", "matches", "startswith", "endswith", "and", "or"]
)
texts = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.tuples(inner, operators, inner).map(lambda parts: f"({' '.join(parts)})"),
        inner.map(lambda one: f"(not {one})"),
        st.tuples(st.sampled_from(["len", "exists"]), inner).map(lambda parts: f"{parts[0]}({parts[1]})"),
        inner.map(lambda one: f"{one}.port"),
        st.tuples(inner, inner).map(lambda parts: f"{parts[0]}[{parts[1]}]"),
    ),
    max_leaves=12,
)


@given(texts)
def test_what_the_grammar_allows_evaluates_or_says_why_not(text: str) -> None:
    tree = compiled(text)
    if isinstance(tree, BadInput):
        assert "nested deeper" in str(tree)
        return
    with suppress(PredicateError):
        evaluate(tree, NAMES, lambda path: path == "/etc/here")
