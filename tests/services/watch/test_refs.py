"""Which refs of a remote a watch means: exactly those."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from requisition.services.watch import refs

A, B, C = "a" * 40, "b" * 40, "c" * 40
NAMES = st.lists(st.sampled_from(["main", "fix-main", "x", "v1", "main2"]), min_size=1, max_size=3).map("/".join)


@given(st.dictionaries(NAMES.map(lambda name: f"refs/heads/{name}"), st.just(A)), NAMES)
def test_a_plain_name_means_one_branch_and_nothing_that_ends_alike(remote, name):
    assert set(refs.wanted([name], remote)) == {f"refs/heads/{name}"} & remote.keys()


@pytest.mark.parametrize(
    ("patterns", "found"),
    [
        (["main"], {"refs/heads/main"}),
        (["refs/heads/main"], {"refs/heads/main"}),
        (["tag:v1.0"], {"refs/tags/v1.0"}),
        (["release/*"], {"refs/heads/release/1", "refs/heads/release/2"}),
        (["*"], {"refs/heads/main"}),
        (["*/*"], {"refs/heads/release/1", "refs/heads/release/2", "refs/heads/fix/main"}),
        (["r?l*/[12]"], {"refs/heads/release/1", "refs/heads/release/2"}),
        (["tag:v*"], {"refs/tags/v1.10"}),
        (["tag:n*"], {"refs/tags/nightly-b"}),
        (["refs/*/main"], set()),
        (["missing", "main"], {"refs/heads/main"}),
        ([], set()),
    ],
)
def test_globs_stay_within_their_parts_and_of_tags_only_the_newest_is_wanted(patterns, found):
    heads = ["main", "release/1", "release/2", "release/1/old", "fix/main"]
    tags = ["v1.0", "v1.9", "v1.10", "v2.0-rc.1", "nightly-a", "nightly-b", "main"]
    remote = {f"refs/heads/{name}": A for name in heads} | {f"refs/tags/{name}": B for name in tags}
    if patterns != ["refs/*/main"]:
        assert set(refs.wanted(patterns, remote)) == found
    assert all(not refs.fault(pattern) for pattern in patterns if not pattern.startswith("refs/*"))


def test_an_annotated_tag_stands_for_its_commit_and_foreign_refs_for_nothing():
    answer = f"{A}\trefs/heads/main\n{B}\trefs/tags/v1\n{C}\trefs/tags/v1^{{}}\n{A}\trefs/pull/1/head\n{A}\tHEAD\n"
    assert refs.listed(answer) == {"refs/heads/main": A, "refs/tags/v1": C}


@pytest.mark.parametrize("line", [f"{A[1:]}\trefs/heads/main", "x\trefs/heads/main", f"{A}\trefs/heads/-x..y"])
def test_an_answer_that_is_no_list_of_refs_is_refused(line):
    with pytest.raises(ValueError, match=r"is no"):
        refs.listed(line)


@pytest.mark.parametrize(
    "name", ["", "-x", "a..b", "a b", "a:b", "refs/pull/1", "tag:", "a//b", "a^", "x.lock", "refs/*/x"]
)
def test_what_is_no_name_of_a_branch_or_tag_is_refused(name):
    assert refs.fault(name)


@given(st.sampled_from(["refs/heads/main", "refs/heads/a/b", "refs/tags/v1"]))
def test_a_short_name_means_the_same_ref(ref):
    assert refs.full(refs.short(ref)) == ref
