"""Canonical bytes agree with an independent encoder and accept nothing else."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from requisition.schemas import canonical

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 53), 1 << 53) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(max_codepoint=127)), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(values)
def test_it_is_sorted_json_without_spaces(value: Any) -> None:
    reference = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert canonical.encode(value) == reference.encode()
    assert canonical.decode(canonical.encode(value), object) == value


@given(st.binary(max_size=60))
def test_any_bytes_decode_or_are_refused(data: bytes) -> None:
    try:
        value = canonical.decode(data, object)
    except canonical.NotCanonical:
        return
    assert canonical.encode(value) == data


@pytest.mark.parametrize("value", [1.5, [-2.0], {"a": 1e30}, (1 << 53) + 1, [-(1 << 60)], {"ä": 1}, "\ud800"])
def test_what_has_no_canonical_form_is_refused(value: Any) -> None:
    with pytest.raises(canonical.NotCanonical):
        canonical.encode(value)


@pytest.mark.parametrize("text", [":1.5", '",1.5', "[9999999999999999999]", '\\":12345678901234567890,'])
def test_text_that_looks_like_a_number_is_text(text: str) -> None:
    assert canonical.decode(canonical.encode([text]), object) == [text]


@pytest.mark.parametrize(
    "data", [b'{"a":1,"a":1}', b"[1, 2]", b'{"b":1,"a":1}', b'["\\u0041"]', b"[1.0]", b"[1e3]", b"[-0]"]
)
def test_another_spelling_is_refused(data: bytes) -> None:
    with pytest.raises(canonical.NotCanonical):
        canonical.decode(data, object)
