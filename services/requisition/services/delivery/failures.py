"""What to do about a kind of failure: retry, give up, or leave a destination alone for a while; pure functions.

Which kind it was says `diagnosis.py`.
"""

from collections.abc import Callable, Sequence
from typing import Literal

from msgspec import Struct

from requisition.services.delivery.transport import Kind

DELAYS = (30.0, 120.0, 480.0, 1800.0, 7200.0)
_JITTER = 0.2
_BREAK_AFTER = 3
_NEVER: frozenset[Kind] = frozenset(
    {
        "auth",
        "conflict",
        "host_key",
        "local_permission",
        "local_vanished",
        "missing_program",
        "remote_permission",
        "usage",
    }
)
_OF_THE_DESTINATION: frozenset[Kind] = frozenset(
    {"auth", "disk_full_remote", "host_key", "missing_program", "network", "quota", "remote_permission", "timeout"}
)


class Decision(Struct, frozen=True):
    """`retry` after `after` seconds, or `fail` for good. `pause`: other jobs of this destination would fare alike, so
    that it counts for the circuit breaker."""

    do: Literal["retry", "fail"]
    after: float = 0
    pause: bool = False


def policy(kind: Kind, attempt: int, random: Callable[[], float], delays: Sequence[float] = DELAYS) -> Decision:
    """What follows the failure number `attempt` (from 1) of a job. A hash mismatch is tried once more, at once; what
    cannot pass by itself is not tried again; all else after each of the delays, a fifth more or less (`random` in
    [0, 1)), and given up when the last was used."""
    pause = kind in _OF_THE_DESTINATION
    if kind in _NEVER:
        return Decision("fail", pause=pause)
    if kind == "hash_mismatch":
        return Decision("retry") if attempt <= 1 else Decision("fail")
    if attempt > len(delays):
        return Decision("fail", pause=pause)
    return Decision("retry", delays[attempt - 1] * (1 + _JITTER * (2 * random() - 1)), pause)


class Breaker(Struct, frozen=True):
    """Of one destination: `failures` in a row that were its own; no job is begun before `until` (seconds of whichever
    clock the caller uses). `probing`: one job has been let through to see. When a job gets through, a new one."""

    failures: int = 0
    until: float = 0
    probing: bool = False


def failed(breaker: Breaker, kind: Kind, now: float, random: Callable[[], float]) -> Breaker:
    """After a job failed: from the third failure of the destination's own on it rests, for each longer."""
    if kind not in _OF_THE_DESTINATION:
        return Breaker() if breaker.probing else breaker
    count = breaker.failures + 1
    if count < _BREAK_AFTER:
        return Breaker(count)
    rest = DELAYS[min(count - _BREAK_AFTER, len(DELAYS) - 1)]
    return Breaker(count, now + rest * (1 + _JITTER * (2 * random() - 1)))


def admits(breaker: Breaker, now: float) -> bool:
    """Whether a job may begin. A destination that rested is tried with one job first: `admitted`."""
    return breaker.failures < _BREAK_AFTER or (now >= breaker.until and not breaker.probing)


def admitted(breaker: Breaker) -> Breaker:
    """After a job was let through."""
    return Breaker(breaker.failures, breaker.until, probing=breaker.failures >= _BREAK_AFTER)
