"""A service's SQLite database: durable when a transaction returns, shared by processes, migrated when opened.

WAL with `synchronous=FULL`: a commit is on the disk before anyone hears of it, readers never wait for writers.
"""

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from requisition.schemas.diagnostic import BadInput, Failed

T = TypeVar("T")
_BUSY_SECONDS = 10.0


class Database:
    """One connection, used by one thread at a time."""

    def __init__(self, path: str, migrations: Sequence[str]) -> None:
        """Open or make the file (mode 0600) and bring it to its present form: script i of `migrations` leads from
        version i to i+1. Raises BadInput for a database of a newer version or one that is none."""
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        self.path = path
        self._turn = threading.RLock()
        self._connection = sqlite3.connect(
            path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        self._connection.row_factory = sqlite3.Row
        try:
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "trusted_schema=OFF"):
                self._connection.execute(f"PRAGMA {pragma}")
            self._migrate(migrations)
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise BadInput.of(
                "this database cannot be read", where=path, why=str(error), next="move it away to begin anew"
            ) from error
        except BaseException:
            self._connection.close()
            raise

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A block whose changes all happen, durably, or not at all. Other writers wait. Raises Failed when the disk
        is full or another process keeps the database for longer than ten seconds."""
        with self._turn:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield self._connection
                except BaseException:
                    self._connection.execute("ROLLBACK")
                    raise
                self._connection.execute("COMMIT")
            except sqlite3.OperationalError as error:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise Failed.of(
                    "the change could not be recorded", where=self.path, why=str(error), next="free space, then retry"
                ) from error

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A block that sees one moment of the database; waits for no writer."""
        with self._turn:
            nested = self._connection.in_transaction
            if not nested:
                self._connection.execute("BEGIN")
            try:
                yield self._connection
            finally:
                if not nested:
                    self._connection.execute("ROLLBACK")

    def close(self) -> None:
        """End; the write-ahead log is folded into the file."""
        with self._turn:
            self._connection.close()

    def _migrate(self, migrations: Sequence[str]) -> None:
        if self._connection.execute("PRAGMA user_version").fetchone()[0] == len(migrations):
            return  # the usual case: whoever opens it to look does not wait for who writes
        with self.transaction() as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version > len(migrations):
                raise BadInput.of(
                    f"this database has version {version}; this program knows {len(migrations)}",
                    where=self.path,
                    next="use a newer requisition",
                )
            for script in migrations[version:]:
                for statement in filter(str.strip, script.split(";\n")):
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version={len(migrations)}")


class Desk:
    """A database at which an asyncio loop works without waiting for the disk: one thread, in the order asked."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="database")

    async def write(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """The change as one transaction; durable when this returns."""

        def work() -> T:
            with self.database.transaction() as connection:
                return change(connection)

        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def read(self, look: Callable[[sqlite3.Connection], T]) -> T:
        """What a function finds, all of one moment."""

        def work() -> T:
            with self.database.reading() as connection:
                return look(connection)

        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def close(self) -> None:
        """Do what was asked, then end."""
        self._thread.shutdown(wait=True)
        self.database.close()
