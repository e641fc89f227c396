"""Questions to an index that is up to the receipts. Each returns records, in the order of time."""

import sqlite3
from collections.abc import Iterator, Sequence

import msgspec
from msgspec import Struct

from requisition.review.history.fold import STATUSES
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
    """One run. Times are seconds since 1970; `taken_back` is when it or a part of it was. `counts` are nodes by status,
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
 o.checksum, p.host, r.until, r.message, r.admitted, r.half"""
_RUNS = "runs r JOIN places p ON p.id = r.place JOIN orders o ON o.id = r.ordering"
_RAN_FIELDS = 17


def problems(connection: sqlite3.Connection) -> list[Problem]:
    """Receipts that are not part of any answer."""
    rows = connection.execute("SELECT run, problem, host FROM runs WHERE problem != '' ORDER BY run, host")
    return [Problem(*row) for row in rows]


def roots(connection: sqlite3.Connection, host: str) -> list[str]:
    """Target roots that runs changed."""
    return [root for (root,) in connection.execute("SELECT root FROM places WHERE host = ? ORDER BY root", (host,))]


def is_package(connection: sqlite3.Connection, name: str) -> bool:
    """Whether any run was of that package, or of a tree with it."""
    return connection.execute("SELECT 1 FROM shares WHERE package = ? LIMIT 1", (name,)).fetchone() is not None


def runs(connection: sqlite3.Connection, chosen: Filter) -> list[Ran]:
    """The runs, oldest first."""
    where, values = _where(chosen)
    counts: dict[int, dict[str, dict[str, int]]] = {}
    for run, package, status, nodes in connection.execute("SELECT run, package, status, nodes FROM shares"):
        counts.setdefault(run, {}).setdefault(package, {})[status] = nodes
    found = []
    for number, *row in connection.execute(f"SELECT r.id, {_RAN} FROM {_RUNS} {where} ORDER BY r.run, p.host", values):  # noqa: S608
        shares = counts.get(number, {})
        asked = [shares[chosen.package]] if chosen.package in shares else list(shares.values())
        total: dict[str, int] = {}
        for share in asked:
            for status, nodes in share.items():
                total[status] = total.get(status, 0) + nodes
        found.append(msgspec.structs.replace(_ran(row), counts=total, packages=tuple(shares)))
    return found


def events(connection: sqlite3.Connection, chosen: Filter, paths: Sequence[str]) -> list[Event]:
    """What was done to some paths, oldest first: runs that found one as it had been left are counted with the run that
    left it so."""
    marks = ", ".join("?" for _ in paths)
    return _events(connection, chosen, f"x.path IN ({marks})", list(paths))


def events_below(connection: sqlite3.Connection, chosen: Filter, path: str) -> list[Event]:
    """The same of all paths below a directory; `path` has no slash at its end, and is empty for all of a root."""
    return _events(connection, chosen, "x.path >= ? AND x.path < ?", [path + "/", path + "0"])


def standing(connection: sqlite3.Connection, chosen: Filter, path: str | None = None) -> list[Event]:
    """What is there because of a run, by path: at one path, or everywhere. Confirmations are not counted."""
    return _standing(connection, chosen, "x.path = ?" if path is not None else "1", [] if path is None else [path])


def standing_below(connection: sqlite3.Connection, chosen: Filter, path: str) -> list[Event]:
    """The same below a directory; `path` has no slash at its end."""
    return _standing(connection, chosen, "x.path >= ? AND x.path < ?", [path + "/", path + "0"])


def _standing(connection: sqlite3.Connection, chosen: Filter, on: str, values: Sequence[object]) -> list[Event]:
    where, more = _where(chosen, on, node=True)
    rows = connection.execute(
        f"""SELECT t.id, x.path, t.status, n.node, n.action, n.phase, n.package, n.location, l.mark, {_RAN}
        FROM standing s JOIN paths x ON x.id = s.path JOIN touches t ON t.id = s.touch
        JOIN lefts l ON l.id = t.remains JOIN {_RUNS.replace("runs r", "runs r ON r.id = t.run", 1)}
        JOIN nodes n ON n.ordering = r.ordering AND n.number = t.node {where} ORDER BY x.path, r.run""",  # noqa: S608
        [*values, *more],
    )
    cache: dict[str, Ran] = {}
    return [_event(row, cache, stands=True) for row in rows]


def _events(connection: sqlite3.Connection, chosen: Filter, on: str, values: Sequence[object]) -> list[Event]:
    where, more = _where(chosen, on, node=True)
    rows = connection.execute(
        f"""SELECT t.id, x.path, t.status, n.node, n.action, n.phase, n.package, n.location, l.mark, {_RAN},
        s.touch IS NOT NULL FROM paths x JOIN touches t ON t.path = x.id LEFT JOIN lefts l ON l.id = t.remains
        JOIN {_RUNS.replace("runs r", "runs r ON r.id = t.run", 1)}
        JOIN nodes n ON n.ordering = r.ordering AND n.number = t.node
        LEFT JOIN standing s ON s.place = r.place AND s.path = t.path AND s.touch = t.id
        {where} ORDER BY r.run, t.id""",  # noqa: S608
        [*values, *more],
    )
    return list(_confirmed(rows))


def _confirmed(rows: sqlite3.Cursor) -> Iterator[Event]:
    """Events, with the runs that only confirmed one counted at it."""
    found: list[Event] = []
    last: dict[tuple[str, str, str], int] = {}
    cache: dict[str, Ran] = {}
    for row in rows:
        event = _event(row[:-1], cache, stands=bool(row[-1]))
        spot = event.ran.host, event.ran.root, event.path
        before = found[last[spot]] if spot in last else None
        if before is not None and event.status == "unchanged" and event.left == before.left and not event.stands:
            found[last[spot]] = msgspec.structs.replace(before, confirmed=before.confirmed + 1, last=event.ran)
            continue
        last[spot] = len(found)
        found.append(event)
    yield from found


def _event(row: Sequence[object], cache: dict[str, Ran], *, stands: bool) -> Event:
    _, path, status, node, action, phase, package, location, mark, *rest = row
    key = f"{rest[12]}/{rest[0]}"
    ran = cache.get(key)
    if ran is None:
        ran = cache[key] = _ran(rest)
    left = None if mark is None else Left(str(path), *msgspec.json.decode(str(mark)))
    assert isinstance(status, int)
    words = (str(node), str(action), str(phase), str(package), str(location))
    return Event(str(path), STATUSES[status], *words, ran, left, stands)


def _ran(row: Sequence[object]) -> Ran:
    *plain, admitted, half = row[:_RAN_FIELDS]
    who = msgspec.json.decode(str(admitted), type=tuple[Admission, ...])
    return Ran(*plain, who, msgspec.json.decode(str(half), type=OtherHalf | None))  # type: ignore[call-arg, arg-type]


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
