"""Bringing an index up to the receipts: one transaction, after which it says what they say."""

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import msgspec

from requisition.review.history.fold import UNCHANGED, Step, maker
from requisition.review.history.inventory import Key, receipt_paths
from requisition.review.history.told import LeftAt, OrderFacts, Reader, Told, Touch, Unreadable

MANY = 500
"""From this number of runs on, touches are sorted by path once at the end and not one by one."""

SCHEMA = (
    "CREATE TABLE places (id INTEGER PRIMARY KEY, host TEXT NOT NULL, root TEXT NOT NULL, UNIQUE (host, root))",
    """CREATE TABLE orders (id INTEGER PRIMARY KEY, checksum TEXT NOT NULL UNIQUE, name TEXT NOT NULL,
       package TEXT NOT NULL, version TEXT NOT NULL, scope TEXT NOT NULL)""",
    """CREATE TABLE nodes (ordering INTEGER, number INTEGER, node TEXT NOT NULL, action TEXT NOT NULL,
       phase TEXT NOT NULL, location TEXT NOT NULL, package TEXT NOT NULL, PRIMARY KEY (ordering, number))
       WITHOUT ROWID""",
    """CREATE TABLE runs (id INTEGER PRIMARY KEY, host TEXT NOT NULL, run TEXT NOT NULL, stamp TEXT NOT NULL,
       problem TEXT NOT NULL, place INTEGER, ordering INTEGER, tool TEXT, state TEXT, outcome TEXT, started INTEGER,
       finished INTEGER, until INTEGER, message TEXT, admitted TEXT, half TEXT, is_half INTEGER, receipt TEXT,
       first INTEGER, last INTEGER, UNIQUE (host, run))""",
    """CREATE TABLE shares (run INTEGER, package TEXT, status TEXT, nodes INTEGER NOT NULL,
       PRIMARY KEY (run, package, status)) WITHOUT ROWID""",
    "CREATE TABLE paths (id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE)",
    "CREATE TABLE lefts (id INTEGER PRIMARY KEY, gone INTEGER NOT NULL, mark TEXT NOT NULL UNIQUE)",
    """CREATE TABLE touches (id INTEGER PRIMARY KEY, path INTEGER NOT NULL, run INTEGER NOT NULL,
       node INTEGER NOT NULL, status INTEGER NOT NULL, remains INTEGER)""",
    """CREATE TABLE standing (place INTEGER, path INTEGER, touch INTEGER NOT NULL, PRIMARY KEY (path, place))
       WITHOUT ROWID""",
)
_BY_PATH = "CREATE INDEX IF NOT EXISTS touches_by_path ON touches (path, run)"
_KEPT = 400_000  # distinct outcomes in memory; the index has them all

Spot = tuple[int, int]
"""A place and a path, by their numbers."""

Remains = tuple[int, int | None]
"""A path and how it was left, by their numbers."""

Made = tuple[int, int] | None
"""The touch that made a path what it is, and how it left it."""

Row = tuple[int, int, int, int, int, int | None]
"""One of `touches`."""


class _Run(NamedTuple):
    """A run in the index, as the fold needs it."""

    name: str
    place: int
    began: int
    stands: bool
    until: int


class Filling:
    """One transaction's work on an index."""

    def __init__(self, connection: sqlite3.Connection, state_dir: str) -> None:
        self._connection = connection
        self._state_dir = state_dir
        self._reader = Reader()
        self._runs = {row[0]: _Run(*row[1:]) for row in connection.execute(
            "SELECT id, run, place, started, state = 'executed', until FROM runs WHERE place IS NOT NULL"
        )}  # fmt: skip
        self._places: dict[tuple[str, str], int] = {}
        self._orders: dict[str, int] = {}
        self._paths: dict[str, int] = {}
        self._lefts: dict[str, int] = {}
        self._known: dict[bytes, tuple[Remains, ...]] = {}
        self._gone: set[int] = set()
        self._doubtful: set[Spot] = set()
        self._made: dict[int, dict[int, Made]] = {}
        self._newest: dict[int, tuple[str, int]] = {}
        self._unseen: set[int] = set()  # places that were not in the index before
        for run in self._runs.values():
            self._note(run)

    def bring_up(
        self, found: Mapping[Key, str], known: Mapping[Key, str], progress: Callable[[int, int], None]
    ) -> None:
        """Take up what is new or another, and drop what is gone. `progress` is told how many of how many were read."""
        due = sorted((key for key in found if known.get(key) != found[key]), key=lambda key: (key[1], key[0]))
        many = len(due) >= MANY
        if many:
            self._connection.execute("DROP INDEX IF EXISTS touches_by_path")
        for key in [*(key for key in known if key not in found), *(key for key in due if key in known)]:
            self._drop(key)
        for number, key in enumerate(due):
            progress(number, len(due))
            self._add(key, found[key])
        self._connection.execute(_BY_PATH)
        self._settle()

    # taking up -----------------------------------------------------------------------------------

    def _add(self, key: Key, stamp: str) -> None:
        insert = "INSERT INTO runs (host, run, stamp, problem) VALUES (?, ?, ?, ?)"
        try:
            told = self._reader.read(key, receipt_paths(self._state_dir, key))
        except Unreadable as error:
            self._connection.execute(insert, (*key, stamp, str(error)))
            return
        number = self._connection.execute(insert, (*key, stamp, told.problem)).lastrowid
        assert number is not None
        place = self._place(key[0], told.root)
        run = _Run(key[1], place, told.started, told.state == "executed", told.until)
        self._fill(number, run, told)
        in_order = self._comes_last(run)
        self._runs[number] = run
        self._note(run)
        first = self._connection.execute("SELECT coalesce(max(id), 0) + 1 FROM touches").fetchone()[0]
        rows = self._rows(first, number, told.touches)
        self._connection.executemany("INSERT INTO touches VALUES (?, ?, ?, ?, ?, ?)", rows)
        self._connection.execute(
            "UPDATE runs SET first = ?, last = ? WHERE id = ?", (first, first + len(rows) - 1, number)
        )
        if in_order:
            self._advance(run, rows)
        else:
            self._doubtful.update((place, row[1]) for row in rows)

    def _fill(self, number: int, run: _Run, told: Told) -> None:
        self._connection.execute(
            """UPDATE runs SET place = ?, ordering = ?, tool = ?, state = ?, outcome = ?, started = ?, finished = ?,
               until = ?, message = ?, admitted = ?, half = ?, is_half = ?, receipt = ? WHERE id = ?""",
            (run.place, self._order(told.order), told.tool, told.state, told.outcome, told.started, told.finished,
             told.until, told.message, _json(told.admitted), _json(told.half), told.is_half, told.receipt, number),
        )  # fmt: skip
        self._connection.executemany(
            "INSERT INTO shares VALUES (?, ?, ?, ?)",
            ((number, package, status, count) for (package, status), count in told.counts.items()),
        )

    def _rows(self, first: int, run: int, touches: Iterable[Touch]) -> list[Row]:
        if len(self._known) > _KEPT:
            self._known.clear()
            self._lefts.clear()
        known, rows = self._known, list[Row]()
        for node, status, words, claims in touches:
            remains = known.get(words) if words else ((self._path(claims), None),)
            if remains is None:
                remains = known[words] = tuple(map(self._remains, self._reader.lefts(words)))
            for path, left in remains:
                rows.append((first + len(rows), path, run, node, status, left))
        return rows

    def _remains(self, one: LeftAt) -> Remains:
        return self._path(one.path), self._left(one)

    # names become numbers ------------------------------------------------------------------------

    def _number(
        self, table: str, key: Mapping[str, object], rest: Mapping[str, object] | None = None
    ) -> tuple[int, bool]:
        """Of the row with that key, which is made with the rest when it is not there; whether it was made."""
        where = " AND ".join(f"{name} = ?" for name in key)
        row = self._connection.execute(f"SELECT id FROM {table} WHERE {where}", tuple(key.values())).fetchone()  # noqa: S608
        if row is not None:
            return row[0], False
        columns = {**key, **(rest or {})}
        marks = ", ".join("?" for _ in columns)
        made = self._connection.execute(
            f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})",  # noqa: S608  (words of ours)
            tuple(columns.values()),
        )
        assert made.lastrowid is not None
        return made.lastrowid, True

    def _place(self, host: str, root: str) -> int:
        found = self._places.get((host, root))
        if found is None:
            found, made = self._number("places", {"host": host, "root": root})
            self._places[host, root] = found
            if made:
                self._unseen.add(found)
        return found

    def _order(self, order: OrderFacts) -> int:
        """An order's nodes are stored once, however often it ran."""
        found = self._orders.get(order.checksum)
        if found is not None:
            return found
        rest = {"name": order.name, "package": order.package, "version": order.version, "scope": order.scope}
        found, made = self._number("orders", {"checksum": order.checksum}, rest)
        self._orders[order.checksum] = found
        if made:
            self._connection.executemany(
                "INSERT INTO nodes VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    (found, number, node.id, node.action, node.phase, node.location, node.package)
                    for number, node in enumerate(order.nodes)
                ),
            )
        return found

    def _path(self, path: str) -> int:
        found = self._paths.get(path)
        if found is None:
            found, _ = self._number("paths", {"path": path})
            self._paths[path] = found
        return found

    def _left(self, one: LeftAt) -> int:
        found = self._lefts.get(one.mark)
        if found is None:
            found, _ = self._number("lefts", {"mark": one.mark}, {"gone": one.gone})
            self._lefts[one.mark] = found
            if one.gone:
                self._gone.add(found)
        return found

    # what stands ---------------------------------------------------------------------------------

    def _note(self, run: _Run) -> None:
        name, until = self._newest.get(run.place, ("", 0))
        self._newest[run.place] = max(name, run.name), max(until, run.until)

    def _comes_last(self, run: _Run) -> bool:
        """Whether a run is later than all that is known of its place, so that what stood there is what it found."""
        name, until = self._newest.get(run.place, ("", 0))
        return run.name > name and run.began > until

    def _advance(self, run: _Run, rows: Iterable[Row]) -> None:
        """As `maker` does, one step further."""
        if not run.stands:
            return
        gone, made = self._gone, self._made.setdefault(run.place, {})
        for touch, path, _, _, status, left in rows:
            if status > UNCHANGED or left is None:
                continue
            before = made[path] if path in made else self._stood(run.place, path)
            if before is not None and status == UNCHANGED and before[1] == left:
                continue
            made[path] = None if left in gone else (touch, left)

    def _stood(self, place: int, path: int) -> Made:
        if place in self._unseen:
            return None
        found: Made = self._connection.execute(
            "SELECT touch, remains FROM standing s JOIN touches t ON t.id = touch WHERE s.path = ? AND s.place = ?",
            (path, place),
        ).fetchone()
        return found

    def _drop(self, key: Key) -> None:
        """Forget a run; what else was said of its paths is looked at again."""
        row = self._connection.execute(
            "SELECT id, place, first, last FROM runs WHERE host = ? AND run = ?", key
        ).fetchone()
        number, place, first, last = row
        self._connection.execute("DELETE FROM runs WHERE id = ?", (number,))
        self._connection.execute("DELETE FROM shares WHERE run = ?", (number,))
        if place is None:
            return
        del self._runs[number]
        paths = self._connection.execute("SELECT DISTINCT path FROM touches WHERE id BETWEEN ? AND ?", (first, last))
        self._doubtful.update((place, path) for (path,) in paths)
        self._connection.execute("DELETE FROM touches WHERE id BETWEEN ? AND ?", (first, last))

    def _settle(self) -> None:
        gone = {number for (number,) in self._connection.execute("SELECT id FROM lefts WHERE gone")}
        for place, path in self._doubtful:
            found = maker(self._steps(place, path, gone))
            self._made.setdefault(place, {})[path] = (found.touch, found.left or 0) if found is not None else None
        made = [(place, path, now) for place, paths in self._made.items() for path, now in paths.items()]
        self._connection.executemany(
            "DELETE FROM standing WHERE place = ? AND path = ?", ((place, path) for place, path, now in made if not now)
        )
        self._connection.executemany(
            "INSERT OR REPLACE INTO standing VALUES (?, ?, ?)",
            ((place, path, now[0]) for place, path, now in made if now),
        )

    def _steps(self, place: int, path: int, gone: set[int]) -> list[Step]:
        rows = self._connection.execute("SELECT run, id, status, remains FROM touches WHERE path = ?", (path,))
        ours = [(self._runs[run], touch, status, left) for run, touch, status, left in rows]
        ours = [row for row in ours if row[0].place == place]
        ours.sort(key=lambda row: (row[0].name, row[1]))
        return [
            Step(touch, status, left, left in gone, run.began, run.stands, run.until)
            for run, touch, status, left in ours
        ]


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
