"""What the daemon knows, in SQLite: watches, their refs, runs and steps of runs, notes.

Every verb is one transaction. What a run is about to do is here before it does it, what it did when it returned: a
daemon that is killed at any point finds out where it was.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from random import Random
from typing import Literal

import msgspec

from requisition.schemas.diagnostic import BadInput, Conflicted
from requisition.services.database import Database
from requisition.services.watch import policy
from requisition.services.watch.config import Watch
from requisition.services.watch.policy import Ending, Ref
from requisition.services.watch.records import Kept, Note, Run, Step, insert, kept_of, many, one, put, refs_of

_MIGRATIONS = (
    """
    CREATE TABLE watches (name TEXT PRIMARY KEY, config TEXT NOT NULL, origin TEXT NOT NULL,
      paused TEXT NOT NULL DEFAULT '', failures INTEGER NOT NULL DEFAULT 0) STRICT;
    CREATE TABLE refs (watch TEXT NOT NULL REFERENCES watches ON DELETE CASCADE, ref TEXT NOT NULL,
      seen TEXT NOT NULL, queued TEXT NOT NULL, running TEXT NOT NULL, good TEXT NOT NULL, failed TEXT NOT NULL,
      attempts INTEGER NOT NULL, next_at REAL NOT NULL, reason TEXT NOT NULL, gone INTEGER NOT NULL,
      forced INTEGER NOT NULL, PRIMARY KEY (watch, ref)) STRICT;
    CREATE INDEX refs_queued ON refs (next_at) WHERE queued != '';
    CREATE TABLE runs (id TEXT PRIMARY KEY, watch TEXT NOT NULL, ref TEXT NOT NULL, hash TEXT NOT NULL,
      good TEXT NOT NULL, forced INTEGER NOT NULL, step TEXT NOT NULL DEFAULT '', status TEXT NOT NULL,
      attempt INTEGER NOT NULL, started REAL NOT NULL, ended REAL NOT NULL DEFAULT 0,
      reason TEXT NOT NULL DEFAULT '', applied TEXT NOT NULL DEFAULT '',
      receipt TEXT NOT NULL DEFAULT '') STRICT;
    CREATE INDEX runs_of_watch ON runs (watch, started);
    CREATE UNIQUE INDEX runs_one_at_a_time ON runs (watch) WHERE status = 'running';
    CREATE TABLE steps (run TEXT NOT NULL REFERENCES runs ON DELETE CASCADE, number INTEGER NOT NULL,
      step TEXT NOT NULL, status TEXT NOT NULL, started REAL NOT NULL, ended REAL NOT NULL DEFAULT 0,
      reason TEXT NOT NULL DEFAULT '', PRIMARY KEY (run, number)) STRICT;
    CREATE TABLE notes (id INTEGER PRIMARY KEY, at REAL NOT NULL, watch TEXT NOT NULL, ref TEXT NOT NULL,
      text TEXT NOT NULL) STRICT;
    CREATE INDEX notes_of_watch ON notes (watch, id);
    CREATE VIEW standing AS SELECT id, watch FROM
      (SELECT runs.id AS id, runs.watch AS watch, coalesce(gone, 1) AS gone,
         row_number() OVER (PARTITION BY runs.watch, runs.ref ORDER BY started DESC) AS of_ref,
         row_number() OVER (PARTITION BY runs.watch ORDER BY started DESC) AS of_watch
       FROM runs JOIN watches ON name = runs.watch LEFT JOIN refs ON refs.watch = runs.watch AND refs.ref = runs.ref
       WHERE status = 'good') WHERE of_watch <= 2 OR (of_ref <= 2 AND NOT gone);
    """,
)
_NOTES_KEPT = 200
_RUNS_SHOWN = 20


class State(Database):
    """The database of one daemon."""

    def __init__(self, path: str) -> None:
        """Open or make it. Raises BadInput for what is no such database."""
        super().__init__(path, _MIGRATIONS)

    # -- watches

    def declare(self, watches: Sequence[Watch], now: float) -> None:
        """Take over what watch.yaml says: its watches are as it says, those it has no more are forgotten."""
        with self.transaction() as db:
            known = {kept.watch.name: kept for kept in _all(db)}
            for watch in watches:
                _put_watch(db, watch, "file", known.get(watch.name))
            for name in sorted(known.keys() - {watch.name for watch in watches}):
                if known[name].origin == "file":
                    _forget(db, name, now)

    def add(self, watch: Watch, now: float) -> None:
        """Keep one more. Raises Conflicted when there is one of that name."""
        with self.transaction() as db:
            if _find(db, watch.name) is not None:
                raise Conflicted.of(f"there is a watch {watch.name!r} already", next="remove it first, or use another")
            _put_watch(db, watch, "socket", None)
            _note(db, now, watch.name, "", "added")

    def remove(self, name: str, now: float) -> None:
        """Forget a watch and its refs; runs and their logs go by age. Raises BadInput when there is none, Conflicted
        when it is watch.yaml that has it."""
        with self.transaction() as db:
            if _one(db, name).origin == "file":
                raise Conflicted.of(f"{name} stands in watch.yaml", next="remove it there, and restart the service")
            _forget(db, name, now)

    def pause(self, name: str, why: str, now: float) -> None:
        """Run nothing more of it. Raises BadInput when there is none."""
        with self.transaction() as db:
            _one(db, name)
            db.execute("UPDATE watches SET paused = ? WHERE name = ?", (why or "paused", name))
            _note(db, now, name, "", f"paused: {why}" if why else "paused")

    def resume(self, name: str, now: float) -> None:
        """Go on: what failed is tried anew. Raises BadInput when there is none."""
        with self.transaction() as db:
            kept = _one(db, name)
            db.execute("UPDATE watches SET paused = '', failures = 0 WHERE name = ?", (name,))
            for ref in refs_of(db, name):
                if kept.paused and ref.failed and not ref.running and ref.failed == ref.seen:
                    put(db, "refs", policy.requested(ref, now, forced=False))
            _note(db, now, name, "", "resumed")

    def watches(self) -> list[Kept]:
        """All of them, by name."""
        with self.reading() as db:
            return _all(db)

    def watch(self, name: str) -> Kept:
        """One of them. Raises BadInput when there is none."""
        with self.reading() as db:
            return _one(db, name)

    # -- refs

    def refs(self, name: str = "") -> list[Ref]:
        """Rows of one watch, or of all."""
        with self.reading() as db:
            return refs_of(db, name)

    def observe(self, name: str, found: Mapping[str, str], now: float) -> list[str]:
        """What a remote was found to have of the refs that a watch wants; what is new, in words. Writes nothing when
        nothing is."""
        with self.reading() as db:
            if not policy.changes(name, refs_of(db, name), found, now):
                return []
        with self.transaction() as db:
            if _find(db, name) is None:
                return []  # removed meanwhile
            told = []
            for before, after in policy.changes(name, refs_of(db, name), found, now):
                put(db, "refs", after)
                told.append(f"{after.ref} {policy.news(before, after)}")
                _note(db, now, name, after.ref, policy.news(before, after))
            return told

    def request(self, name: str, ref: str, now: float) -> list[str]:
        """A person wants a run, of one ref or all; which will be. Raises BadInput when there is no such watch or ref,
        Conflicted when it is paused."""
        with self.transaction() as db:
            if _one(db, name).paused:
                raise Conflicted.of(f"{name} is paused", next=f"plan watch resume {name}")
            rows = [row for row in refs_of(db, name) if ref in ("", row.ref)]
            if ref and not rows:
                raise BadInput.of(f"{name} has seen no {ref}", next=f"plan watch show {name} tells what it has seen")
            asked = [after for row in rows if (after := policy.requested(row, now, forced=True)).queued]
            for after in asked:
                put(db, "refs", after)
                _note(db, now, name, after.ref, "a run was asked for")
            return [after.ref for after in asked]

    def due_in(self, name: str, now: float) -> float | None:
        """Seconds until there is something to do for a watch: a run that was cut off, or what is queued. None when
        there is nothing."""
        with self.reading() as db:
            kept = _find(db, name)
            if kept is None:
                return None
            rows = refs_of(db, name)
            if any(row.running for row in rows):
                return 0
            return None if kept.paused else policy.due_in(rows, now)

    # -- runs

    def begin(self, name: str, run: str, now: float) -> Run | None:
        """Write down what runs now: the run that was cut off, which keeps its id, else what is due next. None when
        that is nothing any more."""
        with self.transaction() as db:
            cut_off = one(db, Run, "SELECT * FROM runs WHERE watch = ? AND status = 'running'", name)
            if cut_off is not None:
                return cut_off
            kept = _find(db, name)
            ref = None if kept is None or kept.paused else policy.due(refs_of(db, name), now)
            if ref is None:
                return None
            begun = Run(
                id=run, watch=name, ref=ref.ref, hash=ref.queued, good=ref.good, forced=ref.forced,
                status="running", attempt=ref.attempts + 1, started=now,
            )  # fmt: skip
            insert(db, "runs", begun)
            put(db, "refs", policy.started(ref))
            return begun

    def step(self, run: str, step: str, now: float) -> None:
        """A step is about to begin; one that was cut off before is told to be."""
        with self.transaction() as db:
            db.execute("UPDATE steps SET status = 'cut off' WHERE run = ? AND status = 'running'", (run,))
            db.execute(
                "INSERT INTO steps (run, number, step, status, started)"
                " SELECT ?, count(*) + 1, ?, 'running', ? FROM steps WHERE run = ?",
                (run, step, now, run),
            )
            db.execute("UPDATE runs SET step = ? WHERE id = ? AND status = 'running'", (step, run))

    def stepped(self, run: str, reason: str, now: float) -> None:
        """The step that was begun last has ended: well when there is no reason."""
        with self.transaction() as db:
            db.execute(
                "UPDATE steps SET status = ?, ended = ?, reason = ? WHERE run = ? AND status = 'running'",
                ("failed" if reason else "done", now, reason, run),
            )

    def applied(self, run: str, applied: str, receipt: str) -> None:
        """What `plan apply` called its run, and where its receipt is."""
        with self.transaction() as db:
            db.execute("UPDATE runs SET applied = ?, receipt = ? WHERE id = ?", (applied, receipt, run))

    def finish(self, run: str, ending: Ending, reason: str, now: float, random: Random) -> str:
        """Write down how a run ended, and what becomes of its ref; why the watch is paused by it, or ""."""
        with self.transaction() as db:
            row = one(db, Run, "SELECT * FROM runs WHERE id = ? AND status = 'running'", run)
            if row is None:
                return ""
            db.execute("UPDATE runs SET status = ?, ended = ?, reason = ? WHERE id = ?", (ending, now, reason, run))
            kept = _find(db, row.watch)
            ref = next((ref for ref in refs_of(db, row.watch) if ref.ref == row.ref), None)
            if kept is None or ref is None:
                return ""  # removed while it ran
            put(db, "refs", policy.ended(ref, kept.watch, ending, reason, now, random))
            _note(db, now, row.watch, row.ref, f"{row.hash[:12]} {ending}{': ' + reason if reason else ''}")
            failures = 0 if ending == "good" else kept.failures + 1
            why = "" if kept.paused else policy.pausing(kept.watch, failures, reason)
            db.execute("UPDATE watches SET failures = ? WHERE name = ?", (failures, row.watch))
            if why:
                db.execute("UPDATE watches SET paused = ? WHERE name = ?", (why, row.watch))
                _note(db, now, row.watch, "", f"paused: {why}")
            return why

    def run(self, run: str) -> Run:
        """One run. Raises BadInput when there is none."""
        with self.reading() as db:
            found = one(db, Run, "SELECT * FROM runs WHERE id = ?", run)
        if found is None:
            raise BadInput.of(f"there is no run {run!r}", next="plan watch show NAME lists the last ones")
        return found

    def runs(self, name: str, limit: int = _RUNS_SHOWN) -> list[Run]:
        """The last runs of a watch, or of all ("") , newest first."""
        with self.reading() as db:
            return many(
                db, Run, "SELECT * FROM runs WHERE ? IN ('', watch) ORDER BY started DESC, id DESC LIMIT ?", name, limit
            )

    def steps(self, run: str) -> list[Step]:
        """The steps of a run, in the order in which they began."""
        with self.reading() as db:
            return many(
                db, Step, "SELECT step, status, started, ended, reason FROM steps WHERE run = ? ORDER BY number", run
            )

    def notes(self, name: str) -> list[Note]:
        """What happened to a watch, newest first."""
        with self.reading() as db:
            return many(db, Note, "SELECT at, watch, ref, text FROM notes WHERE watch = ? ORDER BY id DESC", name)

    def all_about(self, name: str) -> tuple[Kept, list[Ref], list[Run], list[Step], list[Note]]:
        """A watch, its refs, its last runs and the steps of the newest, and what happened; all of one moment. Raises
        BadInput when there is none."""
        with self.reading() as db:
            kept, rows, runs = _one(db, name), refs_of(db, name), self.runs(name)
            return kept, rows, runs, self.steps(runs[0].id) if runs else [], self.notes(name)

    def good_runs(self, name: str) -> list[str]:
        """The last two good runs of a watch, and of each ref that is still there: what is on the machine, and what a
        rollback would bring back; links there may lead into their checkouts."""
        with self.reading() as db:
            return [row["id"] for row in db.execute("SELECT id FROM standing WHERE watch = ?", (name,))]

    def drop_runs(self, keep: int, before: float) -> list[str]:
        """Forget runs that ended before a moment, and all but the newest few, never those that stand; also deleted refs
        that no run is left of. The ids of the runs that are left."""
        with self.transaction() as db:
            db.execute(
                "DELETE FROM runs WHERE status != 'running' AND (ended < ? OR id NOT IN"
                " (SELECT id FROM runs ORDER BY started DESC LIMIT ?)) AND id NOT IN (SELECT id FROM standing)",
                (before, keep),
            )
            db.execute(
                "DELETE FROM refs WHERE gone AND running = ''"
                " AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.watch = refs.watch AND runs.ref = refs.ref)"
            )
            return [row["id"] for row in db.execute("SELECT id FROM runs")]


def _all(db: sqlite3.Connection) -> list[Kept]:
    return [kept_of(row) for row in db.execute("SELECT * FROM watches ORDER BY name")]


def _find(db: sqlite3.Connection, name: str) -> Kept | None:
    row = db.execute("SELECT * FROM watches WHERE name = ?", (name,)).fetchone()
    return None if row is None else kept_of(row)


def _one(db: sqlite3.Connection, name: str) -> Kept:
    found = _find(db, name)
    if found is None:
        raise BadInput.of(f"there is no watch {name!r}", next="plan watch list tells which there are")
    return found


def _put_watch(db: sqlite3.Connection, watch: Watch, origin: Literal["file", "socket"], known: Kept | None) -> None:
    """Keep a watch as it is said to be now; what was seen of another repository counts no more."""
    config = msgspec.json.encode(watch).decode()
    if known is not None and known.watch.url != watch.url:
        db.execute("DELETE FROM refs WHERE watch = ?", (watch.name,))
    db.execute(
        "INSERT INTO watches (name, config, origin) VALUES (?, ?, ?)"
        " ON CONFLICT (name) DO UPDATE SET config = excluded.config, origin = excluded.origin",
        (watch.name, config, origin),
    )


def _forget(db: sqlite3.Connection, name: str, now: float) -> None:
    db.execute(
        "UPDATE runs SET status = 'failed', ended = ?, reason = 'the watch was removed'"
        " WHERE watch = ? AND status = 'running'",
        (now, name),
    )
    db.execute("DELETE FROM watches WHERE name = ?", (name,))
    db.execute("DELETE FROM notes WHERE watch = ?", (name,))


def _note(db: sqlite3.Connection, at: float, watch: str, ref: str, text: str) -> None:
    db.execute("INSERT INTO notes (at, watch, ref, text) VALUES (?, ?, ?, ?)", (at, watch, ref, text))
    db.execute(
        "DELETE FROM notes WHERE watch = ? AND id <= (SELECT id FROM notes WHERE watch = ? ORDER BY id DESC"
        " LIMIT 1 OFFSET ?)",
        (watch, watch, _NOTES_KEPT),
    )
