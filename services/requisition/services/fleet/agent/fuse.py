"""The deadline by which an order must be confirmed, held against a clock that nobody can move.

The reducer writes deadlines by the host's clock, which a person, NTP or whoever speaks for it may set back, and a host
would then wait for ever. So each saved state has a `Fuse` next to it: how much was left at that moment of the machine's
own time. Within one start of the machine that alone counts. After another start nobody knows for how long the machine
was off; what was left then counts, or less where the clock says so.
"""

from msgspec import Struct


class Fuse(Struct, frozen=True):
    """`left` milliseconds at `elapsed` of `boot` (`clock.boot`)."""

    boot: str = ""
    elapsed: int = 0
    left: int = 0


def lit(deadline: int, at: int, boot: str, elapsed: int) -> Fuse:
    """The fuse of a deadline, at the moment `at`."""
    return Fuse(boot, elapsed, deadline - at) if deadline else Fuse(boot, elapsed)


def deadline_now(deadline: int, fuse: Fuse, at: int, boot: str, elapsed: int) -> int:
    """The deadline by the clock as it goes now; 0 stays 0. Never 0 otherwise."""
    if not deadline:
        return 0
    left = fuse.left - (elapsed - fuse.elapsed) if fuse.boot == boot else min(fuse.left, deadline - at)
    return max(1, at + left)
