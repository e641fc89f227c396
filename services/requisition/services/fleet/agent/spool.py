"""What an agent must not forget: its state, its deadline's fuse, reports that nobody acknowledged, and which orders it
was ever given. State and reports are one transaction, so a number is given once, to one report.

Reports are kept as they were signed. Of a host that is cut off for very long the oldest go first; the server notices
the gap, asks, and is told all there is to know in one (`events.Restated`).
"""

import sqlite3
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from requisition.services.database import Database, Desk
from requisition.services.fleet.agent.fuse import Fuse
from requisition.services.fleet.agent_state import AgentState

MOST_REPORTS = 10_000
AT_ONCE = 100
AT_ONCE_BYTES = 1 << 20

_MIGRATIONS = (
    """CREATE TABLE agent(one INTEGER PRIMARY KEY CHECK(one = 1), state BLOB NOT NULL, fuse BLOB NOT NULL) STRICT;
    CREATE TABLE outbox(seq INTEGER PRIMARY KEY, report BLOB NOT NULL) STRICT;
    CREATE TABLE orders(name TEXT PRIMARY KEY, checksum TEXT NOT NULL) STRICT""",
)


class Saved(Struct, frozen=True):
    """A state and the fuse of its deadline."""

    state: AgentState
    fuse: Fuse = Fuse()


class Waiting(Struct, frozen=True):
    """Reports that are to be sent next, from number `first` on without gaps; `first` is 0 where there are none."""

    first: int
    reports: tuple[bytes, ...]


class Spool:
    """The file. Its methods are of the loop; the disk is waited for elsewhere."""

    def __init__(self, path: str, new: AgentState) -> None:
        """Open it, or make one that begins with `new`. Raises BadInput for a file that is none."""
        self._desk = Desk(Database(path, _MIGRATIONS))
        with self._desk.database.transaction() as connection:
            connection.execute("INSERT OR IGNORE INTO agent VALUES (1, ?, ?)", _row(Saved(new)))

    async def load(self) -> Saved:
        """What was saved last."""
        return await self._desk.read(_load)

    async def save(
        self, saved: Saved, reports: Sequence[tuple[int, bytes]], *, heard: int = 0, anew: bool = False
    ) -> int:
        """All of it or nothing: the state, new reports by number, and that those up to `heard` need not be kept, or,
        `anew`, none of those before. How many old ones had to go. Raises Failed when the disk does not take it; nothing
        has changed then."""

        def change(connection: sqlite3.Connection) -> int:
            connection.execute("UPDATE agent SET state = ?, fuse = ?", _row(saved))
            if anew:
                connection.execute("DELETE FROM outbox")
            connection.executemany("INSERT INTO outbox VALUES (?, ?)", reports)
            connection.execute("DELETE FROM outbox WHERE seq <= ?", (heard,))
            if not reports:
                return 0
            return connection.execute("DELETE FROM outbox WHERE seq <= ?", (saved.state.seq - MOST_REPORTS,)).rowcount

        return await self._desk.write(change)

    async def waiting(self) -> Waiting:
        """The oldest reports, as many as go together."""

        def look(connection: sqlite3.Connection) -> Waiting:
            found: list[bytes] = []
            first = size = 0
            for seq, report in connection.execute("SELECT seq, report FROM outbox ORDER BY seq LIMIT ?", (AT_ONCE,)):
                size += len(report)
                if found and size > AT_ONCE_BYTES:
                    break
                first = first or seq
                found.append(report)
            return Waiting(first, tuple(found))

        return await self._desk.read(look)

    async def know(self, order: str, checksum: str) -> None:
        """Remember by which checksum the runtime's receipts name an order."""
        await self._desk.write(lambda at: at.execute("INSERT OR REPLACE INTO orders VALUES (?, ?)", (order, checksum)))

    async def orders(self) -> dict[str, str]:
        """Orders that this host was ever given, by the checksum that receipts name them with."""
        return await self._desk.read(lambda at: {row[1]: row[0] for row in at.execute("SELECT * FROM orders")})

    def close(self) -> None:
        """End, after all that was asked."""
        self._desk.close()


def _row(saved: Saved) -> tuple[bytes, bytes]:
    return msgspec.json.encode(saved.state), msgspec.json.encode(saved.fuse)


def _load(connection: sqlite3.Connection) -> Saved:
    state, fuse = connection.execute("SELECT state, fuse FROM agent").fetchone()
    return Saved(msgspec.json.decode(state, type=AgentState), msgspec.json.decode(fuse, type=Fuse))
