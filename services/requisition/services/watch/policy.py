"""What a change of a ref means, what runs next, what becomes of a failure. Pure: rows in, rows out."""

from collections.abc import Iterable, Mapping
from random import Random
from typing import Literal

import msgspec
from msgspec import Struct

from requisition.services.watch.config import MAX_WAIT, Watch

Ending = Literal["good", "failed", "refused"]
"""How a run ended: `refused` is a failure that trying again cannot mend, as a rewritten branch."""

_JITTER = 0.2


class Ref(Struct, frozen=True, kw_only=True):
    """One branch or tag of a watch, as far as it came. Commits, "" for none:

    seen     what the remote has (had, when it is `gone`)
    queued   what shall run, not before `next_at` (seconds since 1970): the newest one only
    running  what is being run
    good     the last whose pipeline succeeded
    failed   the last whose pipeline did not, until a later one succeeds
    attempts failures of the commit that is queued or failed; `reason`: of the last one
    forced   a person said that what is queued shall run, even if it was rewritten
    """

    watch: str
    ref: str
    seen: str = ""
    queued: str = ""
    running: str = ""
    good: str = ""
    failed: str = ""
    attempts: int = 0
    next_at: float = 0
    reason: str = ""
    gone: bool = False
    forced: bool = False

    @property
    def status(self) -> str:
        """In one word: running, queued, retrying, failed, gone, good, or new."""
        if self.running:
            return "running"
        if self.queued:
            return "retrying" if self.attempts else "queued"
        if self.failed:
            return "failed"
        return "gone" if self.gone else "good" if self.good else "new"


def observed(ref: Ref, commit: str, now: float) -> Ref:
    """The row after the remote was asked: its commit there, "" when it is there no more. A newer commit takes the
    place of one that waits; a deleted ref waits no more, and what stands stays."""
    if not commit:
        return ref if ref.gone else msgspec.structs.replace(ref, gone=True, queued="", forced=False)
    if commit == ref.seen and not ref.gone:
        return ref
    ref = msgspec.structs.replace(ref, seen=commit, gone=False, forced=False)
    if commit == ref.running:
        return msgspec.structs.replace(ref, queued="")
    if commit == ref.good and not ref.running:
        return msgspec.structs.replace(ref, queued="", failed="", attempts=0, reason="")
    return msgspec.structs.replace(ref, queued=commit, attempts=0, next_at=now, reason="")


def changes(watch: str, rows: Iterable[Ref], found: Mapping[str, str], now: float) -> list[tuple[Ref, Ref]]:
    """The rows of a watch that become others by what its remote has, before and after."""
    known = {row.ref: row for row in rows}
    pairs = [(row, observed(row, found.get(row.ref, ""), now)) for row in known.values()]
    new = [Ref(watch=watch, ref=ref) for ref in sorted(found.keys() - known.keys())]
    pairs += [(row, observed(row, found[row.ref], now)) for row in new]
    return [(before, after) for before, after in pairs if before != after]


def news(before: Ref, after: Ref) -> str:
    """What happened to a ref, in words."""
    if after.gone:
        return "was deleted"
    if not before.seen or before.gone:
        return f"was created at {after.seen[:12]}"
    return f"moved from {before.seen[:12]} to {after.seen[:12]}"


def requested(ref: Ref, now: float, *, forced: bool) -> Ref:
    """The row after a person asked for a run: what the remote has, now, whatever happened to it before; `forced`: even
    if it was rewritten."""
    if ref.gone or not ref.seen:
        return ref
    return msgspec.structs.replace(ref, queued=ref.seen, attempts=0, next_at=now, forced=forced)


def started(ref: Ref) -> Ref:
    """The row when what was queued begins to run."""
    return msgspec.structs.replace(ref, running=ref.queued, queued="", forced=False)


def ended(ref: Ref, watch: Watch, ending: Ending, reason: str, now: float, random: Random) -> Ref:
    """The row after its run. Only success moves `good`; a failure is tried again, unless something newer waits, it was
    tried often enough, or trying again cannot mend it."""
    commit, ref = ref.running, msgspec.structs.replace(ref, running="")
    if ending == "good":
        return msgspec.structs.replace(
            ref, good=commit, failed="", attempts=0 if not ref.queued else ref.attempts, reason=""
        )
    ref = msgspec.structs.replace(ref, failed=commit, reason=reason)
    if ref.queued or ref.gone:
        return ref
    ref = msgspec.structs.replace(ref, attempts=ref.attempts + 1)
    if ending == "refused" or ref.attempts > watch.retries:
        return ref
    wait = pause(watch.retry_after, ref.attempts, watch.retry_limit, random)
    return msgspec.structs.replace(ref, queued=commit, next_at=now + wait)


def pause(first: float, failures: int, limit: float, random: Random) -> float:
    """Seconds to wait after the n-th failure (from 1): doubled each time up to a limit, and spread, so that what failed
    together does not come back together."""
    return spread(min(first * 2.0 ** min(failures - 1, 60), limit), random)


def spread(seconds: float, random: Random) -> float:
    """About as long: up to a tenth more or less."""
    return seconds * (1 - _JITTER / 2 + _JITTER * random.random())


def due(refs: Iterable[Ref], now: float) -> Ref | None:
    """Which ref of one watch runs next: what failed least, then what waits longest. None when one runs already, or
    none is due."""
    rows = list(refs)
    if any(ref.running for ref in rows):
        return None
    waiting = [ref for ref in rows if ref.queued and _wait(ref, now) == 0]
    return min(waiting, key=lambda ref: (ref.attempts, ref.next_at, ref.ref), default=None)


def due_in(refs: Iterable[Ref], now: float) -> float | None:
    """Seconds until one of these is due; None when none is queued."""
    return min((_wait(ref, now) for ref in refs if ref.queued), default=None)


def _wait(ref: Ref, now: float) -> float:
    """Seconds that a queued ref still waits. No wait is longer than a day, unless the clock was set back since."""
    wait = max(ref.next_at - now, 0)
    return wait if wait <= MAX_WAIT * (1 + _JITTER) else 0


def pausing(watch: Watch, failures: int, reason: str) -> str:
    """Why a watch is paused after so many failures in a row; "" when it is not."""
    if watch.on_failure != "pause" or failures < watch.pause_after:
        return ""
    times = "a failure" if failures == 1 else f"{failures} failures in a row"
    return f"{times}: {reason}"


def rewritten(ref: str, good: str, commit: str, *, follows: bool) -> bool:
    """Whether a ref was rewritten since its last good commit: a branch whose new commit does not follow it, a tag that
    names another."""
    return bool(good) and good != commit and (ref.startswith("refs/tags/") or not follows)
