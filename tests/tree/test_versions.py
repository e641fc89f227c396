"""Tags as versions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from requisition.tree.versions import newest, within

TAGS = [
    "v1.2",
    "v1.10.0",
    "1.9",
    "v2.0.0",
    "v2.0.0-rc.1",
    "v1.11.0-beta",
    "nightly",
    "v1.2.3.4.5",
    "release-3",
    "v3.0.0+x",
]


@pytest.mark.parametrize(
    ("wanted", "tag"),
    [
        (">=1.2,<2", "v1.10.0"),
        ("<1.10", "1.9"),
        ("=1.2.0", "v1.2"),
        ("1.9", "1.9"),
        (">=2", "v3.0.0+x"),
        (">=2,<3", "v2.0.0"),
        (">=2.0.0-rc.0,<2.0.0", "v2.0.0-rc.1"),
        (">1.10.0,<2.0.0-rc", "v1.11.0-beta"),
        (">4", ""),
        ("!=3.0.0", "v2.0.0"),
    ],
)
def test_the_newest_tag_within_a_range_is_taken(wanted, tag):
    assert newest(TAGS, wanted) == tag
    assert not tag or within(tag, wanted)


@pytest.mark.parametrize("wanted", [">=x", "newest", ">=1.2,,<2", "~1.2", ">=1.2.3.4.5"])
def test_a_range_that_is_none_is_told(wanted):
    with pytest.raises(ValueError, match="is no version"):
        newest(TAGS, wanted)


@given(st.lists(st.tuples(*[st.integers(0, 20)] * 3), min_size=1))
def test_the_newest_is_the_highest_by_number_not_by_text(numbers):
    tags = ["v" + ".".join(map(str, one)) for one in numbers]
    assert newest(tags, ">=0") == "v" + ".".join(map(str, max(numbers)))


@given(st.text(max_size=30))
def test_no_tag_can_stop_the_search(tag):
    assert newest([tag, "v1"], ">=1,<=1") in {tag, "v1"}
