"""Questions to an index that is up to the receipts. Each returns records, in the order of time."""

import sqlite3
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from requisition.review.history.fold import STATUSES, UNCHANGED
from requisition.schemas.receipt import Admission, Left, OtherHalf

ANY_HOST = "*"
_NO_LIMIT = 1 << 62


class Filter(Struct, frozen=True):
    """Which runs are asked about; empty fields match any. `since` and `until` are seconds since 1970, both inclusive;
    `tool` matches from its beginning; `host` is a label below `hosts/`, empty for this machine."""

    since: int = 0
    until: int = 0
    tool: str = ""
    scope: str = ""
    package: str = ""
    root: str = ""
    host: str = ""


class Ran(Struct, frozen=True, omit_defaults=True):
    """One run. Times are seconds since 1970; `taken_back` is when it or a part of it was; `checksum` is its
    order's, `receipt` that of its last receipt. `counts` are nodes by status,
    of the package that was asked for, or else of all."""

    run: str
    root: str
    package: str
    version: str
    scope: str
    tool: str
    state: str
    outcome: str
    started: int
    finished: int
    order: str
    checksum: str
    receipt: str
    host: str = ""
    taken_back: int = 0
    message: str = ""
    admitted: tuple[Admission, ...] = ()
    half: OtherHalf | None = None
    counts: dict[str, int] = {}
    packages: tuple[str, ...] = ()


class Event(Struct, frozen=True, omit_defaults=True):
    """What one run did to one path. `left` is None where nothing is known: the node failed, or root did it and has the
    receipt of it. `confirmed`: how many later runs found the path as this one left it, `last` the last of them."""

    path: str
    status: str
    node: str
    action: str
    phase: str
    package: str
    location: str
    ran: Ran
    left: Left | None = None
    stands: bool = False
    confirmed: int = 0
    last: Ran | None = None


class Problem(Struct, frozen=True, omit_defaults=True):
    """A run whose receipts, or one of them, could not be read."""

    run: str
    why: str
    host: str = ""


_RAN = """r.run, p.root, o.package, o.version, o.scope, r.tool, r.state, r.outcome, r.started, r.finished, o.name,
 o.checksum, r.receipt, p.host, r.until, r.message, r.admitted, r.half"""
_RUNS = "runs r JOIN places p ON p.id = r.place JOIN orders o ON o.id = r.ordering"
_RAN_FIELDS, _RUN, _ROOT, _HOST = 18, 0, 1, 13
_PLACED = """JOIN places p ON p.id = r.place JOIN orders o ON o.id = r.ordering
 JOIN nodes n ON n.ordering = r.ordering AND n.number = t.node LEFT JOIN lefts l ON l.id = t.remains"""
_STANDS = "LEFT JOIN standing s ON s.place = r.place AND s.path = t.path AND s.touch = t.id"
_BELOW = "(x.path = ? OR (x.path >= ? AND x.path < ?))"


def problems(connection: sqlite3.Connection) -> list[Problem]:
    """Receipts that are not part of any answer."""
    rows = connection.execute("SELECT run, problem, host FROM runs WHERE problem != '' ORDER BY run, host")
    return [Problem(*row) for row in rows]


def roots(connection: sqlite3.Connection, host: str) -> list[str]:
    """Target roots that runs changed."""
    query = "SELECT DISTINCT root FROM places WHERE host = ? OR ? = ? ORDER BY root"
    return [root for (root,) in connection.execute(query, (host, host, ANY_HOST))]


def is_package(connection: sqlite3.Connection, name: str) -> bool:
    """Whether any run was of that package, or of a tree with it."""
    return connection.execute("SELECT 1 FROM shares WHERE package = ? LIMIT 1", (name,)).fetchone() is not None


def runs(connection: sqlite3.Connection, chosen: Filter) -> list[Ran]:
    """The runs, oldest first."""
    where, values = _where(chosen)
    counts: dict[int, dict[str, dict[str, int]]] = {}
    for run, package, status, nodes in connection.execute("SELECT run, package, status, nodes FROM shares"):
        counts.setdefault(run, {}).setdefault(package, {})[status] = nodes
    made: dict[tuple[object, object], Ran] = {}
    found = []
    for number, *row in connection.execute(f"SELECT r.id, {_RAN} FROM {_RUNS} {where} ORDER BY r.run, p.host", values):  # noqa: S608
        shares = counts.get(number, {})
        asked = [shares[chosen.package]] if chosen.package in shares else list(shares.values())
        total: dict[str, int] = {}
        for share in asked:
            for status, nodes in share.items():
                total[status] = total.get(status, 0) + nodes
        found.append(msgspec.structs.replace(_ran(row, made), counts=total, packages=tuple(shares)))
    return found


def events(connection: sqlite3.Connection, chosen: Filter, path: str) -> list[Event]:
    """What was done to a path, oldest first: runs that found it as it had been left are counted with the run that left
    it so."""
    return _events(connection, chosen, "x.path = ?", [path])


def events_below(connection: sqlite3.Connection, chosen: Filter, path: str) -> list[Event]:
    """The same of a path and all below it; `path` has no slash at its end, and is empty for all of a root."""
    return _events(connection, chosen, _BELOW, [path, path + "/", path + "0"])


def events_of_package(connection: sqlite3.Connection, chosen: Filter) -> list[Event]:
    """The same of all paths of `chosen.package`."""
    source = """runs r CROSS JOIN touches t ON t.id BETWEEN r.first AND r.last JOIN paths x ON x.id = t.path"""
    where, values = _where(chosen, "EXISTS (SELECT 1 FROM shares h WHERE h.run = r.id AND h.package = ?)", node=True)
    return _found(connection, f"FROM {source} {_PLACED} {_STANDS} {where}", [chosen.package, *values])


def standing(connection: sqlite3.Connection, chosen: Filter) -> list[Event]:
    """What is there because of a run, by path. Confirmations are not counted."""
    return _standing(connection, chosen, "1", [])


def standing_below(connection: sqlite3.Connection, chosen: Filter, path: str) -> list[Event]:
    """The same of a path and all below it; `path` has no slash at its end, and is empty for all of a root."""
    return _standing(connection, chosen, _BELOW, [path, path + "/", path + "0"])


def _events(connection: sqlite3.Connection, chosen: Filter, on: str, values: Sequence[object]) -> list[Event]:
    source = "paths x CROSS JOIN touches t ON t.path = x.id JOIN runs r ON r.id = t.run"
    where, more = _where(chosen, on, node=True)
    return _found(connection, f"FROM {source} {_PLACED} {_STANDS} {where}", [*values, *more])


def _standing(connection: sqlite3.Connection, chosen: Filter, on: str, values: Sequence[object]) -> list[Event]:
    source = """paths x CROSS JOIN standing s ON s.path = x.id JOIN touches t ON t.id = s.touch
        JOIN runs r ON r.id = t.run"""
    where, more = _where(chosen, on, node=True)
    found = _found(connection, f"FROM {source} {_PLACED} {where}", [*values, *more])
    return sorted(found, key=lambda event: (event.path, event.ran.host, event.ran.root))


class _Row(Struct):
    """A row that is an event, and how often and by which row it was confirmed."""

    row: Sequence[object]
    confirmed: int = 0
    last: Sequence[object] = ()


def _found(connection: sqlite3.Connection, source: str, values: Sequence[object]) -> list[Event]:
    """Events of rows in the order of their runs. A run that found a path as it had been left is counted there."""
    rows: list[_Row] = []
    latest: dict[tuple[object, ...], _Row] = {}
    query = (
        f"SELECT {_RAN}, x.path, l.mark, t.status, s.touch, n.node, n.action, n.phase, n.package, n.location {source}"
    )
    for row in connection.execute(f"{query} ORDER BY r.run, p.host, t.id", values):
        path, mark, status, stands = row[_RAN_FIELDS : _RAN_FIELDS + 4]
        spot = row[_HOST], row[_ROOT], path
        before = latest.get(spot)
        if before is not None and status == UNCHANGED and stands is None and mark == before.row[_RAN_FIELDS + 1]:
            before.confirmed += 1
            before.last = row
            continue
        found = latest[spot] = _Row(row)
        rows.append(found)
    runs: dict[tuple[object, object], Ran] = {}
    return [_event(one, runs) for one in rows]


def _event(found: _Row, runs: dict[tuple[object, object], Ran]) -> Event:
    path, mark, status, stands, *words = found.row[_RAN_FIELDS:]
    left = None if mark is None else Left(str(path), *msgspec.json.decode(str(mark)))
    last = _ran(found.last, runs) if found.last else None
    word = STATUSES[int(str(status))]
    node, action, phase, package, location = map(str, words)
    ran = _ran(found.row, runs)
    return Event(
        str(path), word, node, action, phase, package, location, ran, left, stands is not None, found.confirmed, last
    )


def _ran(row: Sequence[object], runs: dict[tuple[object, object], Ran]) -> Ran:
    """The run in a row, made once."""
    key = row[_HOST], row[_RUN]
    if key not in runs:
        *plain, admitted, half = row[:_RAN_FIELDS]
        who = msgspec.json.decode(str(admitted), type=tuple[Admission, ...])
        runs[key] = Ran(*plain, who, msgspec.json.decode(str(half), type=OtherHalf | None))  # type: ignore[call-arg, arg-type]
    return runs[key]


def _where(chosen: Filter, on: str = "", *, node: bool = False) -> tuple[str, list[object]]:
    """A clause over runs, and its values; `on` is one more condition, whose values come first."""
    parts, values = [on] if on else [], list[object]()
    if chosen.host != ANY_HOST:
        parts.append("p.host = ?")
        values.append(chosen.host)
    for column, value in (("o.scope", chosen.scope), ("p.root", chosen.root)):
        if value:
            parts.append(f"{column} = ?")
            values.append(value)
    if chosen.tool:
        parts.append("substr(r.tool, 1, ?) = ?")
        values += [len(chosen.tool), chosen.tool]
    if chosen.since or chosen.until:
        parts.append("r.started BETWEEN ? AND ?")
        values += [chosen.since, chosen.until or _NO_LIMIT]
    if chosen.package:
        inside = "EXISTS (SELECT 1 FROM shares h WHERE h.run = r.id AND h.package = ?)"
        parts.append("n.package = ?" if node else f"(o.package = ? OR {inside})")
        values += [chosen.package] * (1 if node else 2)
    return ("WHERE " + " AND ".join(parts) if parts else ""), values
