"""Rows of the database as records, and back: a column is a field of the same name."""

import sqlite3
from typing import Any, Literal, TypeVar

import msgspec
from msgspec import Struct

from requisition.services.watch.config import Watch
from requisition.services.watch.policy import Ref

T = TypeVar("T", bound=Struct)


class Kept(Struct, frozen=True, kw_only=True):
    """A watch and how it stands: `origin` is `file` or `socket`; `paused` says why, "" when it is not; `failures`: runs
    that failed since the last that succeeded."""

    watch: Watch
    origin: Literal["file", "socket"]
    paused: str = ""
    failures: int = 0


class Run(Struct, frozen=True, kw_only=True):
    """One pipeline: `hash` is the commit, `good` the last good one of its ref when it began; `applied` and `receipt`:
    the run of `plan apply`, and the file of its receipt. `ended` is 0 as long as it runs."""

    id: str
    watch: str
    ref: str
    hash: str
    good: str
    forced: bool
    step: str = ""
    status: Literal["running", "good", "failed", "refused"]
    attempt: int
    started: float
    ended: float = 0
    reason: str = ""
    applied: str = ""
    receipt: str = ""


class Step(Struct, frozen=True, kw_only=True):
    """One step of a run, as often as it was begun. `cut off`: the daemon ended before the step did."""

    step: str
    status: Literal["running", "done", "failed", "cut off"]
    started: float
    ended: float = 0
    reason: str = ""


class Note(Struct, frozen=True, kw_only=True):
    """Something that happened to a watch, in words."""

    at: float
    watch: str
    ref: str
    text: str


class Remote(Struct, frozen=True, kw_only=True):
    """How a remote answers: `asked`: when last (0 never); `failures` in a row, and the `reason` of the last."""

    url: str
    asked: float = 0
    next: float = 0
    failures: int = 0
    reason: str = ""


class Listed(Struct, frozen=True, kw_only=True):
    """One watch in a list."""

    kept: Kept
    remote: Remote
    refs: tuple[Ref, ...]


class Shown(Struct, frozen=True, kw_only=True):
    """All about one watch: its last runs, the steps of the newest, what happened; newest first."""

    listed: Listed
    runs: tuple[Run, ...]
    steps: tuple[Step, ...]
    notes: tuple[Note, ...]


class Counters(Struct):
    """What happened since the start, for metrics."""

    polls: int = 0
    polls_failed: int = 0
    polling: int = 0
    runs_good: int = 0
    runs_failed: int = 0
    running: int = 0
    untold: int = 0


def many(db: sqlite3.Connection, kind: type[T], query: str, *values: Any) -> list[T]:
    """Every row that a query finds."""
    return [msgspec.convert(dict(row), kind, strict=False) for row in db.execute(query, values)]


def one(db: sqlite3.Connection, kind: type[T], query: str, *values: Any) -> T | None:
    """The first row that a query finds."""
    row = db.execute(query, values).fetchone()
    return None if row is None else msgspec.convert(dict(row), kind, strict=False)


def put(db: sqlite3.Connection, table: str, record: Struct) -> None:
    """Write a row, in the place of the one that has its key."""
    insert(db, table, record, "OR REPLACE")


def insert(db: sqlite3.Connection, table: str, record: Struct, conflict: str = "") -> None:
    """Write a new row."""
    fields = msgspec.structs.asdict(record)
    names = ", ".join(fields)
    marks = ", ".join("?" * len(fields))
    db.execute(f"INSERT {conflict} INTO {table} ({names}) VALUES ({marks})", tuple(fields.values()))  # noqa: S608


def refs_of(db: sqlite3.Connection, watch: str) -> list[Ref]:
    """The refs of a watch, of all of them for ""."""
    return many(db, Ref, "SELECT * FROM refs WHERE ? IN ('', watch) ORDER BY watch, ref", watch)


def kept_of(row: sqlite3.Row) -> Kept:
    """A row of `watches`."""
    watch = msgspec.json.decode(row["config"], type=Watch)
    return Kept(watch=watch, origin=row["origin"], paused=row["paused"], failures=row["failures"])
