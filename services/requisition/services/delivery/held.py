"""A job in a worker's hands: how it is written down what went on, went wrong, or was stopped.

Everything is written by the lease's holder or not at all, and nothing that is being written is cut off.
"""

import asyncio
import errno
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from msgspec import Struct

from requisition.schemas.diagnostic import BadInput, Failure
from requisition.services.delivery.config import Delivery
from requisition.services.delivery.failures import policy
from requisition.services.delivery.gate import Validator
from requisition.services.delivery.hashing import Cache
from requisition.services.delivery.job import Job
from requisition.services.delivery.queue import RECHECK, Queue
from requisition.services.delivery.records import Records
from requisition.services.delivery.states import ALLOWED, State
from requisition.services.delivery.transport import Kind, Progress, Transport, TransportFailure

SEEN_AGAIN = 60.0
"""Seconds at least after which a clean-up that was not to be is thought of again."""

_DISCARD = 10.0


class Means(Struct, frozen=True):
    """What a worker's attempts share. `random` in [0, 1); `desk`: the one thread that writes to the queue."""

    queue: Queue
    delivery: Delivery
    records: Records
    cache: Cache
    validators: Sequence[tuple[str, Validator]]
    random: Callable[[], float]
    say: Callable[[str], None]
    desk: ThreadPoolExecutor


class Stop(Exception):
    """The attempt is to end: "cancel", "pause", "block", "rest" (someone goes on later), "lost" (someone does)."""

    def __init__(self, how: str) -> None:
        super().__init__(how)
        self.how = how


class Held:
    """`job`: its row as we last saw it. `failure`: the kind of what went wrong, if anything did."""

    def __init__(self, means: Means, job: Job, transport: Transport) -> None:
        self.job = job
        self.progress: Progress | None = None
        self.failure: Kind | None = None
        self.means = means
        self.queue = means.queue
        self.transport = transport

    async def renew(self) -> None:
        """Hold on to it. Raises Lost when someone else has it."""
        await self.record(self.queue.renew, self.progress.sent if self.progress else 0)

    async def leave(self, new: State, why: str, wait: float | None, **changes: Any) -> None:
        """Let go of it, in this state; it is taken up again after so many seconds (None: when asked to)."""
        await self.record(self.queue.leave, new, why, wait, **changes)

    async def failed(self, failure: TransportFailure) -> None:
        """Let go of it after a failure, as the policy for its kind says. What has been delivered stays delivered,
        whatever becomes of an attempt to look at it again."""
        self.failure = failure.kind
        state, delays = self.job.state, self.means.delivery.retry.delays
        counted = "mismatches" if failure.kind == "hash_mismatch" else "attempts"
        number = getattr(self.job, counted) + 1
        decision = policy(failure.kind, number, self.means.random, delays)
        wait: float | None = decision.after
        new: State = State.QUEUED
        if state in (State.VERIFIED, State.CLEANUP_ELIGIBLE):
            new, wait = state, decision.after or max(delays, default=SEEN_AGAIN)
        elif state is State.BLOCKED:
            new, wait = state, RECHECK
        elif state is State.CANCELLED:
            new, wait = state, None
        elif decision.do == "fail":
            new, wait = State.FAILED, None
        elif state is State.AWAITING_VERIFY and failure.kind != "hash_mismatch":
            new = state
        wrong = {"error": failure.message, "error_kind": failure.kind, counted: number}
        await self.leave(new, str(failure), wait, **wrong)

    async def stopped(self, how: str) -> None:
        """Let go of it because it was stopped."""
        state = self.job.state
        again = State.QUEUED if state is State.RUNNING else state
        match how:
            case "lost":
                pass
            case "cancel" if State.CANCELLED in ALLOWED[state]:
                await self._discard()
                await self.leave(State.CANCELLED, "stopped", None)
            case "pause":
                await self.leave(again, "stopped", None, paused=True)
            case "block" if State.BLOCKED in ALLOWED[state]:
                await self.leave(State.BLOCKED, "stopped", RECHECK)
            case _:
                keep = {"stop": "look"} if self.job.stop == "look" else {}
                await self.leave(again, "stopped, to be gone on with", 0.0, **keep)

    async def _discard(self) -> None:
        if not self.job.manifest:
            return  # nothing was pushed yet
        try:
            await asyncio.wait_for(self.transport.discard(self.job.id), _DISCARD)
        except (TransportFailure, TimeoutError) as error:
            self.means.say(f"job {self.job.id}: what was pushed of it stays at the far end: {error}")

    async def record(self, verb: Callable[..., Job], *args: Any, **changes: Any) -> None:
        """Have the queue do something with the job and keep the row as it is then, even while we are cancelled."""

        def work() -> None:
            self.job = verb(self.job, *args, **changes)

        writing = asyncio.get_running_loop().run_in_executor(self.means.desk, work)
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            await asyncio.wait([writing])
            raise


def understood(error: Exception) -> TransportFailure:
    """What went wrong on this side, as a kind of failure."""
    if isinstance(error, TransportFailure):
        return error
    if isinstance(error, OSError):
        return TransportFailure(_OF_THE_SYSTEM.get(error.errno, "unknown"), str(error))
    kind: Kind = "usage" if isinstance(error, BadInput) else "unknown"
    return TransportFailure(kind, str(error) if isinstance(error, Failure) else f"the worker failed: {error!r}")


_OF_THE_SYSTEM: dict[int | None, Kind] = {
    errno.EACCES: "local_permission",
    errno.EPERM: "local_permission",
    errno.ENOENT: "local_vanished",
    errno.ENOSPC: "disk_full_local",
    errno.EDQUOT: "disk_full_local",
}
