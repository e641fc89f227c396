"""The fleet's store in a file of its own (SQLite): the embedded default, for one machine."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from requisition.schemas.diagnostic import Failed
from requisition.services.database import Database
from requisition.services.fleet.store_sql import SCHEMA, Session, SqlStore


class SqliteStore(SqlStore):
    """`store.Store` in a file."""

    def __init__(self, path: str) -> None:
        """Open or make the file. Raises BadInput for one that is no such database, or a newer one."""
        self._database = Database(path, [SCHEMA.format(bytes="BLOB")])

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """See `store_sql.SqlStore`."""
        with self._told(), self._database.transaction() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """See `store_sql.SqlStore`."""
        with self._told(), self._database.reading() as connection:
            yield connection

    def close(self) -> None:
        """See `store.Store`."""
        self._database.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise Failed.of("the fleet's database failed", where=self._database.path, why=str(error)) from error
