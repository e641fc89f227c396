"""Questions to an index that is up to the receipts. Each returns records, in the order of time."""

import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from requisition.review.history.fold import STATUSES, UNCHANGED
from requisition.schemas.diagnostic import BadInput
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

    def __post_init__(self) -> None:
        """Raises BadInput for words that no receipt can have."""
        for text in (self.tool, self.scope, self.package, self.root, self.host):
            writable(text)


def writable(text: str) -> str:
    """The text, when it is one of Unicode: names of files need not be. Raises BadInput."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadInput.of(
            f"…{ascii(text)[1:-1][-60:]} is no text in UTF-8", next="no receipt can tell of it"
        ) from error
    return text


class Ran(Struct, frozen=True, omit_defaults=True):
    """One run. Times are seconds since 1970; `taken_back` is when it or a part of it was. `half` is what root did of
    it, `is_half`: it is what root did of another user's run. `checksum` is its order's, `receipt` that of its last
    receipt. `counts` are nodes by status, of the package that was asked for, or else of all."""

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
    is_half: bool = False
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
 o.checksum, r.receipt, p.host, r.until, r.message, r.admitted, r.half, r.is_half
 FROM runs r JOIN places p ON p.id = r.place JOIN orders o ON o.id = r.ordering"""
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
    where, values = _where(chosen, "p.host = r.host")
    counts: dict[int, dict[str, dict[str, int]]] = {}
    for run, package, status, nodes in connection.execute("SELECT run, package, status, nodes FROM shares"):
        counts.setdefault(run, {}).setdefault(package, {})[status] = nodes
    found = []
    for number, *row in connection.execute(f"SELECT r.id, {_RAN} {where} ORDER BY r.run, p.host", values):
        shares = counts.get(number, {})
        asked = [shares[chosen.package]] if chosen.package in shares else list(shares.values())
        total: dict[str, int] = {}
        for share in asked:
            for status, nodes in share.items():
                total[status] = total.get(status, 0) + nodes
        found.append(msgspec.structs.replace(_ran(row), counts=total, packages=tuple(shares)))
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
    source = """FROM runs r CROSS JOIN touches t ON t.id BETWEEN r.first AND r.last
        CROSS JOIN paths x ON x.id = t.path"""
    on = "EXISTS (SELECT 1 FROM shares h WHERE h.run = r.id AND h.package = ?)"
    return _found(connection, chosen, source, _STANDS, on, [chosen.package])


def standing(connection: sqlite3.Connection, chosen: Filter) -> list[Event]:
    """What is there because of a run, by path. Confirmations are not counted."""
    return _standing(connection, chosen, "1", [])


def standing_below(connection: sqlite3.Connection, chosen: Filter, path: str) -> list[Event]:
    """The same of a path and all below it; `path` has no slash at its end, and is empty for all of a root."""
    return _standing(connection, chosen, _BELOW, [path, path + "/", path + "0"])


def _events(connection: sqlite3.Connection, chosen: Filter, on: str, values: Sequence[object]) -> list[Event]:
    source = "FROM paths x CROSS JOIN touches t ON t.path = x.id CROSS JOIN runs r ON r.id = t.run"
    return _found(connection, chosen, source, _STANDS, on, values)


def _standing(connection: sqlite3.Connection, chosen: Filter, on: str, values: Sequence[object]) -> list[Event]:
    source = """FROM paths x CROSS JOIN standing s ON s.path = x.id CROSS JOIN touches t ON t.id = s.touch
        CROSS JOIN runs r ON r.id = t.run"""
    found = _found(connection, chosen, source, "", on, values)
    return sorted(found, key=lambda event: (event.path, event.ran.host, event.ran.root))


class _Row(Struct):
    """A touch in a history: how often, and by which run last, it was confirmed. Numbers are those of the index."""

    run: int
    ordering: int
    node: int
    path: str
    left: int | None
    status: int
    stands: bool
    confirmed: int = 0
    last: int = 0


def _found(
    connection: sqlite3.Connection, chosen: Filter, source: str, also: str, on: str, values: Sequence[object]
) -> list[Event]:
    """Events of touches in the order of their runs. A run that found a path as it had been left is counted there. Most
    touches only confirm: what they refer to is looked up for the others alone. CROSS JOIN: SQLite keeps the order, and
    does not begin with a table that it knows nothing of."""
    where, more = _where(chosen, on, node=True)
    query = f"""SELECT r.place, r.id, r.ordering, t.node, x.path, t.remains, t.status, s.touch IS NOT NULL {source}
        CROSS JOIN places p ON p.id = r.place CROSS JOIN orders o ON o.id = r.ordering
        CROSS JOIN nodes n ON n.ordering = r.ordering AND n.number = t.node {also} {where}
        ORDER BY r.run, r.host, t.id"""
    rows: list[_Row] = []
    latest: dict[tuple[int, str], _Row] = {}
    for place, *row in connection.execute(query, [*values, *more]):
        run, _, _, path, left, status, stands = row
        before = latest.get((place, path))
        if before is not None and status == UNCHANGED and left == before.left and not stands:
            before.confirmed += 1
            before.last = run
            continue
        latest[place, path] = one = _Row(*row)
        rows.append(one)
    look = _Lookup(connection)
    return [look.event(one) for one in rows]


class _Lookup:
    """What the numbers in rows stand for, each looked up once."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._runs: dict[int, Ran] = {}
        self._lefts: dict[int, str] = {}

    def event(self, row: _Row) -> Event:
        """With all its words."""
        query = "SELECT node, action, phase, package, location FROM nodes WHERE ordering = ? AND number = ?"
        words = self._connection.execute(query, (row.ordering, row.node)).fetchone()
        last = self._ran(row.last) if row.last else None
        left = None if row.left is None else Left(row.path, *msgspec.json.decode(self._left(row.left)))
        status = STATUSES[row.status]
        node, action, phase, package, location = words
        ran, stands = self._ran(row.run), bool(row.stands)
        return Event(row.path, status, node, action, phase, package, location, ran, left, stands, row.confirmed, last)

    def _ran(self, run: int) -> Ran:
        if run not in self._runs:
            self._runs[run] = _ran(self._connection.execute(f"SELECT {_RAN} WHERE r.id = ?", (run,)).fetchone())
        return self._runs[run]

    def _left(self, left: int) -> str:
        if left not in self._lefts:
            (self._lefts[left],) = self._connection.execute("SELECT mark FROM lefts WHERE id = ?", (left,)).fetchone()
        return self._lefts[left]


def _ran(row: Sequence[Any]) -> Ran:
    *plain, admitted, half, is_half = row
    who = msgspec.json.decode(admitted, type=tuple[Admission, ...])
    return Ran(*plain, who, msgspec.json.decode(half, type=OtherHalf | None), bool(is_half))  # type: ignore[call-arg]


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
