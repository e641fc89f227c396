"""Clean-up: may the source of a delivery be deleted? A pure function of facts, and how the facts are had.

Each interlock has a name and says why it holds or not; all must hold. `deletion.py` does what is decided here.
"""

import os
import sqlite3

from msgspec import Struct

from requisition.schemas.diagnostic import Conflicted
from requisition.services.delivery.config import Cleanup
from requisition.services.delivery.folder import Folder, Item
from requisition.services.delivery.job import Job, Moment, Pass, surely_passed
from requisition.services.delivery.manifest import Entry, Manifest
from requisition.services.delivery.overrides import revoked
from requisition.services.delivery.queue import Queue
from requisition.services.delivery.rows import overlapping
from requisition.services.delivery.states import UNDELIVERED

_TOLD = 5


class Facts(Struct, frozen=True, kw_only=True):
    """What the decision rests on. `unchanged`, `reachable`, `verified_now`: "" when it is so, else why not; None where
    it was not looked at. `revoked`: classes whose override was taken back; `needed_by`: jobs that have yet to deliver
    the same files."""

    passes: tuple[Pass, ...]
    now: Moment
    revoked: tuple[str, ...] = ()
    needed_by: tuple[str, ...] = ()
    unchanged: str | None = None
    reachable: str | None = None
    verified_now: str | None = None


class Interlock(Struct, frozen=True):
    """One condition of a deletion."""

    name: str
    holds: bool
    why: str


def decide(policy: Cleanup, job: Job, facts: Facts) -> tuple[Interlock, ...]:
    """Every interlock, the cheap ones to look at first. The source may go when all of them hold."""
    apart = separate(policy, job, facts.passes)
    aged = surely_passed(apart[0].when, facts.now) if apart else 0.0
    return (
        Interlock("enabled", policy.enabled, "clean-up is " + ("on" if policy.enabled else "off in delivery.yaml")),
        Interlock(
            "passes",
            bool(apart) and len(apart) >= policy.passes,
            f"{len(apart)} of {policy.passes} comparisons, each {policy.interval:g} s after the one before",
        ),
        Interlock(
            "age",
            bool(apart) and aged >= policy.min_age,
            f"first compared {aged:.0f} s ago; {policy.min_age:g} s are wanted",
        ),
        Interlock("overrides", not facts.revoked, _list("no override was revoked", "revoked: ", facts.revoked)),
        Interlock("needed", not facts.needed_by, _list("no other job needs it", "needed by ", facts.needed_by)),
        _looked("unchanged", facts.unchanged, "the source is as it was when it was delivered"),
        _looked("reachable", facts.reachable, "the destination can be reached"),
        _looked("verified", facts.verified_now, "all of it was compared at the far end just now"),
    )


def separate(policy: Cleanup, job: Job, passes: tuple[Pass, ...]) -> list[Pass]:
    """Passes of what is delivered now that lie far enough apart to count as separate."""
    counted: list[Pass] = []
    for one in passes:
        if one.manifest == job.manifest and (
            not counted or surely_passed(counted[-1].when, one.when) >= policy.interval
        ):
            counted.append(one)
    return counted


def enough(policy: Cleanup, job: Job, passes: tuple[Pass, ...], now: Moment) -> bool:
    """Whether it was compared often enough and long enough ago for the source to be thought of."""
    return policy.enabled and all(one.holds for one in decide(policy, job, Facts(passes=passes, now=now))[:3])


def due_in(policy: Cleanup, job: Job, passes: tuple[Pass, ...], now: Moment) -> float | None:
    """Seconds until the next comparison may count, or, when there were enough, until they are old enough; None when
    nothing is ever cleaned up."""
    if not policy.enabled:
        return None
    apart = separate(policy, job, passes)
    if not apart:
        return 0.0
    if len(apart) < policy.passes:
        return max(0.0, min(policy.interval, policy.interval - surely_passed(apart[-1].when, now)))
    return max(0.0, min(policy.min_age, policy.min_age - surely_passed(apart[0].when, now)))


def facts(queue: Queue, job: Job, manifest: Manifest) -> Facts:
    """What is known on this side. Looks at the source: not for the loop."""
    problems = changes(job.source, manifest, begun=job.cleaning)
    passes = tuple(queue.passes(job.id))
    with queue.reading() as rows:
        return Facts(
            passes=passes,
            now=queue.moment(),
            revoked=tuple(sorted(revoked(rows, job.id))),
            needed_by=needed_by(rows, job),
            unchanged="; ".join(problems[:_TOLD]) + (" …" if len(problems) > _TOLD else ""),
        )


def needed_by(rows: sqlite3.Connection, job: Job) -> tuple[str, ...]:
    """Other jobs that have yet to deliver files of the same folder, one above or below it."""
    return tuple(one.id for one in overlapping(rows, job.source) if one.id != job.id and one.state in UNDELIVERED)


def begin(queue: Queue, job: Job, strategy: str) -> Job:
    """Write down that all was compared just now and that the deletion begins. What could have changed in the queue
    since the decision is looked at again in the same transaction. Raises Conflicted when the source may not go."""
    with queue.transaction() as rows:
        if needed := needed_by(rows, job):
            raise Conflicted.of("the source is needed again", where=job.source, why=f"by {', '.join(needed)}")
        if taken := revoked(rows, job.id):
            raise Conflicted.of("an override was revoked", where=f"job {job.id}", why=", ".join(sorted(taken)))
        queue.add_pass(rows, job, strategy)
        return queue.moved(
            rows, job, job.state, "every interlock holds: deleting the source", cleaning=True, passes=job.passes + 1
        )


def changes(source: str, manifest: Manifest, *, begun: bool) -> list[str]:
    """How a folder differs from what was delivered: nothing to tell when it is the same. `begun`: files that are gone
    already are not held against it, nor is it that all are (another job may have delivered and deleted them). Reads no
    file: size, times and inode tell."""
    try:
        with Folder(source) as folder:
            found = {one.path: one for one in folder.items}
    except OSError as error:
        return [f"{source}: {error.strerror}"]
    told = [f"{_shown(path)} is new" for path in found.keys() - {one.path for one in manifest.entries}]
    begun = begun or not any(one.path in found for one in manifest.entries if one.kind != "dir")
    for one in manifest.entries:
        if one.path not in found:
            told += [] if begun else [f"{_shown(one.path)} is gone"]
        elif not same(one, found[one.path]):
            told.append(f"{_shown(one.path)} changed")
    return sorted(told)


def same(entry: Entry, item: Item) -> bool:
    """Whether what lies there is what was hashed. A folder's times change with what is in it."""
    if entry.kind == "dir" or item.kind == "dir":
        return entry.kind == item.kind
    was = (entry.kind, entry.mtime_ns, entry.ctime_ns, entry.inode)
    return was == (item.kind, item.mtime_ns, item.ctime_ns, item.inode) and (
        entry.kind == "link" or entry.size == item.size
    )


def _list(none: str, some: str, found: tuple[str, ...]) -> str:
    return some + ", ".join(found[:_TOLD]) + (" …" if len(found) > _TOLD else "") if found else none


def _looked(name: str, problem: str | None, good: str) -> Interlock:
    if problem is None:
        return Interlock(name, holds=False, why="not looked at yet")
    return Interlock(name, not problem, problem or good)


def _shown(path: bytes) -> str:
    return repr(os.fsdecode(path))
