"""What people ask of a job or a destination: cancel, pause, resume, retry, look again. What is asked of a job stands
in its history.

A job that a worker holds is not taken out of its hands: it is asked to stop (`Job.stop`) and does so within a second.
"""

import sqlite3

from requisition.schemas.diagnostic import Conflicted
from requisition.services.delivery.job import Job
from requisition.services.delivery.queue import Queue
from requisition.services.delivery.rows import LIVE, find, one
from requisition.services.delivery.states import ENDED, State, check


def cancel(queue: Queue, wanted: str, who: str, why: str) -> Job:
    """Deliver it no more; what has been delivered stays. Raises Conflicted when it has been already."""
    with queue.transaction() as rows:
        job = find(rows, wanted)
        if job.state is State.CANCELLED:
            return job
        check(job.state, State.CANCELLED)
        if stop_holder(queue, rows, job, "cancel", who, why):
            return find(rows, job.id)
        pushed = job.manifest and not job.published  # a worker may have something to discard
        return queue.change(rows, job, State.CANCELLED, who, why, **queue.waiting(0 if pushed else None))


def pause(queue: Queue, wanted: str, who: str, why: str) -> Job:
    """Leave a job alone until `resume`; what was pushed so far is kept and gone on from."""
    with queue.transaction() as rows:
        job = find(rows, wanted)
        if job.state in ENDED:
            raise Conflicted.of(f"job {job.id} is {job.state}: nothing happens to it")
        if not stop_holder(queue, rows, job, "pause", who, why):
            return queue.change(rows, job, job.state, who, f"paused: {why}", paused=True, **queue.waiting(None))
        return find(rows, job.id)


def resume(queue: Queue, wanted: str, who: str, why: str) -> Job:
    """Go on with a job that was paused."""
    with queue.transaction() as rows:
        job = find(rows, wanted)
        if not job.paused:
            raise Conflicted.of(f"job {job.id} is not paused")
        return queue.change(rows, job, job.state, who, f"resumed: {why}", paused=False, **queue.waiting(0))


def retry(queue: Queue, wanted: str, who: str, why: str) -> Job:
    """Begin again with one that failed, was cancelled or is blocked, or do at once what waits for its next attempt."""
    with queue.transaction() as rows:
        job = find(rows, wanted)
        _free(queue, job)
        if job.state in (State.VERIFIED, State.CLEANUP_ELIGIBLE, State.CLEANED):
            raise Conflicted.of(f"job {job.id} is {job.state}: there is nothing to try again")
        if other := one(rows, f"destination = ? AND target = ? AND id <> ? AND {LIVE}", (*_at(job), job.id)):
            raise Conflicted.of(f"job {other.id} is to be at {job.target} now", where=job.destination)
        new = State.AWAITING_VERIFY if job.state is State.AWAITING_VERIFY else State.QUEUED
        return queue.change(
            rows, job, new, who, f"tried again: {why}", attempts=0, mismatches=0, paused=False, **queue.waiting(0)
        )


def look_again(queue: Queue, wanted: str, who: str, why: str) -> Job:
    """Compare at once what was delivered, as the clean-up does when its time comes."""
    with queue.transaction() as rows:
        job = find(rows, wanted)
        _free(queue, job)
        if job.state not in (State.VERIFIED, State.CLEANUP_ELIGIBLE):
            raise Conflicted.of(f"job {job.id} is {job.state}: nothing was delivered that could be compared")
        again = {"stop": "look", "paused": False, **queue.waiting(0)}
        return queue.change(rows, job, job.state, who, f"to be compared again: {why}", **again)


def consider(queue: Queue, wanted: str, who: str, why: str) -> Job:
    """Think at once of whether the source may be deleted, and do so if it may; otherwise its history says why not."""
    with queue.transaction() as rows:
        job = find(rows, wanted)
        _free(queue, job)
        if job.state not in (State.VERIFIED, State.CLEANUP_ELIGIBLE):
            raise Conflicted.of(f"job {job.id} is {job.state}: its source is not thought of")
        return queue.change(rows, job, job.state, who, f"clean-up asked for: {why}", paused=False, **queue.waiting(0))


def pause_destination(queue: Queue, destination: str, who: str, why: str) -> None:
    """Begin nothing for a destination until it is resumed; its workers stop within a second."""
    with queue.transaction() as rows:
        rows.execute("INSERT OR REPLACE INTO pauses VALUES (?, ?, ?, ?)", (destination, who, queue.clock.now(), why))


def resume_destination(queue: Queue, destination: str) -> bool:
    """Whether it was paused."""
    with queue.transaction() as rows:
        return rows.execute("DELETE FROM pauses WHERE destination = ?", (destination,)).rowcount == 1


def pauses(queue: Queue) -> dict[str, str]:
    """Paused destination → who paused it, and why."""
    with queue.reading() as rows:
        return {row[0]: f"{row[1]}: {row[2]}" for row in rows.execute("SELECT destination, who, why FROM pauses")}


def stop_holder(queue: Queue, rows: sqlite3.Connection, job: Job, how: str, who: str, why: str) -> bool:
    """Ask the worker that holds a job to stop. False when nobody does."""
    if not held(queue, job):
        return False
    queue.note(rows, job.id, who, job.state, job.state, f"{how}: {why}")
    rows.execute("UPDATE jobs SET stop = ? WHERE id = ?", (how, job.id))
    return True


def _at(job: Job) -> tuple[str, str]:
    return job.destination, job.target


def _free(queue: Queue, job: Job) -> None:
    if held(queue, job):
        raise Conflicted.of(f"job {job.id} is being worked on", where=job.owner, next="wait, or cancel it")


def held(queue: Queue, job: Job) -> bool:
    """Whether a worker has it."""
    return bool(job.lease) and job.due is not None and job.due > queue.clock.elapsed()
