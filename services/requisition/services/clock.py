"""Time as a parameter: what the time is, and how much of it has passed.

Records are made with `now`, which a person or NTP may move at any moment; waiting is measured with `elapsed`, which
only goes forward.
"""

import subprocess
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


def boot() -> str:
    """A name of the time since this machine started, in which `elapsed` of all its processes can be compared."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except FileNotFoundError:  # not Linux
        asked = ["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"]
        return subprocess.run(asked, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
