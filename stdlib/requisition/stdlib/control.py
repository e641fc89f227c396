"""How a service is spoken to: one request as a line of JSON over its Unix socket, an answer of one or more lines.

    → {"verb": "pause", "args": {"name": "web"}}
    ← {"item": …}        none or more
    ← {"done": …}        or {"error": {what, where, why, next}, "exit": 1}

This is the caller's side, for the command and for actions; the service's is `services/control.py`.
"""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any

from requisition.schemas.diagnostic import Diagnostic, Failed, Failure

MAX_REQUEST = 64 << 10
MAX_LINE = 16 << 20


def default_socket(service: str) -> str:
    """Where a service of this user listens: the system's folder for root, the user's own for others (XDG)."""
    if os.geteuid() == 0:
        return f"/run/requisition/{service}.sock"
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
    return os.path.join(runtime, "requisition", f"{service}.sock")


class Answered(Failure):
    """The service said no; its words, and the exit code that goes with them."""

    def __init__(self, finding: Diagnostic, code: int) -> None:
        super().__init__(finding)
        self.exit_code = code  # type: ignore[misc]


def ask(path: str, verb: str, args: dict[str, Any], *, timeout: float = 30) -> Any:
    """What the service answers. Raises Answered when it says no, Failed when nobody answers."""
    last = None
    for last in items(path, verb, args, timeout=timeout):  # noqa: B007  (the last one is the answer)
        pass
    return last


def items(path: str, verb: str, args: dict[str, Any], *, timeout: float | None = None) -> Iterator[Any]:
    """Each item as it comes, then what the service is done with. `timeout`: seconds of silence, None for ever."""
    line = json.dumps({"verb": verb, "args": args}).encode() + b"\n"
    if len(line) > MAX_REQUEST:
        raise Failed.of(f"a request has at most {MAX_REQUEST} bytes", next="say less")
    with closing(_connected(path, timeout)) as connection:
        try:
            with suppress(BrokenPipeError):  # it hung up before it heard all: it may have said why
                connection.sendall(line)
            for answer in _lines(connection):
                said = json.loads(answer)
                if "item" in said:
                    yield said["item"]
                    continue
                if "error" in said:
                    raise Answered(Diagnostic(**said["error"]), int(said["exit"]))
                yield said["done"]
                return
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise Failed.of("the service broke off", where=path, why=str(error), next="look at its log") from error
    raise Failed.of("the service broke off", where=path, why="it ended before it answered", next="look at its log")


def _connected(path: str, timeout: float | None) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(timeout)
    try:
        owner = os.stat(path).st_uid
        if owner not in (0, os.geteuid()):
            raise PermissionError(0, f"it belongs to user {owner}: not to be trusted")
        connection.connect(path)
    except OSError as error:
        connection.close()
        raise Failed.of(
            "the service does not answer", where=path, why=error.strerror or str(error), next="is it running?"
        ) from error
    return connection


def _lines(connection: socket.socket) -> Iterator[bytes]:
    with connection.makefile("rb") as stream:
        while line := stream.readline(MAX_LINE + 1):
            if len(line) > MAX_LINE or not line.endswith(b"\n"):
                raise ValueError("its answer is cut off or too long")
            yield line
