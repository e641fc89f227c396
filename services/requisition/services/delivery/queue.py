"""The queue: what is to be delivered, who works on it, and all that ever happened to it, in SQLite.

Any number of processes of one machine may share it. Who claims a job holds a lease and renews it; one that ends is
claimed by someone else, who goes on from the state the job is in. Leases and waits are measured by the clock that
only goes forward, so that setting the wall clock neither starts a job twice nor lets one wait for years; what a wait
means after a restart of the machine is worked out when the queue is opened.
"""

import secrets
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from requisition.schemas.diagnostic import Conflicted, Failure
from requisition.services.clock import Clock, boot
from requisition.services.database import Database
from requisition.services.delivery.job import Event, Finding, Job, Moment, Pass
from requisition.services.delivery.rows import COLUMNS, LIVE, find, in_turn, job_of, one, overlapping, working
from requisition.services.delivery.schema import MIGRATIONS
from requisition.services.delivery.states import ENDED, State, check

LEASE = 30.0
"""Seconds that a job stays with a worker of whom nothing is heard."""

RECHECK = 300.0
"""Seconds after which the gate looks at a blocked job again, for what was resolved."""

_LET_GO = {"lease": "", "owner": "", "stop": ""}


class Lost(Failure):
    """The job is not ours any more, or not as we assumed: someone else works on it. Nothing was changed."""

    exit_code = Conflicted.exit_code


class Queue(Database):
    """Every verb is one transaction. Those with a `job` of `claim` raise Lost when its lease is no more."""

    def __init__(
        self,
        path: str,
        clock: Clock = Clock(),  # noqa: B008  (immutable)
        *,
        boot_id: str = "",
        token: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        super().__init__(path, MIGRATIONS)
        self.clock = clock
        self._boot = boot_id or boot()
        self._token = token
        self._begin_boot()

    def moment(self) -> Moment:
        """Now, by both clocks."""
        return Moment(self.clock.now(), self.clock.elapsed(), self._boot)

    def _begin_boot(self) -> None:
        """After a restart of the machine: nobody works any more, and waits go on by the wall clock, none longer than
        it was meant to be."""
        with self.transaction() as rows:
            if rows.execute("SELECT 1 FROM boots WHERE boot = ?", (self._boot,)).fetchone():
                return
            rows.execute("DELETE FROM boots")
            rows.execute("INSERT INTO boots VALUES (?)", (self._boot,))
            rows.execute(
                "UPDATE jobs SET lease = '', owner = '',"
                " due = ? + iif(lease <> '', 0, max(0, min(wait, next_attempt - ?))) WHERE due IS NOT NULL",
                (self.clock.elapsed(), self.clock.now()),
            )

    # --- what comes in, and what is there

    def enqueue(self, source: str, destination: str, target: str, who: str) -> tuple[Job, bool]:
        """The job for it, and whether it is new: what is under way already is not delivered twice. Raises Conflicted
        when another source is on its way to the target, or the source is just being cleaned."""
        now = self.clock.now()
        with self.transaction() as rows:
            same = one(rows, f"destination = ? AND target = ? AND {LIVE}", (destination, target))
            if same and same.source != source:
                raise Conflicted.of(
                    f"{same.source} is already to be at {target}", where=destination, next=f"see job {same.id}"
                )
            if same:
                return same, False
            if busy := next((near for near in overlapping(rows, source) if near.cleaning and near.lease), None):
                raise Conflicted.of(f"job {busy.id} is deleting files there", where=source, next="try again later")
            number = rows.execute(
                "INSERT INTO jobs (id, source, destination, target, state, enqueued_at, changed_at, due)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (self._token(), source, destination, target, State.QUEUED, now, now, self.clock.elapsed()),
            ).lastrowid
            job = one(rows, "number = ?", (number,))
            assert job is not None
            self.note(rows, job.id, who, "", State.QUEUED, "enqueued")
            return job, True

    def job(self, wanted: str) -> Job:
        """The job whose id begins so. Raises BadInput when there is none, or more than one."""
        with self.reading() as rows:
            return find(rows, wanted)

    def jobs(self, *, states: Iterable[State] = (), destination: str = "", limit: int = 1000) -> list[Job]:
        """Jobs in these states (none named: all) and for this destination ("": any), newest first."""
        wanted = tuple(states)
        where = f"state IN ({', '.join('?' * len(wanted))})" if wanted else "1"
        with self.reading() as rows:
            found = rows.execute(
                f"SELECT * FROM jobs WHERE {where} AND ? IN ('', destination) ORDER BY number DESC LIMIT ?",  # noqa: S608
                (*wanted, destination, limit),
            )
            return [job_of(row) for row in found]

    def counts(self) -> dict[str, dict[str, int]]:
        """destination → state → how many."""
        found: dict[str, dict[str, int]] = {}
        with self.reading() as rows:
            for row in rows.execute("SELECT destination, state, count(*) FROM jobs GROUP BY destination, state"):
                found.setdefault(row[0], {})[row[1]] = row[2]
        return found

    def history(self, job: str) -> list[Event]:
        """All that happened to a job, oldest first."""
        with self.reading() as rows:
            found = rows.execute(
                "SELECT job, at, who, old, new, why FROM history WHERE job = ? ORDER BY number", (job,)
            )
            return [Event(*row) for row in found]

    def passes(self, job: str) -> list[Pass]:
        """Every time the far end was compared and found right, oldest first."""
        with self.reading() as rows:
            found = rows.execute(
                "SELECT at, elapsed, boot, manifest, strategy FROM passes WHERE job = ? ORDER BY rowid", (job,)
            )
            return [Pass(Moment(row[0], row[1], row[2]), row[3], row[4]) for row in found]

    def findings(self, job: str) -> list[Finding]:
        """What the gate found when it last looked."""
        with self.reading() as rows:
            found = rows.execute("SELECT rule, hard, path, detail FROM findings WHERE job = ? ORDER BY rowid", (job,))
            return [Finding(row[0], bool(row[1]), row[2], row[3]) for row in found]

    # --- what workers do

    def claim(self, owner: str, room: Mapping[str, int]) -> Job | None:
        """A job that is due, leased to `owner`; None when there is none. `room`: destination → how many of its jobs
        may be worked on at once, by all processes together. The destination that waited longest is served first, in
        it the job that is due longest."""
        with self.transaction() as rows:
            return self.pick(rows, owner, room)

    def pick(self, rows: sqlite3.Connection, owner: str, room: Mapping[str, int]) -> Job | None:
        """`claim`, as part of a transaction."""
        elapsed = self.clock.elapsed()
        for destination in in_turn(rows, room):
            due = rows.execute(
                "SELECT * FROM jobs WHERE destination = ? AND due <= ? ORDER BY due, number LIMIT 1",
                (destination, elapsed),
            ).fetchone()
            if due is None or working(rows, destination, elapsed) >= room[destination]:
                continue
            turn = "INSERT OR REPLACE INTO turns SELECT ?, 1 + coalesce(max(served), 0) FROM turns"
            rows.execute(turn, (destination,))
            return self._lease(rows, job_of(due), owner, elapsed)
        return None

    def _lease(self, rows: sqlite3.Connection, job: Job, owner: str, elapsed: float) -> Job:
        state = State.RUNNING if job.state is State.QUEUED else job.state
        why = f"taken up: {job.owner} was not heard of any more" if job.lease else "taken up"
        if job.lease or job.state in (State.QUEUED, State.RUNNING, State.AWAITING_VERIFY):
            self.note(rows, job.id, owner, job.state, state, why)
        return self._set(
            rows,
            job,
            state=state,
            lease=self._token(),
            owner=owner,
            due=elapsed + LEASE,
            changed_at=self.clock.now() if state is not job.state else job.changed_at,
            next_attempt=0,
        )

    def renew(self, job: Job, sent: int = 0) -> Job:
        """Hold on to a job; the row as it is now, with `stop` if someone wants it stopped."""
        with self.transaction() as rows:
            held = self._held(rows, job)
            return self._set(rows, held, due=self.clock.elapsed() + LEASE, sent=sent or held.sent)

    def move(self, job: Job, new: State, why: str, **changes: Any) -> Job:
        """Go on to the next state, or note something about this one, and keep the lease."""
        with self.transaction() as rows:
            return self.moved(rows, job, new, why, **changes)

    def moved(self, rows: sqlite3.Connection, job: Job, new: State, why: str, **changes: Any) -> Job:
        """`move`, as part of a transaction."""
        return self._move(rows, job, new, why, {"due": self.clock.elapsed() + LEASE, **changes})

    def leave(self, job: Job, new: State, why: str, wait: float | None = None, **changes: Any) -> Job:
        """Go on to a state and let go of the job. It is taken up again after `wait` seconds; None: when asked to."""
        with self.transaction() as rows:
            return self.left(rows, job, new, why, wait, **changes)

    def left(self, rows: sqlite3.Connection, job: Job, new: State, why: str, wait: float | None, **changes: Any) -> Job:
        """`leave`, as part of a transaction."""
        return self._move(rows, job, new, why, {**_LET_GO, **self.waiting(wait), **changes})

    def waiting(self, wait: float | None) -> dict[str, Any]:
        """The columns that say when a job is taken up again."""
        if wait is None:
            return {"due": None, "next_attempt": 0.0, "wait": 0.0}
        return {"due": self.clock.elapsed() + wait, "next_attempt": self.clock.now() + wait, "wait": wait}

    def passed(self, job: Job, new: State, why: str, wait: float | None, strategy: str) -> Job:
        """One more pass, and let go of the job."""
        with self.transaction() as rows:
            self.add_pass(rows, job, strategy)
            good = {"attempts": 0, "mismatches": 0, "error": "", "error_kind": ""}
            return self.left(
                rows, job, new, why, wait, **{**good, "passes": job.passes + 1, "verified_at": self.clock.now()}
            )

    def add_pass(self, rows: sqlite3.Connection, job: Job, strategy: str) -> None:
        """Write down that the far end was compared and all is there."""
        when = self.moment()
        rows.execute(
            "INSERT INTO passes VALUES (?, ?, ?, ?, ?, ?)",
            (job.id, when.at, when.elapsed, when.boot, job.manifest, strategy),
        )

    def found(self, job: Job, findings: Iterable[Finding]) -> None:
        """Keep what the gate found, instead of what it had found before."""
        with self.transaction() as rows:
            self._held(rows, job)
            rows.execute("DELETE FROM findings WHERE job = ?", (job.id,))
            rows.executemany(
                "INSERT INTO findings VALUES (?, ?, ?, ?, ?)",
                ((job.id, each.rule, each.hard, each.path, each.detail) for each in findings),
            )

    def next_due(self, destinations: Iterable[str]) -> float | None:
        """Seconds until the first of their jobs is due, 0 when one is; None when none ever will be."""
        with self.reading() as rows:
            asked = "SELECT min(due) FROM jobs WHERE destination = ? AND due IS NOT NULL"
            first = [rows.execute(asked, (each,)).fetchone()[0] for each in in_turn(rows, destinations)]
        due = [each for each in first if each is not None]
        return max(0.0, min(due) - self.clock.elapsed()) if due else None

    def owners(self) -> set[str]:
        """Who holds a lease."""
        with self.reading() as rows:
            return {row[0] for row in rows.execute("SELECT DISTINCT owner FROM jobs WHERE lease <> ''")}

    def bury(self, owner: str) -> int:
        """The owner is no more: its jobs are due at once. How many."""
        with self.transaction() as rows:
            done = rows.execute(
                "UPDATE jobs SET due = ? WHERE lease <> '' AND owner = ?", (self.clock.elapsed(), owner)
            )
            return done.rowcount

    def arm(self) -> int:
        """Think of every delivered job again: clean-up was turned on, or its settings changed. How many."""
        with self.transaction() as rows:
            done = rows.execute(
                "UPDATE jobs SET due = ? WHERE state IN (?, ?) AND due IS NULL AND NOT paused",
                (self.clock.elapsed(), State.VERIFIED, State.CLEANUP_ELIGIBLE),
            )
            return done.rowcount

    # --- one row

    def _held(self, rows: sqlite3.Connection, job: Job) -> Job:
        asked = "id = ? AND lease = ? AND lease <> '' AND due > ?"  # one that ended is void, taken by another or not
        held = one(rows, asked, (job.id, job.lease, self.clock.elapsed()))
        if held is None:
            raise Lost.of(f"job {job.id} is not ours any more", why="its lease ended, or someone else took it")
        return held

    def _move(self, rows: sqlite3.Connection, job: Job, new: State, why: str, changes: dict[str, Any]) -> Job:
        held = self._held(rows, job)
        if held.state is not job.state:
            raise Lost.of(f"job {job.id} is {held.state} meanwhile, not {job.state}")
        self.note(rows, job.id, held.owner, held.state, new, why)
        if new in ENDED:
            changes |= {**_LET_GO, **self.waiting(None)}
        return self._set(rows, held, state=new, changed_at=self.clock.now(), **changes)

    def change(self, rows: sqlite3.Connection, job: Job, new: State, who: str, why: str, **changes: Any) -> Job:
        """Someone's change of a job on which nobody works; a lease that ended is void."""
        self.note(rows, job.id, who, job.state, new, why)
        return self._set(rows, job, state=new, changed_at=self.clock.now(), **{**_LET_GO, **changes})

    def note(self, rows: sqlite3.Connection, job: str, who: str, old: str, new: str, why: str) -> None:
        """A line of history; `old` equal to `new` where nothing changed. Raises Conflicted for what may not be."""
        if old:
            check(State(old), State(new))
        rows.execute(
            "INSERT INTO history (job, at, who, old, new, why) VALUES (?, ?, ?, ?, ?, ?)",
            (job, self.clock.now(), who, old, new, why),
        )

    def _set(self, rows: sqlite3.Connection, job: Job, **changes: Any) -> Job:
        unknown = changes.keys() - set(COLUMNS) - {"wait"}
        assert not unknown, unknown
        row = rows.execute(
            f"UPDATE jobs SET {', '.join(f'{name} = ?' for name in changes)}"  # noqa: S608  (our own names)
            " WHERE number = ? AND state = ? AND lease = ? RETURNING *",
            (*changes.values(), job.number, job.state, job.lease),
        ).fetchone()
        if row is None:
            raise Lost.of(f"job {job.id} changed meanwhile")
        return job_of(row)
