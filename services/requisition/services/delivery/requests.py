"""What may be asked of the queue: by `plan delivery` in its own process, by others over the service's socket.

Every request is a record that is checked before it does anything; `verbs` is the table of the socket.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from requisition.schemas.diagnostic import BadInput, Conflicted
from requisition.services.delivery import overrides as overriding
from requisition.services.delivery import verbs as asks
from requisition.services.delivery.cleanup import changes
from requisition.services.delivery.config import Delivery
from requisition.services.delivery.job import Job, Override
from requisition.services.delivery.overview import Detail, Live, Overview, detail, look
from requisition.services.delivery.queue import Queue
from requisition.services.delivery.records import Records
from requisition.services.delivery.rows import one
from requisition.services.delivery.states import ENDED, State
from requisition.services.delivery.transport import checked_target


class Request(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all have: who asks, and why; both go into the history."""

    who: str = ""
    why: str = ""


class Enqueue(Request, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Ship the folder `path` to the destination `to`, as `target` there; "": as it lies within its root."""

    path: str
    to: str
    target: str = ""


class OfJob(Request, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """About the job whose id begins so."""

    job: str


class OfRule(Request, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """About what the gate found of a class in a job."""

    job: str
    rule: str


class OfPlace(Request, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """About a destination."""

    to: str


class Listing(Request, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Jobs for a destination ("": all) in these states (none: all), newest first."""

    to: str = ""
    states: tuple[State, ...] = ()
    limit: int = 100


class Known(Struct, frozen=True):
    """What the queue knows of a folder that is to lie somewhere: its job, if there is one that counts."""

    job: Job | None


class Requests:
    """The verbs. All of them are quick, and wait for the disk: on a loop they belong in a thread. `live`: what a worker
    of this process says of its work."""

    def __init__(self, queue: Queue, delivery: Delivery, live: Callable[[], Live] = Live) -> None:
        self._queue = queue
        self._delivery = delivery
        self._live = live

    def enqueue(self, asked: Enqueue) -> Job:
        """The job for it; the one that is under way already, if there is one, or that delivered just this. Raises
        Conflicted when the folder was delivered and changed since: what lies at the far end is never written over."""
        source, target = self._where(asked)
        job, new = self._queue.enqueue(source, asked.to, target, asked.who)
        if not new and (why := self._since(job)):
            what = f"job {job.id} delivered this folder as it was then"
            raise Conflicted.of(what, where=source, why=why, next="name another TARGET with --as")
        return job

    def known(self, asked: Enqueue) -> Known:
        """The job that delivers this folder there, or did and found it the same since. Changes nothing."""
        try:
            source, target = self._where(asked)
        except BadInput:
            if os.path.lexists(asked.path):
                raise
            return Known(None)
        job = self._under_way(source, asked.to, target)
        return Known(None if job is None or self._since(job) else job)

    def withdraw(self, asked: Enqueue) -> Job | None:
        """Cancel what the same asker enqueued, as long as nothing was done for it. Raises Conflicted later on."""
        source, target = self._where(asked)
        job = self._under_way(source, asked.to, target)
        if job is None or self._queue.history(job.id)[0].who != asked.who:
            return None
        with self._queue.transaction() as rows:
            job = one(rows, "id = ?", (job.id,))
            assert job is not None
            if job.state is not State.QUEUED or job.lease or job.attempts:
                raise Conflicted.of(f"job {job.id} is {job.state}: its delivery has begun", next="plan delivery cancel")
            why = asked.why or "withdrawn"
            return self._queue.change(rows, job, State.CANCELLED, asked.who, why, **self._queue.waiting(None))

    def status(self, asked: Request) -> Overview:
        """Destinations with how many jobs are in which state; the jobs that want attention first."""
        return look(self._queue, self._delivery, self._live())

    def list(self, asked: Listing) -> list[Job]:
        """Jobs, newest first."""
        if asked.to:
            self._delivery.destination(asked.to)
        return self._queue.jobs(states=asked.states, destination=asked.to, limit=asked.limit)

    def show(self, asked: OfJob) -> Detail:
        """All that is known of one."""
        return detail(self._queue, self._delivery, self._queue.job(asked.job), self._live())

    def retry(self, asked: OfJob) -> Job:
        """Begin again, or do at once what waits."""
        return asks.retry(self._queue, asked.job, asked.who, asked.why or "asked for")

    def verify(self, asked: OfJob) -> Job:
        """Compare what was delivered again, as soon as a worker is free."""
        return asks.look_again(self._queue, asked.job, asked.who, asked.why or "asked for")

    def consider(self, asked: OfJob) -> Job:
        """Think of its clean-up as soon as a worker is free."""
        return asks.consider(self._queue, asked.job, asked.who, asked.why or "asked for")

    def cancel(self, asked: OfJob) -> Job:
        """Deliver it no more."""
        return asks.cancel(self._queue, asked.job, asked.who, asked.why or "asked for")

    def override(self, asked: OfRule) -> Override:
        """Let findings of a class pass for a job."""
        return overriding.override(self._queue, asked.job, asked.rule, asked.who, asked.why)

    def revoke(self, asked: OfRule) -> Override:
        """Take back the override of a class that holds for a job."""
        job = self._queue.job(asked.job)
        for made in overriding.overrides(self._queue, job.id):
            if made.rule == asked.rule and not made.revoked_at:
                return overriding.revoke(self._queue, made.number, asked.who, asked.why)
        raise BadInput.of(f"{asked.rule} is not overridden", where=f"job {job.id}", next=f"plan delivery show {job.id}")

    def hold(self, asked: OfJob) -> Job:
        """Leave one job alone until it is let go."""
        return asks.pause(self._queue, asked.job, asked.who, asked.why or "asked for")

    def release(self, asked: OfJob) -> Job:
        """Go on with a job that was held."""
        return asks.resume(self._queue, asked.job, asked.who, asked.why or "asked for")

    def pause(self, asked: OfPlace) -> None:
        """Begin nothing for a destination until it is resumed."""
        name = self._delivery.destination(asked.to).name
        asks.pause_destination(self._queue, name, asked.who, asked.why or "asked for")

    def resume(self, asked: OfPlace) -> bool:
        """Whether it was paused."""
        return asks.resume_destination(self._queue, self._delivery.destination(asked.to).name)

    def _where(self, asked: Enqueue) -> tuple[str, str]:
        self._delivery.destination(asked.to)
        source, within = placed_source(self._delivery.roots, asked.path)
        if not (asked.target or within):
            raise BadInput.of("a root itself has no target of its own", where=source, next="name one with --as TARGET")
        return source, checked_target(asked.target or within)

    def _since(self, job: Job) -> str:
        """How the source of a delivered job changed since, "" when it did not."""
        if job.state not in (State.VERIFIED, State.CLEANUP_ELIGIBLE):
            return ""
        records = Records(os.path.join(os.path.dirname(self._queue.path), "manifests"))
        return "; ".join(changes(job.source, records.manifest(job), begun=job.cleaning)[:3])

    def _under_way(self, source: str, destination: str, target: str) -> Job | None:
        with self._queue.reading() as rows:
            job = one(rows, "destination = ? AND target = ? ORDER BY number DESC", (destination, target))
        return job if job and job.source == source and job.state not in ENDED else None


def placed_source(roots: tuple[str, ...], path: str) -> tuple[str, str]:
    """The real path of a folder, and its path within the root it lies in ("" for a root itself). Raises BadInput for
    what is no folder, lies in no root, or has a name that is not UTF-8."""
    real = os.path.realpath(path)
    if not os.path.isdir(real):
        raise BadInput.of("this is no folder", where=path, next="name a folder")
    try:
        real.encode()
    except UnicodeEncodeError as error:
        raise BadInput.of("the path of this folder is not UTF-8", where=repr(path), next="rename it") from error
    for root in map(os.path.realpath, roots):
        if real == root or real.startswith(root.rstrip("/") + "/"):
            return real, real[len(root) :].strip("/")
    raise BadInput.of(
        "this folder lies in none of the roots", where=real, why=f"roots: {', '.join(roots)}", next="see delivery.yaml"
    )


Answering = Callable[[dict[str, Any]], Awaitable[Any]]
_ASKED: dict[str, type[Request]] = {
    "enqueue": Enqueue,
    "known": Enqueue,
    "withdraw": Enqueue,
    "status": Request,
    "list": Listing,
    "show": OfJob,
    "retry": OfJob,
    "verify": OfJob,
    "consider": OfJob,
    "cancel": OfJob,
    "override": OfRule,
    "revoke": OfRule,
    "hold": OfJob,
    "release": OfJob,
    "pause": OfPlace,
    "resume": OfPlace,
}


def verbs(requests: Requests, changed: Callable[[], None]) -> Mapping[str, Answering]:
    """The table of the socket; `changed` is called after each request, for whoever waits for work."""

    def answering(name: str, kind: type[Request]) -> Answering:
        async def answer(args: dict[str, Any]) -> Any:
            try:
                asked = msgspec.convert(args, kind)
            except msgspec.ValidationError as error:
                raise BadInput.of(f"{name}: {error}") from error
            asked = msgspec.structs.replace(asked, who=asked.who or "the socket")
            try:
                return await asyncio.to_thread(getattr(requests, name), asked)
            finally:
                changed()

        return answer

    return {name: answering(name, kind) for name, kind in _ASKED.items()}
