"""Debian's order of versions against dpkg itself, and bounds against a plain search."""

import shutil
import subprocess

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from requisition.stdlib.providers.package.versions import Clause, allows, debian_compare, parse, quarrel, spelled

CHARS = "0019aAzZ.+~:-"
upstream = st.text(CHARS, max_size=6).map(lambda text: "1" + text.replace(":", "").replace("-", ""))
revision = st.text("012aZ.+~", max_size=4).map(lambda text: f"-{text}" if text else "")
epoch = st.sampled_from(["", "", "0:", "1:", "10:"])
versions = st.tuples(epoch, upstream, revision).map("".join)
small = st.sampled_from(["1", "1.0", "1.1", "1.1~rc1", "2", "2-1", "2-2", "1:0", "3"])
clauses = st.builds(Clause, st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), small)


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="needs dpkg")
@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(versions, versions), min_size=20, max_size=20))
@example([("1.0", "1.0-0"), ("1.0", "1.0~"), ("1.0a", "1.0+"), ("1.01", "1.1"), ("0:1", "1"), ("1-1~", "1-1")])
def test_the_order_is_that_of_dpkg(pairs):
    script = "while read -r a b; do dpkg --compare-versions $a lt $b && echo -1 || { dpkg --compare-versions $a eq $b && echo 0 || echo 1; }; done"  # fmt: skip
    lines = "".join(f"{one} {other}\n" for one, other in pairs)
    answer = subprocess.run(["sh", "-c", script], input=lines, capture_output=True, text=True, check=True).stdout
    assert [debian_compare(one, other) for one, other in pairs] == [int(line) for line in answer.split()]


@given(versions, versions, versions)
def test_it_is_an_order(one, two, three):
    assert debian_compare(one, one) == 0
    assert debian_compare(one, two) == -debian_compare(two, one)
    if debian_compare(one, two) <= 0 and debian_compare(two, three) <= 0:
        assert debian_compare(one, three) <= 0


@pytest.mark.parametrize("text", ["", "a1", "1 2", "1:", ":1", "-1", "1_2", "é", "1:2:3-", "1-"])
def test_what_is_no_version_is_refused(text):
    with pytest.raises(ValueError, match="is no Debian version"):
        debian_compare(text, "1")


@given(st.lists(clauses, max_size=5))
@example([Clause(">=", "1"), Clause("=", "1"), Clause("!=", "1")])
@example([Clause(">=", "1"), Clause("<=", "1"), Clause("!=", "1")])
def test_bounds_quarrel_only_when_no_version_is_within_them(found):
    found = tuple(found)
    against = quarrel(found, debian_compare)
    if against:
        assert set(against) <= set(found)
        assert not any(allows(against, debian_compare, version) for version in MANY)
    elif not any(clause.operator == "!=" for clause in found):
        assert any(allows(found, debian_compare, version) for version in MANY)


MANY = [base + tail for base in ("0", "1", "1.0", "1.1", "1.1~rc1", "2", "2-1", "2-2", "1:0", "2:0", "3") for tail in ("~", "", "+")]  # fmt: skip


@given(st.lists(clauses, min_size=1, max_size=5))
def test_bounds_are_read_as_they_are_spelled(found):
    assert parse(spelled(found)) == tuple(dict.fromkeys(found))


@pytest.mark.parametrize(
    ("text", "said"),
    [(">=", "'>='"), ("1,,2", "''"), ("~1", "'~1'"), ("=>1", "'=>1'"), ("-1", "'-1'"), ("1 2", "'1 2'")],
)
def test_what_is_no_bound_is_named(text, said):
    with pytest.raises(ValueError, match="is no version or bound") as caught:
        parse(text)
    assert said in str(caught.value)


def test_a_version_alone_is_that_version():
    assert parse("1:2.0-3") == (Clause("=", "1:2.0-3"),)
    assert parse(" >= 1.2 , <2 ") == (Clause(">=", "1.2"), Clause("<", "2"))
    assert parse("") == ()
