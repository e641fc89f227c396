"""The end of a run, told to whom it concerns: one POST of JSON, once, within ten seconds. What comes of it changes
nothing: a notification that fails is counted and logged by the supervisor, and the run is what it was.
"""

import asyncio
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ClassVar
from urllib.parse import urlsplit

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver, ResolveResult

from requisition.schemas.diagnostic import Failed
from requisition.services.clock import timestamp
from requisition.services.watch import refs
from requisition.services.watch.config import Notify, Watch
from requisition.services.watch.records import Run

_PATIENCE = aiohttp.ClientTimeout(total=10)
_LONGEST_URL = 4096
_NUMERIC = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV


async def tell(watch: Watch, run: Run, paused: str) -> None:
    """Tell of a run that ended; `paused`: why the watch was paused by it, "" when it was not. Raises Failed, naming the
    machines that were not told; their addresses are secrets."""
    events = _events(run, paused)
    wanted = [one for one in watch.notify if events.intersection(one.on)]
    body = msgspec.json.encode(message(run, paused))
    failures = [why for why in await asyncio.gather(*(_sent(one, body) for one in wanted)) if why]
    if failures:
        raise Failed.of("somebody could not be told", where=watch.name, why="; ".join(failures))


def message(run: Run, paused: str) -> dict[str, object]:
    """What is sent. Pure."""
    return {
        "version": "1",
        "text": " ".join(_sentence(run, paused)),
        "watch": run.watch,
        "ref": run.ref,
        "commit": run.hash,
        "run": run.id,
        "status": run.status,
        "step": run.step,
        "attempt": run.attempt,
        "reason": run.reason,
        "started": timestamp(run.started),
        "ended": timestamp(run.ended),
        "paused": paused,
    }


def _sentence(run: Run, paused: str) -> Iterator[str]:
    ended = "is applied" if run.status == "good" else run.status
    yield f"{run.watch}: {refs.short(run.ref)} at {run.hash[:12]} {ended}"
    if run.status != "good":
        yield f"at {run.step or 'the start'}: {run.reason}."
    if paused:
        yield f"The watch is paused: {paused}."


def _events(run: Run, paused: str) -> set[str]:
    return {"success" if run.status == "good" else "failure", *(["paused"] if paused else [])}


async def _sent(notify: Notify, body: bytes) -> str:
    """Send it; why it did not arrive, "" when it did. The address is told without its path, which may be a secret."""
    host = "an address that cannot be read"
    try:
        url = await asyncio.to_thread(_read, notify.url_file)
        host = _host(url)
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=_Names()), timeout=_PATIENCE) as session,
            session.post(url, data=body, headers={"Content-Type": "application/json"}, allow_redirects=False) as answer,
        ):
            return "" if 200 <= answer.status < 300 else f"{host} answers {answer.status}"
    except TimeoutError:
        return f"{host} does not answer within {_PATIENCE.total:g} s"
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return f"{host}: {type(error).__name__}"


class _Names(AbstractResolver):
    """Looks names up in threads of its own: one that no server answers for keeps its thread for half a minute, and the
    loop's other threads are needed by pipelines."""

    _threads: ClassVar = ThreadPoolExecutor(2, thread_name_prefix="names")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Addresses of a host."""
        look_up = partial(socket.getaddrinfo, host, port, family, socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._threads, look_up)
        return [
            ResolveResult(hostname=host, host=str(place[0]), port=port, family=kind, proto=proto, flags=_NUMERIC)
            for kind, _, proto, _, place in found
        ]

    async def close(self) -> None:
        """The threads stay for the next."""


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read(_LONGEST_URL + 1).strip()


def _host(url: str) -> str:
    """Raises ValueError for anything but an http or https address."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or len(url) > _LONGEST_URL:
        raise ValueError("no address")
    return parts.hostname
