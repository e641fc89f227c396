"""`index.db`: opened, brought up to the receipts, asked; thrown away when it is not what it should be.

Everyone who asks holds `index.lock`, shared while the index is up to the receipts, else alone: so nobody reads what
another one is changing or throwing away, and what a killed process had begun SQLite takes back at the next opening.
"""

import fcntl
import gc
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import TypeVar

import msgspec

from requisition.review.history.inventory import Key, inventory
from requisition.runtime.layout import StateDir
from requisition.schemas.diagnostic import BadInput, Failed

T = TypeVar("T")
APPLICATION = 0x52514958  # "RQIX"
VERSION = 1
"""Raised with every change of `SCHEMA` or of what its rows mean."""

_CACHE_KIB = 65_536
_NOT_OURS = {
    sqlite3.SQLITE_FULL: "free space, then retry",
    sqlite3.SQLITE_IOERR: "look at the disk, and whether it is full",
    sqlite3.SQLITE_READONLY: "make it writable, or copy the state directory and name that with --state",
    sqlite3.SQLITE_CANTOPEN: "look at the permissions of the state directory",
    sqlite3.SQLITE_BUSY: "end the program that keeps it open",
}
"""What SQLite cannot do for a reason that another index would meet as well, and what can be done about it."""


class Worthless(Exception):
    """The file is no index of ours, or of another version; why."""


_DAMAGE = (Worthless, sqlite3.DatabaseError, msgspec.MsgspecError, LookupError, TypeError, ValueError)
"""What an index raises that is not whole: SQLite cannot read it, or what it reads is not what was written."""


def ask(
    state_dir: str,
    question: Callable[[sqlite3.Connection], T],
    *,
    say: Callable[[str], None] = lambda _: None,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> T:
    """What a question finds in the index of a state directory, once that is up to the receipts. `question` may be
    asked twice; it returns what it found, not a cursor. `say` hears when an index was thrown away, and that another
    command is waited for; `progress` how many of how many receipts were read. Raises BadInput where nothing can be
    written, Failed when the disk is full or another program keeps the index open."""
    if not os.path.isdir(state_dir):
        with closing(_opened(":memory:")) as connection:
            return question(connection)
    state = StateDir(state_dir)
    path = f"{state.path}/index.db"
    with _holding(f"{state.path}/index.lock", say) as exclusively:
        found = inventory(state.path)
        with suppress(*_DAMAGE), closing(_opened(path, make=False)) as connection:
            if _known(connection) == found:
                return question(connection)
        exclusively()
        try:
            return _brought_up(path, state.path, question, progress)
        except _DAMAGE as error:
            _mendable(error, path)
            _throw_away(path)
            say(f"the index of receipts was made anew: {error}")
        try:
            return _brought_up(path, state.path, question, progress)
        except sqlite3.OperationalError as error:
            _mendable(error, path)
            raise


def _brought_up(
    path: str,
    state_dir: str,
    question: Callable[[sqlite3.Connection], T],
    progress: Callable[[int, int], None],
) -> T:
    with closing(_opened(path)) as connection:
        found = inventory(state_dir)  # others may have indexed while we waited
        known = _known(connection)
        if known != found:
            from requisition.review.history.filling import Filling

            with _uncollected():
                connection.execute("BEGIN IMMEDIATE")
                Filling(connection, state_dir).bring_up(found, known, progress)
                connection.execute("COMMIT")
        return question(connection)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Rows are many small tuples, none of which is in a cycle: the collector would walk through them for nothing."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _opened(path: str, *, make: bool = True) -> sqlite3.Connection:
    """A connection to an index of this version. Raises Worthless when the file is something else or is missing."""
    if path != ":memory:":
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT if make else 0)
        try:
            os.close(os.open(path, flags, 0o600))
        except FileNotFoundError as error:
            raise Worthless("it is missing") from error
        except OSError as error:
            raise Worthless(f"it cannot be opened: {error.strerror}") from error
    connection = sqlite3.connect(path, isolation_level=None, cached_statements=64)
    try:
        for pragma in (f"cache_size=-{_CACHE_KIB}", "trusted_schema=OFF", "cell_size_check=ON", "temp_store=MEMORY"):
            connection.execute(f"PRAGMA {pragma}")
        ours = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
        if ours == [0, 0] and connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,):
            _lay_out(connection)
        elif ours[0] != APPLICATION:
            raise Worthless("it was not one of ours")
        elif ours[1] != VERSION:
            raise Worthless(f"it was of version {ours[1]}, and {VERSION} is wanted")
    except BaseException:
        connection.close()
        raise
    return connection


def _lay_out(connection: sqlite3.Connection) -> None:
    from requisition.review.history.filling import SCHEMA

    connection.execute("BEGIN IMMEDIATE")
    for statement in SCHEMA:
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id={APPLICATION}")
    connection.execute(f"PRAGMA user_version={VERSION}")
    connection.execute("COMMIT")


def _known(connection: sqlite3.Connection) -> dict[Key, str]:
    return {(host, run): stamp for host, run, stamp in connection.execute("SELECT host, run, stamp FROM runs")}


@contextmanager
def _holding(path: str, say: Callable[[str], None]) -> Iterator[Callable[[], None]]:
    """The lock, shared; what is given makes it exclusive. The kernel drops it with its holder."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise BadInput.of(
            f"the index of receipts cannot be kept: {error.strerror}",
            where=path,
            next="copy the state directory to where you can write, and name that with --state",
        ) from error
    try:
        _lock(fd, fcntl.LOCK_SH, say)
        yield lambda: _lock(fd, fcntl.LOCK_EX, say)
    finally:
        os.close(fd)


def _lock(fd: int, how: int, say: Callable[[str], None]) -> None:
    """Take it, waiting for those who hold it. Who makes a shared lock exclusive gives it up first."""
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError:
        say("another command is reading receipts; waiting for it")
        fcntl.flock(fd, how)


def _mendable(error: Exception, path: str) -> None:
    """Raises what another index would not mend."""
    if isinstance(error, sqlite3.ProgrammingError):
        raise error
    advice = _NOT_OURS.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
    if advice:
        raise Failed.of("the index of receipts cannot be kept", where=path, why=str(error), next=advice) from error


def _throw_away(path: str) -> None:
    for name in (path, f"{path}-journal"):
        try:
            os.unlink(name)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise BadInput.of(
                f"this is in the way of the index of receipts: {error.strerror}", where=name, next="move it away"
            ) from error
