import pytest
from hypothesis import given
from hypothesis import strategies as st

from requisition.runtime.predicate import PredicateError, evaluate, holds

NAMES = {"value": "ready", "exit_code": 0, "stdout": "a b", "item": {"port": 80}, "os": "linux"}


def decide(tree):
    return holds(tree, NAMES, lambda path: path == "/here")


@pytest.mark.parametrize(
    "tree",
    [
        ["==", ["name", "value"], ["lit", "ready"]],
        ["and", ["==", ["name", "exit_code"], ["lit", 0]], ["exists", ["lit", "/here"]]],
        ["or", ["lit", False], ["not", ["exists", ["lit", "/there"]]]],
        ["<", ["get", ["name", "item"], ["lit", "port"]], ["lit", 443]],
        ["matches", ["name", "stdout"], ["lit", "^a"]],
        ["contains", ["name", "stdout"], ["lit", "b"]],
        ["in", ["name", "os"], ["lit", ["linux", "darwin"]]],
        ["==", ["len", ["name", "stdout"]], ["lit", 3]],
        ["startswith", ["name", "value"], ["lit", "rea"]],
        ["endswith", ["name", "value"], ["lit", "dy"]],
    ],
)
def test_each_operator_decides(tree):
    assert decide(tree) is True


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        (["name", "nothing"], "unknown name 'nothing'"),
        (["frobnicate", ["lit", 1]], "unknown operator 'frobnicate'"),
        (["and", ["lit", 1]], "expected true or false"),
        (["<", ["lit", 1], ["lit", "x"]], "cannot be applied"),
        (["<", ["lit", True], ["lit", False]], "cannot be applied"),
        (["matches", ["lit", "x"], ["lit", "("]], "bad pattern"),
        (["not"], "takes 1 value"),
        ("text", "not a predicate"),
        ([], "not a predicate"),
    ],
)
def test_what_cannot_be_decided_says_why(tree, words):
    with pytest.raises(PredicateError, match=words):
        decide(tree)


def test_and_stops_at_the_first_false():
    assert decide(["and", ["lit", False], ["name", "nothing"]]) is False


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(json_values)
def test_any_tree_gives_a_value_or_its_own_error(tree):
    try:
        evaluate(tree, NAMES, lambda _: False)
    except PredicateError:
        pass


@pytest.mark.parametrize("path", ["/../../etc/shadow", "..", "/a/../../b", "~/../x", "", "/a\0b"])
def test_a_path_that_leads_out_of_the_root_is_never_looked_at(path):
    seen = []
    with pytest.raises(PredicateError, match="no path below the root"):
        evaluate(["exists", ["lit", path]], {}, lambda one: bool(seen.append(one)))
    assert seen == []


@pytest.mark.parametrize("path", ["/a/b", "a/b", "~/a/b", "//a//b/", "/a/./b"])
def test_a_path_is_looked_at_below_the_root(path):
    seen = []
    evaluate(["exists", ["lit", path]], {}, lambda one: bool(seen.append(one)))
    assert seen == ["/a/b"]
