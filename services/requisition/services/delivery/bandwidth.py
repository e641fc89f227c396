"""How fast a destination may be written to at a moment: weekly windows in a time zone, as pure functions.

Rates are bytes a second; in text, a Mbit is 10^6 bits. Windows are told in local time, so a change to or from summer
time moves them with the clock on the wall: a window that begins in the hour that is skipped begins when it ends, and
one whose hour comes twice is open for both.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from math import floor
from zoneinfo import ZoneInfo

from requisition.services.delivery.config import Bandwidth, Destination, Window

_DAYS_AHEAD = 15  # a window that a change of the clock swallows one week opens in the next


def limit_at(bandwidth: Bandwidth, now: float) -> int | None:
    """Bytes a second at a moment (seconds since 1970): None no limit, 0 paused."""
    local = datetime.fromtimestamp(floor(now), ZoneInfo(bandwidth.zone))  # it would round up, into the next minute
    day, minute = local.weekday(), local.hour * 60 + local.minute
    return next((one.limit for one in bandwidth.windows if _open(one, day, minute)), bandwidth.limit)


def share_at(destination: Destination, now: float) -> int | None:
    """What one of a destination's workers may send, so that all together keep to the limit."""
    limit = limit_at(destination.bandwidth, now)
    return max(1, limit // destination.workers) if limit else limit


def next_change(bandwidth: Bandwidth, now: float) -> float | None:
    """The first moment after `now` at which there is another limit; None when there will be none."""
    present = limit_at(bandwidth, now)
    if not bandwidth.windows:
        return None
    zone = ZoneInfo(bandwidth.zone)
    today = datetime.fromtimestamp(now, zone).date()
    minutes = {minute for one in bandwidth.windows for minute in (one.start, one.end)}
    for ahead in range(-1, _DAYS_AHEAD):
        moments = sorted(set(_moments(today + timedelta(days=ahead), minutes, zone)))
        for moment in moments:
            if moment > now and limit_at(bandwidth, moment) != present:
                return moment
    return None


def _open(window: Window, day: int, minute: int) -> bool:
    if window.start < window.end:
        return day in window.days and window.start <= minute < window.end
    return (day in window.days and minute >= window.start) or ((day - 1) % 7 in window.days and minute < window.end)


def _moments(day: date, minutes: set[int], zone: ZoneInfo) -> Iterator[float]:
    """When the clock on the wall shows these minutes of a day, both times where it does so twice, and when the clock is
    moved that day."""
    midnight = datetime.combine(day, time())
    for minute in minutes:
        for fold in (0, 1):
            yield (midnight + timedelta(minutes=minute)).replace(tzinfo=zone, fold=fold).timestamp()
    begin = int(midnight.replace(tzinfo=zone).timestamp())
    end = int((midnight + timedelta(days=1)).replace(tzinfo=zone).timestamp())
    if _offset(begin, zone) != _offset(end, zone):
        while end - begin > 1:
            middle = (begin + end) // 2
            begin, end = (middle, end) if _offset(middle, zone) == _offset(begin, zone) else (begin, middle)
        yield float(end)


def _offset(moment: float, zone: ZoneInfo) -> timedelta | None:
    return datetime.fromtimestamp(moment, UTC).astimezone(zone).utcoffset()
