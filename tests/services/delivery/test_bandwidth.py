"""How fast a destination may be written to: windows by the clock on the wall, through midnight and summer time."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from requisition.services.delivery.bandwidth import limit_at, next_change, share_at
from requisition.services.delivery.config import PAUSED, Bandwidth, Destination, Window

MINUTE, WEEK = 60, 7 * 24 * 3600
MON, FRI, SAT, SUN = 0, 4, 5, 6
ZURICH = "Europe/Zurich"


def at(text: str, zone: str = ZURICH) -> float:
    """A moment by the clock on the wall; `fold` by a trailing `'`."""
    return datetime.fromisoformat(text.rstrip("'")).replace(tzinfo=ZoneInfo(zone), fold=text.endswith("'")).timestamp()


def window(days: set[int], start: str, end: str, limit: int | None) -> Window:
    minutes = [int(one[:2]) * 60 + int(one[3:]) for one in (start, end)]
    return Window(frozenset(days), *minutes, limit)


OFFICE = Bandwidth(None, ZURICH, (window({0, 1, 2, 3, 4}, "08:00", "18:00", 1_000_000),))
NIGHT = Bandwidth(500, ZURICH, (window({FRI}, "22:00", "06:00", PAUSED),))


@pytest.mark.parametrize(
    ("bandwidth", "moment", "limit"),
    [
        (OFFICE, "2026-11-20 07:59", None),
        (OFFICE, "2026-11-20 08:00", 1_000_000),
        (OFFICE, "2026-11-20 17:59", 1_000_000),
        (OFFICE, "2026-11-20 18:00", None),
        (OFFICE, "2026-11-21 12:00", None),  # a Saturday
        (NIGHT, "2026-11-20 21:59", 500),
        (NIGHT, "2026-11-20 22:00", PAUSED),
        (NIGHT, "2026-11-21 05:59", PAUSED),
        (NIGHT, "2026-11-21 06:00", 500),
        (NIGHT, "2026-11-20 05:00", 500),  # Thursday's night is not Friday's
        (NIGHT, "2026-11-21 23:00", 500),
    ],
)
def test_a_window_holds_on_its_days_and_through_midnight(bandwidth: Bandwidth, moment: str, limit: int | None) -> None:
    assert limit_at(bandwidth, at(moment)) == limit


def test_times_are_of_the_zone_of_the_destination() -> None:
    tokyo = Bandwidth(None, "Asia/Tokyo", OFFICE.windows)
    moment = at("2026-11-20 09:00", "Asia/Tokyo")
    assert limit_at(tokyo, moment) == 1_000_000
    assert limit_at(OFFICE, moment) is None


def test_of_windows_that_are_open_together_the_first_counts() -> None:
    all_day = window(set(range(7)), "00:00", "24:00", 7)
    assert limit_at(Bandwidth(None, ZURICH, (*NIGHT.windows, all_day)), at("2026-11-20 23:00")) == PAUSED
    assert limit_at(Bandwidth(None, ZURICH, (all_day, *NIGHT.windows)), at("2026-11-20 23:00")) == 7


def test_a_window_in_the_hour_that_is_skipped_opens_when_it_ends() -> None:
    night = Bandwidth(None, ZURICH, (window({SUN}, "02:30", "04:00", 9),))
    before = at("2026-03-29 01:59")  # a minute later it is 3 o'clock
    assert limit_at(night, before) is None
    assert next_change(night, before) == before + MINUTE == at("2026-03-29 03:00")
    assert limit_at(night, before + MINUTE) == 9


def test_a_window_in_the_hour_that_comes_twice_is_open_twice() -> None:
    night = Bandwidth(None, ZURICH, (window({SUN}, "02:15", "02:45", 9),))
    moment, changes = at("2026-10-25 01:00"), []
    for _ in range(4):
        found = next_change(night, moment)
        assert found is not None
        changes.append(moment := found)
    hour = 3600
    first = at("2026-10-25 02:15")
    assert changes == [first, first + hour / 2, first + hour, first + 1.5 * hour]


def test_without_windows_nothing_changes_and_a_window_of_the_same_limit_is_no_change() -> None:
    assert next_change(Bandwidth(5), at("2026-11-20 12:00")) is None
    same = Bandwidth(5, ZURICH, (window({MON}, "01:00", "02:00", 5),))
    assert next_change(same, at("2026-11-20 12:00")) is None


def test_a_window_that_summer_time_swallows_opens_a_week_later() -> None:
    night = Bandwidth(None, ZURICH, (window({SUN}, "02:10", "02:20", 9),))
    assert next_change(night, at("2026-03-28 12:00")) == at("2026-04-05 02:10")


LIMITS = st.sampled_from([None, PAUSED, 1000, 2000])
WINDOWS = st.builds(
    Window, st.frozensets(st.integers(0, 6), min_size=1), st.integers(0, 1439), st.integers(1, 1440), LIMITS
)
ZONES = st.sampled_from([ZURICH, "UTC", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"])
MOMENTS = st.floats(at("2026-01-01", "UTC"), at("2027-01-01", "UTC"))


@given(st.builds(Bandwidth, LIMITS, ZONES, st.lists(WINDOWS, max_size=3).map(tuple)), MOMENTS, st.data())
def test_until_the_next_change_nothing_changes(bandwidth: Bandwidth, now: float, data: st.DataObject) -> None:
    present, change = limit_at(bandwidth, now), next_change(bandwidth, now)
    if change is not None:
        assert change > now
        assert limit_at(bandwidth, change) != present
    between = data.draw(st.floats(now, min(change or now + WEEK, now + WEEK), exclude_max=True))
    assert limit_at(bandwidth, between) == present


@pytest.mark.parametrize(
    ("limit", "workers", "share"), [(900, 3, 300), (2, 3, 1), (None, 3, None), (PAUSED, 3, PAUSED)]
)
def test_workers_of_a_destination_keep_to_its_limit_together(limit, workers, share):
    destination = Destination("nas", "local", path="/nas", workers=workers, bandwidth=Bandwidth(limit))
    assert share_at(destination, 0.0) == share
