"""Comparing what was delivered because someone wants to know now: far end and source, every byte, against the manifest.

What the far end was found to be is written down as a worker would write it; the manifest is only read.
"""

import asyncio

from msgspec import Struct

from requisition.schemas.diagnostic import Conflicted
from requisition.services.delivery.job import Job
from requisition.services.delivery.queue import Queue
from requisition.services.delivery.records import Records
from requisition.services.delivery.rows import find
from requisition.services.delivery.states import State
from requisition.services.delivery.transport import Transport, TransportFailure
from requisition.services.delivery.verbs import held
from requisition.services.delivery.verify import Verification, verify, verify_local


class Proof(Struct, frozen=True):
    """What was found at the `far` end, and of the `source`, in words; `good`: whether the far end is as the manifest
    says; `counted`: whether that was written down, which it is not while a worker has the job."""

    job: Job
    good: bool
    far: str
    source: str
    counted: bool


async def prove(queue: Queue, records: Records, wanted: str, transport: Transport, who: str) -> Proof:
    """Compare a delivered job. Raises Conflicted when nothing of it was delivered, TransportFailure when the far end
    cannot be asked, Failed when its manifest is lost."""
    job = await asyncio.to_thread(queue.job, wanted)
    if not job.published:
        raise Conflicted.of(f"job {job.id} is {job.state}: nothing was delivered that could be compared")
    manifest = await asyncio.to_thread(records.manifest, job)
    far = await verify(transport, job.target, manifest)
    try:
        source = str(await verify_local(job.source, manifest))
    except TransportFailure as failure:
        source = failure.message
    job, counted = await asyncio.to_thread(_note, queue, job, far, who)
    return Proof(job, far.ok, str(far), source, counted)


def _note(queue: Queue, seen: Job, far: Verification, who: str) -> tuple[Job, bool]:
    """Write it down, unless someone works on the job, or did since we looked."""
    with queue.transaction() as rows:
        job = find(rows, seen.id)
        if held(queue, job) or job.manifest != seen.manifest or job.state is not seen.state:
            return job, False
        told = f"compared by hand: {far}"
        if job.state not in (State.VERIFIED, State.CLEANUP_ELIGIBLE):
            queue.note(rows, job.id, who, job.state, job.state, told)
            return job, True
        if not far.ok:
            wrong = {"error": str(far), "error_kind": "hash_mismatch", **queue.waiting(None)}
            return queue.change(rows, job, State.FAILED, who, told, **wrong), True
        queue.add_pass(rows, job, far.strategy)
        counted = {"passes": job.passes + 1, "verified_at": queue.clock.now()}
        return queue.change(rows, job, job.state, who, told, **counted), True
