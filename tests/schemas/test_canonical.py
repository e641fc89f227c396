"""Canonical bytes agree with an independent encoder and accept nothing else."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import StructMeta

from requisition.schemas import canonical, document, receipt
from requisition.schemas.document import Input, Retry

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


@pytest.mark.parametrize(
    "data", [b'{"max_attempts":2,"initial_delay_ms":1000}', b'{"max_attempts":2,"backoff":"none"}']
)
def test_a_default_that_is_written_out_is_refused(data: bytes) -> None:
    with pytest.raises(canonical.NotCanonical):
        canonical.decode(canonical.encode(json.loads(data)), Retry)


def test_a_number_that_only_equals_its_default_is_left_out() -> None:
    assert canonical.encode(Retry(2, "none", int("1000"), int("60000"))) == canonical.encode(Retry(2))
    assert canonical.encode(Input("a", "b", 1, int("420"))) == canonical.encode(Input("a", "b", 1))


def test_no_other_document_has_a_default_that_can_be_equal_without_being_the_same() -> None:
    kinds = [kind for module in (document, receipt) for kind in vars(module).values() if isinstance(kind, StructMeta)]
    far = {
        f"{kind.__name__}.{field.name}"
        for kind in kinds
        for field in msgspec.structs.fields(kind)
        if isinstance(field.default, int) and not -5 <= field.default <= 256
    }
    assert far == {"Retry.initial_delay_ms", "Retry.max_delay_ms", "Input.mode"}


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
