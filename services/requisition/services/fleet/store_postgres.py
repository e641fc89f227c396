"""The fleet's store in PostgreSQL: for several servers, of which one plans. Needs psycopg 3 (the extra `fleet`).

Nothing of the connection's address but host and name of the database is ever told: there may be a password in it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple

import psycopg
from psycopg import conninfo

from requisition.schemas.diagnostic import BadInput, Failed
from requisition.services.fleet.store_sql import SCHEMA, Cursor, Session, SqlStore

_MIGRATIONS = (SCHEMA.format(bytes="BYTEA"),)
_MIGRATING = 7_270_406_102
"""Key of the advisory lock under which tables are made."""
_SETTINGS = {
    "lock_timeout": "10s",
    "statement_timeout": "60s",
    "idle_in_transaction_session_timeout": "5s",  # who hangs within a transaction keeps no other server out
    "search_path": "requisition_fleet",
    "default_transaction_isolation": "read committed",
}
_DURABLE = "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
"""A commit is on the disk before anyone hears of it."""
_CONNECTION = {"connect_timeout": 10, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}


class _Session(NamedTuple):
    """A transaction of a connection, with the placeholders that psycopg wants."""

    connection: psycopg.Connection[Any]

    def execute(self, statement: str, values: tuple[Any, ...] = ()) -> Cursor:
        """Run a statement."""
        return self.connection.execute(_query(statement), values)


@lru_cache(64)
def _query(statement: str) -> bytes:
    return statement.replace("?", "%s").encode()


class PostgresStore(SqlStore):
    """`store.Store` in the schema `requisition_fleet` of a database, which is made where there is none. One connection;
    when it breaks, the transaction under way fails, and the next one has a new one."""

    HEAD = SqlStore.HEAD + " FOR UPDATE"

    def __init__(self, address: str) -> None:
        """`address`: a libpq connection string or URI. Raises BadInput for one that is none, or a database that is
        newer; Failed when nobody is there."""
        try:
            known = conninfo.conninfo_to_dict(address)
        except psycopg.Error as error:
            raise BadInput.of("the address of the database cannot be read", next="see libpq, 34.1.1") from error
        self._address = conninfo.make_conninfo(address, **{k: v for k, v in _CONNECTION.items() if k not in known})
        self._where = f"postgresql {known.get('host', '')}/{known.get('dbname', '')}"
        self._connection: psycopg.Connection[Any] | None = None
        with self._told():
            self._migrate()

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """See `store_sql.SqlStore`. Statement by statement and not as a pipeline: in the middle of one no time-out of
        the server ends a session whose client has stopped, and it keeps the head locked."""
        with self._told():
            connection = self._open()
            with connection.transaction():
                yield _Session(connection)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """See `store_sql.SqlStore`."""
        with self._told():
            connection = self._open()
            with connection.transaction():
                connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
                yield _Session(connection)

    def close(self) -> None:
        """See `store.Store`."""
        if self._connection is not None:
            self._connection.close()

    def _open(self) -> psycopg.Connection[Any]:
        if self._connection is None or self._connection.closed or self._connection.broken:
            connection = psycopg.connect(self._address, autocommit=True)
            for name, value in _SETTINGS.items():
                connection.execute("SELECT set_config(%s, %s, false)", (name, value))
            connection.execute(_DURABLE)
            self._connection = connection
        return self._connection

    def _migrate(self) -> None:
        connection = self._open()
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_MIGRATING,))
            connection.execute("CREATE SCHEMA IF NOT EXISTS requisition_fleet")
            connection.execute("CREATE TABLE IF NOT EXISTS version (number BIGINT NOT NULL)")
            row = connection.execute("SELECT number FROM version").fetchone()
            version = 0 if row is None else row[0]
            if version > len(_MIGRATIONS):
                raise BadInput.of(
                    f"this database has version {version}; this program knows {len(_MIGRATIONS)}",
                    where=self._where,
                    next="use a newer requisition",
                )
            for script in _MIGRATIONS[version:]:
                connection.execute(script)
            if version < len(_MIGRATIONS):
                connection.execute("DELETE FROM version")
                connection.execute("INSERT INTO version VALUES (%s)", (len(_MIGRATIONS),))

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            why = (error.diag.message_primary or str(error)).strip()
            raise Failed.of("the fleet's database failed", where=self._where, why=why) from error
