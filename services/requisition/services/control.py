"""A service's Unix socket: only its owner and root may speak, one bounded request a connection, always an answer.

The wire is told in `stdlib/control.py`. A verb is an async function of the arguments; one that has more to say than
one thing is an async generator of items. Verbs name what the service has: none takes a command to run.
"""

import asyncio
import contextlib
import fcntl
import inspect
import json
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import msgspec

from requisition.schemas.diagnostic import BadInput, Conflicted, Diagnostic, Failed, Failure, Refused
from requisition.stdlib.control import MAX_REQUEST

Verb = Callable[[dict[str, Any]], Awaitable[Any] | AsyncIterator[Any]]
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
        self._open = 0

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
        self._server = await asyncio.start_unix_server(self._visit, sock=_bound(self.path), limit=MAX_REQUEST)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Listen no more; who was being answered is cut off."""
        assert self._server is not None
        self._server.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        os.close(self._lock)

    async def _visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            await self._answer(reader, writer)
        except (ConnectionError, TimeoutError):
            pass  # they went away, or do not read: nobody is left to tell
        finally:
            self._open -= 1
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self._admit(writer.get_extra_info("socket"))
            verb, args = await _request(reader)
            if verb not in self._verbs:
                raise BadInput.of(f"there is no verb {verb!r}", why=f"there are {', '.join(sorted(self._verbs))}")
            answer = self._verbs[verb](args)
            if inspect.isasyncgen(answer):
                async with contextlib.aclosing(answer):
                    async for item in answer:
                        await _send(writer, {"item": item})
                await _send(writer, {"done": None})
            else:
                await _send(writer, {"done": await answer})  # type: ignore[misc]
        except Failure as error:
            await _send(writer, {"error": error.diagnostics[0], "exit": error.exit_code})
        except (ConnectionError, TimeoutError):
            raise
        except Exception as error:  # noqa: BLE001  (one request never ends the service; it is told and logged)
            self._say(f"a request failed: {error!r}")
            await _send(writer, {"error": Diagnostic(what=f"the service failed: {error!r}"), "exit": 1})

    def _admit(self, connection: socket.socket) -> None:
        if self._open > _AT_ONCE:
            raise Failed.of("too many are asking at once", next="try again")
        if _owner(connection) not in (0, os.geteuid()):
            raise Refused.of("this service is not yours", where=self.path)


async def _request(reader: asyncio.StreamReader) -> tuple[str, dict[str, Any]]:
    try:
        line = await asyncio.wait_for(reader.readuntil(b"\n"), _PATIENCE)
        said = json.loads(line)
    except asyncio.LimitOverrunError as error:
        raise BadInput.of(f"a request has at most {MAX_REQUEST} bytes") from error
    except TimeoutError as error:
        raise BadInput.of(f"a request comes within {_PATIENCE:g} s") from error
    except (asyncio.IncompleteReadError, ValueError, RecursionError) as error:
        raise BadInput.of("a request is one line of JSON", why=str(error)) from error
    if not isinstance(said, dict) or not isinstance(said.get("verb"), str) or not isinstance(said.get("args"), dict):
        raise BadInput.of('a request is {"verb": …, "args": {…}}')
    return said["verb"], said["args"]


async def _send(writer: asyncio.StreamWriter, answer: dict[str, Any]) -> None:
    writer.write(msgspec.json.encode(answer) + b"\n")
    await asyncio.wait_for(writer.drain(), _PATIENCE)


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
