"""Moments as people write them."""

from datetime import UTC, datetime

import pytest

from requisition.review.history.moments import moment, shown
from requisition.schemas.diagnostic import BadInput

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-20", "2026-11-20 00:00:00"),
        ("2026-11-20T15:30", "2026-11-20 15:30:00"),
        ("2026-11-20T15:30:05Z", "2026-11-20 15:30:05"),
        ("2026-11-20T15:30:05+02:00", "2026-11-20 13:30:05"),
        ("30s", "2026-11-21 11:59:30"),
        ("5m", "2026-11-21 11:55:00"),
        ("2h", "2026-11-21 10:00:00"),
        ("1d", "2026-11-20 12:00:00"),
        ("2w", "2026-11-07 12:00:00"),
    ],
)
def test_a_moment_is_a_day_a_time_or_so_long_ago(text, expected):
    assert shown(moment(text, NOW)) == expected


def test_until_a_day_means_to_its_end():
    assert shown(moment("2026-11-20", NOW, end=True)) == "2026-11-20 23:59:59"
    assert shown(moment("2026-11-20T15:30", NOW, end=True)) == "2026-11-20 15:30:00"


@pytest.mark.parametrize("text", ["", "yesterday", "7", "d", "-1d", "999999w", "2026-13-01", "20:00", "1d\n"])
def test_what_is_no_moment_is_refused_with_the_forms_that_are(text):
    with pytest.raises(BadInput) as found:
        moment(text, NOW)
    assert "7d" in found.value.diagnostics[0].next
