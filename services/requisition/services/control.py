"""A service's Unix socket: only its owner and root may speak, one bounded request a connection, always an answer.

The wire is told in `stdlib/control.py`. A verb is an async function of the arguments; one that has more to say than
one thing is an async generator of items. Verbs name what the service has: none takes a command to run.
"""

import asyncio
import contextlib
import fcntl
import os
import socket
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from typing import Any

import msgspec

from requisition.schemas.diagnostic import BadInput, Conflicted, Diagnostic, Failed, Failure, Refused
from requisition.stdlib.control import MAX_REQUEST

Verb = Callable[[dict[str, Any]], Awaitable[Any] | AsyncGenerator[Any, None]]
_PATIENCE = 5.0
_AT_ONCE = 64
_PEER = struct.Struct("3i")  # struct ucred: pid, uid, gid (unix(7))


class Control:
    """The socket at `path`, in a folder of its owner's alone. `say` hears of requests that failed inside of us."""

    def __init__(self, path: str, verbs: Mapping[str, Verb], say: Callable[[str], None]) -> None:
        self.path = path
        self._verbs = verbs
        self._say = say
        self._lock = -1
        self._server: asyncio.Server | None = None
        self._visits: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Control":
        """Listen. Raises Conflicted when another process already does."""
        folder = os.path.dirname(self.path)
        os.makedirs(folder, mode=0o700, exist_ok=True)
        info = os.stat(folder)
        if info.st_uid != os.geteuid() or info.st_mode & 0o022:
            raise Refused.of("others may change the folder of the socket", where=folder, next=f"chmod 700 {folder}")
        self._lock = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._lock)
            raise Conflicted.of("the service is already running", where=self.path, next="stop it first") from error
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)  # of one that was killed: we hold its lock
        self._server = await asyncio.start_unix_server(self._begin, sock=_bound(self.path), limit=MAX_REQUEST)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Listen no more; who was being answered is cut off."""
        assert self._server is not None
        self._server.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        for visit in self._visits:
            visit.cancel()
        await asyncio.gather(*self._visits, return_exceptions=True)
        os.close(self._lock)

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visit = asyncio.ensure_future(self._visit(reader, writer))
        self._visits.add(visit)
        visit.add_done_callback(self._visits.discard)

    async def _visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its first byte until its last has gone or nobody takes it."""
        closed = False
        try:
            await self._answer(reader, writer)
            writer.close()
            async with asyncio.timeout(_PATIENCE):
                await writer.wait_closed()
            closed = True
        except (_Gone, ConnectionError, TimeoutError):
            pass  # nobody is left to tell
        finally:
            if not closed:  # asyncio fails to abort what was closed with much left to send
                writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self._admit(writer.get_extra_info("socket"))
            verb, args = await _request(reader)
            if verb not in self._verbs:
                raise BadInput.of(f"there is no verb {verb!r}", why=f"there are {', '.join(sorted(self._verbs))}")
            answer = self._verbs[verb](args)
            if isinstance(answer, AsyncGenerator):
                await _while_heard(reader, _send_all(writer, answer))
            else:
                await _send(writer, {"done": await answer})
        except Failure as error:
            await _send(writer, {"error": error.diagnostics[0], "exit": error.exit_code})
        except _Gone:
            raise
        except Exception as error:  # noqa: BLE001  (one request never ends the service; it is told and logged)
            self._say(f"a request failed: {error!r}")
            await _send(writer, {"error": Diagnostic(what=f"the service failed: {error!r}"), "exit": 1})

    def _admit(self, connection: socket.socket) -> None:
        if len(self._visits) > _AT_ONCE:
            raise Failed.of("too many are asking at once", next="try again")
        if _owner(connection) not in (0, os.geteuid()):
            raise Refused.of("this service is not yours", where=self.path)


class _Gone(Exception):
    """They went away, or do not read."""


class _Request(msgspec.Struct, frozen=True):
    verb: str
    args: dict[str, Any]


async def _request(reader: asyncio.StreamReader) -> tuple[str, dict[str, Any]]:
    try:
        async with asyncio.timeout(_PATIENCE):
            line = await reader.readuntil(b"\n")
        said = msgspec.json.decode(line, type=_Request)
    except asyncio.LimitOverrunError as error:
        raise BadInput.of(f"a request has at most {MAX_REQUEST} bytes") from error
    except ConnectionError as error:
        raise _Gone from error
    except TimeoutError as error:
        raise BadInput.of(f"a request comes within {_PATIENCE:g} s") from error
    except (asyncio.IncompleteReadError, msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadInput.of('a request is {"verb": …, "args": {…}}, one line of JSON', why=str(error)) from error
    return said.verb, said.args


async def _while_heard(reader: asyncio.StreamReader, telling: Coroutine[Any, Any, None]) -> None:
    """Tell until all is told, or until the other side has hung up: a stream may have nothing to say for hours."""
    told, gone = asyncio.ensure_future(telling), asyncio.ensure_future(reader.read(1))
    try:
        await asyncio.wait((told, gone), return_when=asyncio.FIRST_COMPLETED)
        if told.done():
            await told
    finally:
        for task in (told, gone):
            task.cancel()
        await asyncio.gather(told, gone, return_exceptions=True)


async def _send_all(writer: asyncio.StreamWriter, items: AsyncGenerator[Any, None]) -> None:
    async with contextlib.aclosing(items):
        async for item in items:
            await _send(writer, {"item": item})
    await _send(writer, {"done": None})


async def _send(writer: asyncio.StreamWriter, answer: dict[str, Any]) -> None:
    writer.write(msgspec.json.encode(answer) + b"\n")
    try:
        async with asyncio.timeout(_PATIENCE):
            await writer.drain()
    except (ConnectionError, TimeoutError) as error:
        raise _Gone from error


def _bound(path: str) -> socket.socket:
    """A socket that nobody else could connect to at any moment: its mode is set before it listens."""
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(path)
        os.chmod(path, 0o600)
    except OSError as error:
        listener.close()
        raise Failed.of("the socket cannot be made", where=path, why=error.strerror or str(error)) from error
    listener.settimeout(0)
    return listener


def _owner(connection: socket.socket) -> int:
    """The user at the other end, as the kernel says: SO_PEERCRED of unix(7); LOCAL_PEERCRED of macOS."""
    if hasattr(socket, "SO_PEERCRED"):
        return int(_PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))[1])
    version_and_owner = connection.getsockopt(0, 1, 8)
    return int(struct.unpack("2I", version_and_owner)[1])
