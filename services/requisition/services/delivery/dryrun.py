"""What a clean-up would do with a job, and why: every interlock, looked at and nothing touched."""

import asyncio

import msgspec

from requisition.services.delivery import cleanup
from requisition.services.delivery.config import Cleanup
from requisition.services.delivery.job import Job
from requisition.services.delivery.queue import Queue
from requisition.services.delivery.records import Records
from requisition.services.delivery.transport import Transport, TransportFailure
from requisition.services.delivery.verify import verify


async def explain(
    queue: Queue, policy: Cleanup, records: Records, job: Job, transport: Transport | None
) -> tuple[cleanup.Interlock, ...]:
    """Each interlock of a delivered job. Without a transport the far end is not asked, which is told as such. Raises
    Failed when the job's manifest is lost."""
    manifest = await asyncio.to_thread(records.manifest, job)
    facts = await asyncio.to_thread(cleanup.facts, queue, job, manifest)
    if transport is not None:
        try:
            await transport.probe()
            facts = msgspec.structs.replace(facts, reachable="")
            found = await verify(transport, job.target, manifest)
            facts = msgspec.structs.replace(facts, verified_now="" if found.ok else str(found))
        except TransportFailure as failure:
            asked = "reachable" if facts.reachable is None else "verified_now"
            facts = msgspec.structs.replace(facts, **{asked: str(failure)})
    return cleanup.decide(policy, job, facts)
