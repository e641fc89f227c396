"""Durations, sizes and rates mean what their units say."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from requisition.schemas.diagnostic import BadInput
from requisition.schemas.quantities import rate, seconds, size, size_text


@pytest.mark.parametrize(("text", "value"), [("200ms", 0.2), ("30s", 30), ("1.5h", 5400), ("1d", 86400)])
def test_durations(text: str, value: float) -> None:
    assert seconds(text) == pytest.approx(value)


@pytest.mark.parametrize(("text", "value"), [("64KiB", 65536), ("10 GB", 10**10), ("1.5MiB", 3 << 19), ("7B", 7)])
def test_sizes(text: str, value: int) -> None:
    assert size(text) == value


@pytest.mark.parametrize(("text", "value"), [("100Mbit/s", 12_500_000), ("5MiB/s", 5 << 20), ("1bit/s", 1)])
def test_rates(text: str, value: int) -> None:
    assert rate(text) == value


@pytest.mark.parametrize("reader", [seconds, size, rate])
@given(text=st.text(max_size=12))
def test_any_text_is_a_number_or_a_finding(reader: object, text: str) -> None:
    with contextlib.suppress(BadInput):
        assert reader(text) >= 0  # type: ignore[operator]


@pytest.mark.parametrize("text", ["", "5", "-1s", "1 week", "1e3s", "٣s", "5s\n", "5 s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        seconds(text)


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 40, "5.0 TiB")])
def test_sizes_for_people(count: int, text: str) -> None:
    assert size_text(count) == text
