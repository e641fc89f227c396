"""Overrides: someone takes it upon them that findings of one class do not block one job. Never forgotten.

An override re-arms the job. One that is revoked blocks again what has not been delivered yet, and forbids the clean-up
of what has. Both are rows that are never deleted, and lines in the job's history.
"""

import sqlite3

import msgspec

from requisition.schemas.diagnostic import BadInput, Conflicted
from requisition.services.delivery.job import Job, Override
from requisition.services.delivery.queue import RECHECK, Queue
from requisition.services.delivery.rows import find
from requisition.services.delivery.states import State
from requisition.services.delivery.verbs import stop_holder

_BEFORE_PUBLISHED = (State.QUEUED, State.RUNNING, State.AWAITING_VERIFY)


def override(queue: Queue, wanted: str, rule: str, who: str, reason: str) -> Override:
    """Let findings of a class pass for a job, and try it again. Raises BadInput without a reason, or when the gate
    found nothing hard of this class."""
    if not reason.strip():
        raise BadInput.of("an override wants a reason", next="say why this may be delivered as it is")
    with queue.transaction() as rows:
        job = find(rows, wanted)
        hard = {row[0] for row in rows.execute("SELECT rule FROM findings WHERE job = ? AND hard", (job.id,))}
        if rule not in hard:
            known = ", ".join(sorted(hard)) or "nothing"
            raise BadInput.of(f"there is nothing of class {rule!r} to override", why=f"hard on this job: {known}")
        if rule in active(rows, job.id):
            raise Conflicted.of(f"{rule} is overridden already", where=f"job {job.id}")
        number = rows.execute(
            "INSERT INTO overrides (job, rule, reason, who, at) VALUES (?, ?, ?, ?, ?)",
            (job.id, rule, reason, who, queue.clock.now()),
        ).lastrowid
        why = f"{rule} overridden: {reason}"
        if job.state is State.BLOCKED and not stop_holder(queue, rows, job, "look", who, why):
            queue.change(rows, job, State.QUEUED, who, why, attempts=0, **queue.waiting(None if job.paused else 0))
        elif job.state is not State.BLOCKED:
            queue.note(rows, job.id, who, job.state, job.state, why)
        return _override(rows.execute("SELECT * FROM overrides WHERE number = ?", (number,)).fetchone())


def revoke(queue: Queue, number: int, who: str, reason: str) -> Override:
    """Take an override back. Raises BadInput without a reason or when there is none such, Conflicted when it was."""
    if not reason.strip():
        raise BadInput.of("to revoke wants a reason", next="say what was found out")
    with queue.transaction() as rows:
        row = rows.execute("SELECT * FROM overrides WHERE number = ?", (number,)).fetchone()
        if row is None:
            raise BadInput.of(f"there is no override {number}")
        if row["revoked_at"]:
            raise Conflicted.of(
                f"override {number} was revoked already", why=f"{row['revoked_by']}: {row['revoked_why']}"
            )
        rows.execute(
            "UPDATE overrides SET revoked_at = ?, revoked_by = ?, revoked_why = ? WHERE number = ?",
            (queue.clock.now(), who, reason, number),
        )
        _block(queue, rows, find(rows, row["job"]), who, f"override of {row['rule']} revoked: {reason}")
        return _override(rows.execute("SELECT * FROM overrides WHERE number = ?", (number,)).fetchone())


def _block(queue: Queue, rows: sqlite3.Connection, job: Job, who: str, why: str) -> None:
    if job.state not in _BEFORE_PUBLISHED or job.published:
        queue.note(rows, job.id, who, job.state, job.state, why)
    elif not stop_holder(queue, rows, job, "block", who, why):
        queue.change(rows, job, State.BLOCKED, who, why, **queue.waiting(None if job.paused else RECHECK))


def overrides(queue: Queue, job: str = "") -> list[Override]:
    """All there ever were, of a job or of all, oldest first: the audit log."""
    with queue.reading() as rows:
        found = rows.execute("SELECT * FROM overrides WHERE ? IN ('', job) ORDER BY number", (job,))
        return [_override(row) for row in found]


def active(rows: sqlite3.Connection, job: str) -> set[str]:
    """Classes that are overridden for a job."""
    return {row[0] for row in rows.execute("SELECT rule FROM overrides WHERE job = ? AND revoked_at = 0", (job,))}


def revoked(rows: sqlite3.Connection, job: str) -> set[str]:
    """Classes whose override was revoked, and which nobody has overridden since."""
    gone = {row[0] for row in rows.execute("SELECT rule FROM overrides WHERE job = ? AND revoked_at <> 0", (job,))}
    return gone - active(rows, job)


def _override(row: sqlite3.Row) -> Override:
    return msgspec.convert(dict(row), Override)
