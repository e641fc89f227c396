"""Moments as people write them: `2026-11-20`, `2026-11-20T15:30`, or `7d` for seven days ago; in UTC."""

import re
from datetime import UTC, datetime, timedelta

from requisition.schemas.diagnostic import BadInput

_AGO = re.compile(r"([0-9]{1,6})(s|m|h|d|w)")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def moment(text: str, now: datetime, *, end: bool = False) -> int:
    """Seconds since 1970. `end`: a day stands for its last second, not its first. Raises BadInput."""
    try:
        if found := _AGO.fullmatch(text):
            return int((now - timedelta(**{_UNITS[found[2]]: int(found[1])})).timestamp())
        when = datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        raise BadInput.of(
            f"{text[:40]!r} is no moment", next="write 2026-11-20, 2026-11-20T15:30, or 7d for seven days ago"
        ) from error
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    if end and _DAY.fullmatch(text):
        when += timedelta(days=1, seconds=-1)
    return int(when.timestamp())


def shown(seconds: int) -> str:
    """`2026-11-20 15:30:00`, UTC."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"
