"""One visit to one job: from the state it is in as far as it goes.

    running            gate, hash, push          → awaiting_verify
    awaiting_verify    compare, rename, receipt  → verified
    verified           compare once more         → verified, cleanup_eligible
    cleanup_eligible   every interlock, delete   → cleaned
    blocked            gate                      → queued
    cancelled          discard what was pushed

Each step can be done again from its beginning: whoever is killed between two of them, or in the middle of one, is
followed by someone who does it again.
"""

import asyncio
import os
from functools import partial
from typing import NoReturn

import msgspec

from requisition.schemas.diagnostic import Conflicted
from requisition.services.delivery import cleanup, deletion, gate
from requisition.services.delivery.aside import aside
from requisition.services.delivery.bandwidth import share_at
from requisition.services.delivery.config import PAUSED, Destination
from requisition.services.delivery.folder import lies_within
from requisition.services.delivery.hashing import scanned
from requisition.services.delivery.held import SEEN_AGAIN, Held, Means, Stop, understood
from requisition.services.delivery.job import Finding, Job, Pass
from requisition.services.delivery.manifest import Manifest
from requisition.services.delivery.overrides import active
from requisition.services.delivery.queue import RECHECK, Lost
from requisition.services.delivery.records import MANIFEST, RECEIPT, receipt
from requisition.services.delivery.states import State
from requisition.services.delivery.transport import Progress, Transport, TransportFailure, incoming
from requisition.services.delivery.verify import Verification, verify, verify_local

TICK = 0.25
"""Seconds after which a change of the world outside is noticed."""


class Left(Exception):
    """The job was let go of in good order; nothing more is to be done."""


class Attempt:
    """`reached`: whether the destination did what it was asked, to its end."""

    def __init__(self, means: Means, job: Job, destination: Destination, transport: Transport) -> None:
        self.held = Held(means, job, transport)
        self.reached = False
        self._how = ""
        self._queue = means.queue
        self._means = means
        self._destination = destination
        self._transport = transport
        self._task: asyncio.Task[None] | None = None

    @property
    def job(self) -> Job:
        """The row as we last saw it."""
        return self.held.job

    def stop(self, how: str) -> None:
        """End soon, as `Stop` says; the first word counts."""
        if not self._how:
            self._how = how
            if self._task is not None:
                self._task.cancel()

    async def run(self) -> None:
        """Do it. What goes wrong with a job is written down in the job; raises only when that cannot be."""
        self._task = asyncio.current_task()
        try:
            try:
                await self._visit()
            except asyncio.CancelledError:
                await self.held.stopped(self._how or "rest")
            except Stop as stop:
                await self.held.stopped(stop.how)
            except (Left, Lost):
                raise
            except Exception as error:  # noqa: BLE001  (no job ends its worker)
                await self.held.failed(understood(error))
        except Left:
            pass
        except Lost as lost:
            self._means.say(str(lost))

    async def _visit(self) -> None:
        if self._how:
            raise Stop(self._how)  # before it began
        self._heed()  # what was asked of one who was killed before they could
        match self.job.state:
            case State.RUNNING:
                await self._deliver()
                await self._prove()
            case State.AWAITING_VERIFY:
                await self._prove()
            case State.VERIFIED:
                await self._look_again()
            case State.CLEANUP_ELIGIBLE:
                await (self._look_again() if self.job.stop == "look" else self._clean())
            case State.CANCELLED:
                await self._transport.discard(self.job.id)
                await self.held.leave(State.CANCELLED, "what was pushed of it is discarded", None)
            case State.BLOCKED:
                await self._inspect()
                await self.held.leave(State.QUEUED, "what the gate found was resolved", 0.0)

    def _heed(self) -> None:
        if self.job.stop not in ("", "look"):
            raise Stop(self.job.stop)

    # --- running

    async def _deliver(self) -> None:
        await self._inspect()
        job = self.job
        manifest = await scanned(job.source, self._means.cache)
        if job.mismatches or job.manifest not in ("", manifest.digest):
            await self._transport.discard(job.id)
        await asyncio.to_thread(self._means.records.save, job.id, MANIFEST, manifest.text())
        known = {"manifest": manifest.digest, "files": len(manifest.files), "bytes": manifest.size, "sent": 0}
        await self._move(State.RUNNING, f"hashed: {len(manifest.files)} files, {manifest.size} bytes", **known)
        await self._push(manifest)
        if changed := await asyncio.to_thread(cleanup.changes, job.source, manifest, begun=False):
            raise TransportFailure("local_changed", f"while it was pushed: {'; '.join(changed[:3])}")
        await self._move(State.AWAITING_VERIFY, "all of it was pushed", sent=manifest.size, attempts=0)

    async def _inspect(self) -> None:
        """The gate. Raises Left, the job blocked, when something hard stands in the way."""
        job = self.job
        if not os.path.isdir(job.source):
            raise TransportFailure("local_vanished", f"{job.source} is not there any more")
        if not lies_within(job.source, self._means.delivery.roots):
            raise TransportFailure("usage", f"{job.source} lies in none of the roots, or is reached by a link")
        asked = (job.target, self._destination, self._means.delivery.gate, self._means.validators)
        found = await aside(lambda stop: gate.inspect(job.source, *asked, stop.is_set))
        overridden = await asyncio.to_thread(self._found, found)
        if hard := gate.blocking(found, overridden):
            told = f"{len(hard)} hard: {', '.join(sorted({one.rule for one in hard}))}"
            await self.held.leave(State.BLOCKED, told, RECHECK, error=told, error_kind="gate")
            raise Left

    def _found(self, found: list[Finding]) -> set[str]:
        """Keep what was found; the classes that are overridden."""
        self._queue.found(self.job, found)
        with self._queue.reading() as rows:
            return active(rows, self.job.id)

    async def _push(self, manifest: Manifest) -> None:
        """Stage everything at the speed that is allowed now, and go on at another when it changes."""
        while (limit := self._limit()) != PAUSED:
            pushing = asyncio.ensure_future(
                self._transport.stage(self.job.source, manifest, self.job.id, limit, self._progressed)
            )
            try:
                while not pushing.done() and self._limit() == limit:
                    await asyncio.wait([pushing], timeout=TICK)
                if pushing.done():
                    return pushing.result()
            finally:
                if not pushing.done():
                    pushing.cancel()
                    await asyncio.wait([pushing])
        raise Stop("rest")

    def _limit(self) -> int | None:
        return share_at(self._destination, self._queue.clock.now())

    def _progressed(self, progress: Progress) -> None:
        self.held.progress = progress

    # --- awaiting_verify

    async def _prove(self) -> None:
        """Compare what was staged, rename it, say so beside it. Who comes after a crash may find it renamed."""
        manifest = await asyncio.to_thread(self._means.records.manifest, self.job)
        found = await verify(self._transport, incoming(self.job.id), manifest)
        if not found.ok:
            there = await verify(self._transport, self.job.target, manifest)
            if not there.ok:
                raise TransportFailure("hash_mismatch", str(found))
            found = there
        await self.held.renew()
        self._heed()
        await self._transport.publish(self.job.id, self.job.target, manifest)
        await self._move(State.AWAITING_VERIFY, "renamed to its target", published=True)
        await self._tell(manifest, found)
        await self._passed(found, str(found))

    async def _tell(self, manifest: Manifest, found: Verification) -> None:
        text = receipt(self.job, self.job.passes + 1, self._queue.clock.now(), found.strategy)
        await asyncio.to_thread(self._means.records.save, self.job.id, RECEIPT, text)
        await self._transport.put(self.job.target, MANIFEST, manifest.text())
        await self._transport.put(self.job.target, RECEIPT, text)

    async def _passed(self, found: Verification, why: str) -> None:
        """One more pass; and when the next is due, or that there were enough."""
        self.reached = True
        policy, now = self._means.delivery.cleanup, self._queue.moment()
        before = await asyncio.to_thread(self._queue.passes, self.job.id)
        passes = (*before, Pass(now, self.job.manifest, found.strategy))
        enough = self.job.state is not State.AWAITING_VERIFY and cleanup.enough(policy, self.job, passes, now)
        new = State.CLEANUP_ELIGIBLE if enough else State.VERIFIED
        wait = cleanup.due_in(policy, self.job, passes, now)
        await self.held.record(self._queue.passed, new, why, wait, found.strategy)

    # --- verified

    async def _look_again(self) -> None:
        """Compare once more, unless that was done often enough and nobody asked."""
        asked, policy, now = self.job.stop == "look", self._means.delivery.cleanup, self._queue.moment()
        passes = tuple(await asyncio.to_thread(self._queue.passes, self.job.id))
        wait = cleanup.due_in(policy, self.job, passes, now)
        if not asked and cleanup.enough(policy, self.job, passes, now):
            await self.held.leave(State.CLEANUP_ELIGIBLE, "compared often enough, and long enough ago", 0.0)
            return
        if not asked and wait != 0:
            await self.held.leave(State.VERIFIED, "not to be compared again yet", wait)
            return
        manifest = await asyncio.to_thread(self._means.records.manifest, self.job)
        found = await self._compared(manifest)
        await self._tell(manifest, found)
        why = str(found)
        if asked:
            why += f"; the source: {await self._source_told(manifest)}"
        await self._passed(found, why)

    async def _source_told(self, manifest: Manifest) -> str:
        """How the source compares, every byte read; it may be gone."""
        try:
            return str(await verify_local(self.job.source, manifest))
        except TransportFailure as failure:
            return failure.message

    async def _compared(self, manifest: Manifest) -> Verification:
        """What lies at the target, when it is what was delivered; else the job has failed: someone has to look."""
        found = await verify(self._transport, self.job.target, manifest)
        if found.ok:
            return found
        told = f"what lies at the far end is not what was delivered: {found}"
        await self.held.leave(State.FAILED, told, None, error=told, error_kind="hash_mismatch")
        raise Left

    # --- cleanup_eligible

    async def _clean(self) -> None:
        manifest = await asyncio.to_thread(self._means.records.manifest, self.job)
        await self._must_hold(manifest)
        await self._transport.probe()
        found = await self._compared(manifest)
        await self._must_hold(manifest)
        try:
            await self.held.record(partial(cleanup.begin, self._queue), found.strategy)
        except Conflicted as refused:
            await self._keep(str(refused))
        done = await aside(lambda stop: deletion.delete(self.job.source, manifest, stop.is_set))
        self.reached = True
        told = f"deleted {done.files} files and links, {done.bytes} bytes"
        if not done.problems:
            await self.held.leave(State.CLEANED, told, None, cleaning=False)
            return
        told += f"; left: {'; '.join(done.problems[:3])}"
        again = max(self._means.delivery.cleanup.interval, SEEN_AGAIN)
        await self.held.leave(State.CLEANUP_ELIGIBLE, told, again, error=told, error_kind="cleanup")

    async def _must_hold(self, manifest: Manifest) -> None:
        """Raises Left, the source kept, when an interlock on this side does not hold; the far end is asked beside."""
        facts = await asyncio.to_thread(cleanup.facts, self._queue, self.job, manifest)
        facts = msgspec.structs.replace(facts, reachable="", verified_now="")
        for one in cleanup.decide(self._means.delivery.cleanup, self.job, facts):
            if not one.holds:
                await self._keep(f"{one.name}: {one.why}")

    async def _keep(self, why: str) -> NoReturn:
        policy = self._means.delivery.cleanup
        wait = max(policy.interval, SEEN_AGAIN) if policy.enabled else None
        await self.held.leave(State.VERIFIED, f"the source is kept: {why}", wait, error=why, error_kind="interlock")
        raise Left

    async def _move(self, new: State, why: str, **changes: object) -> None:
        await self.held.record(self._queue.move, new, why, **changes)
