"""What both databases share: tables and statements, with `?` for a value. A backend brings transactions to run them in.

head       one row: the number of the last log record, since when the log is kept, and the seat
log        what happened, in order; what it is about, for those who look for it
state      one row a record (`store.Kind`), as JSON; what a host is to be given is one of them (`outbox`)
nonces     verbs that were used
papers     signed documents, as they were received
snapshot   the state that the rows of the log after its number add to
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol, TypeVar

import msgspec

from requisition.schemas.diagnostic import Conflicted
from requisition.services.fleet import events
from requisition.services.fleet.events import Record
from requisition.services.fleet.state import (
    ChannelState,
    Dispatch,
    HostState,
    Quarantined,
    RolloutState,
    Settings,
)
from requisition.services.fleet.store import ROWS, About, Fenced, Kind, Paper, Row, Saved, Seat

T = TypeVar("T")

SCHEMA = """
CREATE TABLE head (
  one BIGINT PRIMARY KEY CHECK (one = 1), number BIGINT NOT NULL, log_from BIGINT NOT NULL,
  seat BIGINT NOT NULL, holder TEXT NOT NULL, beat BIGINT NOT NULL
);
INSERT INTO head VALUES (1, 0, 0, 0, '', 0);
CREATE TABLE log (
  number BIGINT PRIMARY KEY, at BIGINT NOT NULL, host TEXT NOT NULL, rollout TEXT NOT NULL, body TEXT NOT NULL
);
CREATE INDEX log_host ON log (host, number) WHERE host <> '';
CREATE INDEX log_rollout ON log (rollout, number) WHERE rollout <> '';
CREATE INDEX log_at ON log (at);
CREATE TABLE state (kind TEXT NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (kind, name));
CREATE TABLE nonces (nonce {bytes} PRIMARY KEY, at BIGINT NOT NULL);
CREATE TABLE papers (kind TEXT NOT NULL, name TEXT NOT NULL, body {bytes} NOT NULL, PRIMARY KEY (kind, name));
CREATE TABLE snapshot (one BIGINT PRIMARY KEY CHECK (one = 1), body {bytes} NOT NULL);
"""

_PUT = "INSERT INTO state VALUES (?, ?, ?) ON CONFLICT (kind, name) DO UPDATE SET body = excluded.body"
_KEEP = "INSERT INTO state VALUES (?, ?, ?) ON CONFLICT (kind, name) DO NOTHING"
_FILE = "INSERT INTO papers VALUES (?, ?, ?) ON CONFLICT (kind, name) DO UPDATE SET body = excluded.body"
_LOG: dict[About, str] = {
    "": "SELECT number, at, body FROM log WHERE number > ? ORDER BY number LIMIT ?",
    "host": "SELECT number, at, body FROM log WHERE host <> '' AND host = ? AND number > ? ORDER BY number LIMIT ?",
    "rollout": "SELECT number, at, body FROM log WHERE rollout <> '' AND rollout = ? AND number > ?"
    " ORDER BY number LIMIT ?",
}
_SEATED = "UPDATE head SET seat = ?, holder = ?, beat = ? WHERE seat = ? AND beat = ? AND holder = ? RETURNING one"
_EVENT: msgspec.json.Decoder[events.Event] = msgspec.json.Decoder(events.Event)
_SAVED = msgspec.json.Decoder(Saved)


class Cursor(Protocol):
    """What a statement found."""

    def fetchone(self) -> Any:
        """The next row, or None."""

    def fetchall(self) -> list[Any]:
        """All rows."""


class Session(Protocol):
    """A transaction of a database."""

    def execute(self, statement: str, values: tuple[Any, ...] = ()) -> Cursor:
        """Run a statement."""


class Writing:
    """`store.Transaction` in SQL. `number` and `log_from` are written when it ends."""

    def __init__(self, session: Session, number: int, log_from: int) -> None:
        self._session = session
        self.number, self.log_from = number, log_from

    def append(self, record: Record) -> None:
        """See `store.Transaction`."""
        if record.number != self.number + 1:
            raise Conflicted.of(f"record {record.number} cannot follow {self.number} in the log")
        host, rollout = subject(record.event)
        body = msgspec.json.encode(record.event).decode()
        self._session.execute("INSERT INTO log VALUES (?, ?, ?, ?, ?)", (record.number, record.at, host, rollout, body))
        self.number = record.number
        self.log_from = self.log_from if record.number > 1 else record.at

    def put(self, kind: Kind, name: str, row: Row) -> None:
        """See `store.Transaction`."""
        self._session.execute(_PUT, (kind.value, name, msgspec.json.encode(row).decode()))

    def keep(self, kind: Kind, name: str, row: Row) -> None:
        """See `store.Transaction`."""
        self._session.execute(_KEEP, (kind.value, name, msgspec.json.encode(row).decode()))

    def drop(self, kind: Kind, name: str) -> None:
        """See `store.Transaction`."""
        self._session.execute("DELETE FROM state WHERE kind = ? AND name = ?", (kind.value, name))

    def use_nonce(self, nonce: str, at: int, forget: int) -> None:
        """See `store.Transaction`."""
        self._session.execute("DELETE FROM nonces WHERE at < ?", (forget,))
        self._session.execute("INSERT INTO nonces VALUES (?, ?) ON CONFLICT (nonce) DO NOTHING", (nonce.encode(), at))

    def file(self, paper: Paper, name: str, data: bytes) -> None:
        """See `store.Transaction`."""
        self._session.execute(_FILE, (paper.value, name, data))

    def discard(self, paper: Paper, name: str) -> None:
        """See `store.Transaction`."""
        self._session.execute("DELETE FROM papers WHERE kind = ? AND name = ?", (paper.value, name))

    def cut(self, before: int) -> None:
        """See `store.Transaction`."""
        self.log_from = before
        body = msgspec.json.encode(read(self._session, self.number, self.log_from))
        self._session.execute(
            "INSERT INTO snapshot VALUES (1, ?) ON CONFLICT (one) DO UPDATE SET body = excluded.body", (body,)
        )
        self._session.execute("DELETE FROM log WHERE at < ?", (before,))


class SqlStore(ABC):
    """`store.Store` in SQL. A backend says how a session begins and ends, and how it reads the head to change it."""

    HEAD = "SELECT number, log_from, seat, holder FROM head"

    @abstractmethod
    def writing(self) -> AbstractContextManager[Session]:
        """A session whose changes are durable when it is left, and undone when that is by an error. Raises Failed."""

    @abstractmethod
    def reading(self) -> AbstractContextManager[Session]:
        """A session that sees one moment. Raises Failed."""

    @abstractmethod
    def close(self) -> None:
        """End."""

    @contextmanager
    def transaction(self, seat: int) -> Iterator[Writing]:
        """See `store.Store`."""
        with self.writing() as session:
            number, log_from, found, holder = session.execute(self.HEAD).fetchone()
            if found != seat:
                raise Fenced.of("another server plans", why=f"seat {found} is held by {holder or 'nobody'}, not {seat}")
            writing = Writing(session, number, log_from)
            yield writing
            session.execute("UPDATE head SET number = ?, log_from = ?", (writing.number, writing.log_from))

    def load(self) -> Saved:
        """See `store.Store`."""
        with self.reading() as session:
            number, log_from = session.execute("SELECT number, log_from FROM head").fetchone()
            return read(session, number, log_from)

    def base(self) -> Saved:
        """See `store.Store`."""
        with self.reading() as session:
            row = session.execute("SELECT body FROM snapshot").fetchone()
        return Saved() if row is None else _SAVED.decode(row[0])

    def log(self, after: int, most: int = ROWS, *, about: About = "", name: str = "") -> list[Record]:
        """See `store.Store`."""
        values = (name, after, most) if about else (after, most)
        with self.reading() as session:
            rows = session.execute(_LOG[about], values).fetchall()
        return [Record(number, at, _EVENT.decode(body)) for number, at, body in rows]

    def outbox(self, host: str) -> Dispatch | None:
        """See `store.Store`."""
        with self.reading() as session:
            asked = (Kind.OUTBOX.value, host)
            row = session.execute("SELECT body FROM state WHERE kind = ? AND name = ?", asked).fetchone()
        return None if row is None else msgspec.json.decode(row[0], type=Dispatch)

    def put_paper(self, paper: Paper, name: str, data: bytes) -> None:
        """See `store.Store`."""
        with self.writing() as session:
            session.execute(_FILE, (paper.value, name, data))

    def paper(self, paper: Paper, name: str) -> bytes | None:
        """See `store.Store`."""
        with self.reading() as session:
            asked = (paper.value, name)
            row = session.execute("SELECT body FROM papers WHERE kind = ? AND name = ?", asked).fetchone()
        return None if row is None else bytes(row[0])

    def papers(self, paper: Paper) -> dict[str, bytes]:
        """See `store.Store`."""
        with self.reading() as session:
            rows = session.execute("SELECT name, body FROM papers WHERE kind = ? ORDER BY name", (paper.value,))
            return {name: bytes(body) for name, body in rows.fetchall()}

    def seat(self) -> Seat:
        """See `store.Store`."""
        with self.reading() as session:
            return Seat(*session.execute("SELECT seat, holder, beat FROM head").fetchone())

    def sit(self, seen: Seat, holder: str) -> Seat | None:
        """See `store.Store`."""
        return self._seated(seen, Seat(seen.number + 1, holder, 0))

    def beat(self, seat: Seat) -> Seat | None:
        """See `store.Store`."""
        return self._seated(seat, Seat(seat.number, seat.holder, seat.beat + 1))

    def leave(self, seat: Seat) -> None:
        """See `store.Store`."""
        with self.writing() as session:
            session.execute("UPDATE head SET holder = '' WHERE seat = ?", (seat.number,))

    def _seated(self, seen: Seat, new: Seat) -> Seat | None:
        values = (new.number, new.holder, new.beat, seen.number, seen.beat, seen.holder)
        with self.writing() as session:
            return None if session.execute(_SEATED, values).fetchone() is None else new


def subject(event: events.Event) -> tuple[str, str]:
    """The host and the rollout that an event is about, "" for none."""
    said: object
    match event:
        case events.Report():
            return event.host, getattr(event.event, "rollout", "")
        case events.Command():
            said = event.verb
        case events.Noted(events.Planned(action)):
            said = action
        case events.Noted(note):
            said = note
    return getattr(said, "host", ""), getattr(said, "rollout", "")


def read(session: Session, number: int, log_from: int) -> Saved:
    """The state as the tables have it."""
    nonces = session.execute("SELECT nonce, at FROM nonces ORDER BY nonce").fetchall()
    return Saved(
        number=number,
        log_from=log_from,
        hosts=tuple(_rows(session, Kind.HOST, HostState).values()),
        rollouts=tuple(_rows(session, Kind.ROLLOUT, RolloutState).values()),
        channels=tuple(_rows(session, Kind.CHANNEL, ChannelState).values()),
        quarantined=tuple(_rows(session, Kind.QUARANTINE, Quarantined).values()),
        nonces={bytes(nonce).decode(): at for nonce, at in nonces},
        hinted=_rows(session, Kind.HINT, int),
        settings=_rows(session, Kind.SETTINGS, Settings).get("", Settings()),
    )


def _rows(session: Session, kind: Kind, form: type[T]) -> dict[str, T]:
    decode = msgspec.json.Decoder(form).decode
    found = session.execute("SELECT name, body FROM state WHERE kind = ? ORDER BY name", (kind.value,))
    return {name: decode(body) for name, body in found.fetchall()}
