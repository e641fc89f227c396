"""Reading the queue's rows, inside of a transaction of someone else."""

import os
import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from requisition.schemas.diagnostic import BadInput
from requisition.services.delivery.job import Job
from requisition.services.delivery.schema import quoted
from requisition.services.delivery.states import ENDED

COLUMNS = Job.__struct_fields__
LIVE = f"state NOT IN ({quoted(ENDED)})"
"""Of a job that has its target for itself."""


def job_of(row: sqlite3.Row) -> Job:
    """A row of the table `jobs`."""
    return msgspec.convert({name: row[name] for name in COLUMNS}, Job, strict=False)


def one(rows: sqlite3.Connection, where: str, values: tuple[Any, ...]) -> Job | None:
    """The job of which that is true."""
    row = rows.execute(f"SELECT * FROM jobs WHERE {where}", values).fetchone()  # noqa: S608  (our own text)
    return job_of(row) if row else None


def find(rows: sqlite3.Connection, wanted: str) -> Job:
    """The job whose id begins so. Raises BadInput when there is none, or more than one."""
    found = rows.execute(
        "SELECT * FROM jobs WHERE id >= ?1 AND id < ?1 || 'g' LIMIT 2",  # hexadecimal digits are below g
        (wanted,),
    ).fetchall()
    if not wanted or not found:
        raise BadInput.of(f"there is no job {wanted!r}", next="`plan delivery list` shows them all")
    if len(found) > 1 and found[0]["id"] != wanted:
        raise BadInput.of(f"there is more than one job whose id begins with {wanted!r}", next="write more of it")
    return job_of(found[0])


def overlapping(rows: sqlite3.Connection, source: str) -> list[Job]:
    """All jobs whose source is this folder, lies in it, or contains it."""
    above = list(_above(source))
    found = rows.execute(
        f"SELECT * FROM jobs WHERE source IN ({', '.join('?' * len(above))})"  # noqa: S608  (only marks)
        " UNION SELECT * FROM jobs WHERE source >= ? AND source < ?",
        (*above, source.rstrip("/") + "/", source.rstrip("/") + "0"),  # "0" comes behind "/"
    )
    return [job_of(row) for row in found]


def in_turn(rows: sqlite3.Connection, destinations: Iterable[str]) -> list[str]:
    """Those that are not paused, first the one whose last turn is longest ago."""
    paused = {row[0] for row in rows.execute("SELECT destination FROM pauses")}
    served = {row[0]: row[1] for row in rows.execute("SELECT destination, served FROM turns")}
    return sorted((each for each in destinations if each not in paused), key=lambda each: served.get(each, 0))


def working(rows: sqlite3.Connection, destination: str, elapsed: float) -> int:
    """How many of a destination's jobs are being worked on, by whomever."""
    found = rows.execute(
        "SELECT count(*) FROM jobs WHERE destination = ? AND lease <> '' AND due > ?", (destination, elapsed)
    )
    return int(found.fetchone()[0])


def _above(path: str) -> Iterator[str]:
    while path not in ("", "/"):
        yield path
        path = os.path.dirname(path)
    yield "/"
