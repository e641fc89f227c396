"""Time as a parameter: what the time is, and how much of it has passed.

Records are made with `now`, which a person or NTP may move at any moment; waiting is measured with `elapsed`, which
only goes forward.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple


class Clock(NamedTuple):
    """`now`: seconds since 1970, UTC. `elapsed`: seconds since some moment, never backwards."""

    now: Callable[[], float] = time.time
    elapsed: Callable[[], float] = time.monotonic


def timestamp(seconds: float) -> str:
    """A moment as RFC 3339 in UTC, to the second."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
