"""Looking at the machine: the four kinds of probes, and who looks at them when.

A probe that cannot be looked at has failed, and says so. Nothing of what it prints goes further than a line of reason.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from urllib.parse import urlsplit

from msgspec import Struct

from requisition.schemas.diagnostic import Failed, Failure
from requisition.services import processes
from requisition.services.fleet.agent_state import ProbeSeen
from requisition.services.fleet.rollout import Probe
from requisition.services.processes import Ended, Limits

_MOST_HEAD = 16 << 10
_SHOWN = 200
_OFTENEST = 10
_ENVIRONMENT = MappingProxyType(
    {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/"}
)


class Seer(Struct, frozen=True):
    """How this machine is looked at. `drift` says how it differs from its receipts; `environment` is that of commands,
    and says where systemctl is."""

    drift: Callable[[], Awaitable[str]]
    environment: Mapping[str, str] = _ENVIRONMENT

    async def look(self, probe: Probe) -> ProbeSeen:
        """Look once, for no longer than the probe may take."""
        try:
            async with asyncio.timeout(probe.timeout / 1000):
                reason = await self._reason(probe)
        except TimeoutError:
            reason = f"it took longer than {probe.timeout / 1000:g} s"
        except Exception as error:  # noqa: BLE001  (whatever is wrong with it, it did not pass)
            reason = str(error.diagnostics[0].what if isinstance(error, Failure) else error) or type(error).__name__
        return ProbeSeen(probe.name, not reason, " ".join(reason.split())[:_SHOWN])

    async def _reason(self, probe: Probe) -> str:
        """Why it fails; "" when it passes."""
        match probe.kind:
            case "command":
                return _why(await self._run(probe.command))
            case "http":
                found = await _status(probe.url)
                return "" if found == probe.expect else f"{probe.url} answers {found}, not {probe.expect}"
            case "units":
                return await self._units(probe.units)
            case "drift":
                return await self.drift()

    async def _units(self, units: tuple[str, ...]) -> str:
        """systemctl(1): `is-active` prints a line a unit; its exit code is good when one of them is active."""
        ended = await self._run(("systemctl", "is-active", "--", *units))
        states = ended.out.decode("utf-8", "replace").splitlines()
        if len(states) != len(units):
            return _why(ended) or "systemctl did not tell of every unit"
        bad = [f"{unit} is {state}" for unit, state in zip(units, states, strict=True) if state != "active"]
        return ", ".join(bad)

    async def _run(self, argv: tuple[str, ...]) -> Ended:
        return await processes.run(argv, env=self.environment, limits=Limits(grace=1))


class Prober:
    """Looks at probes, each at once and then each `every`; `tell` hears what was seen."""

    def __init__(
        self, look: Callable[[Probe], Awaitable[ProbeSeen]], tell: Callable[[ProbeSeen], Awaitable[None]]
    ) -> None:
        self._look, self._tell = look, tell
        self._tasks: dict[Probe, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def start(self, probes: tuple[Probe, ...]) -> None:
        """Look at these and no others. What is looked at already goes on."""
        self._end(lambda probe: probe not in probes)
        for probe in probes:
            if probe not in self._tasks:
                self._tasks[probe] = asyncio.ensure_future(self._watch(probe))

    def stop(self) -> None:
        """Look at nothing."""
        self._end(lambda _: True)

    async def close(self) -> None:
        """Stop, and wait until nothing of it is left."""
        self.stop()
        await asyncio.gather(*self._ending, return_exceptions=True)

    def _end(self, which: Callable[[Probe], bool]) -> None:
        for probe in [probe for probe in self._tasks if which(probe)]:
            task = self._tasks.pop(probe)
            task.cancel()
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def _watch(self, probe: Probe) -> None:
        while True:
            await self._tell(await self._look(probe))
            await asyncio.sleep(max(probe.every, _OFTENEST) / 1000)


async def _status(url: str) -> int:
    """The status of a GET, of a server that is believed nothing else. Raises OSError, ValueError, Failed."""
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Failed.of(f"{url} is no address of http")
    context = ssl.create_default_context() if secure else None
    reader, writer = await asyncio.open_connection(
        parts.hostname, parts.port or (443 if secure else 80), ssl=context, limit=_MOST_HEAD
    )
    try:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        host = parts.netloc.rpartition("@")[2]
        head = ("User-Agent: requisition", "Accept: */*", "Connection: close", "", "")
        writer.write("\r\n".join((f"GET {path} HTTP/1.1", f"Host: {host}", *head)).encode("ascii"))
        await writer.drain()
        words = (await reader.readline()).split(None, 2)
        if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
            raise Failed.of(f"{url} does not answer in HTTP")
        return int(words[1])
    finally:
        writer.close()


def _why(ended: Ended) -> str:
    if ended.good:
        return ""
    last = (ended.err or ended.out).decode("utf-8", "replace").strip().rpartition("\n")[2]
    how = f"signal {-ended.status}" if ended.status < 0 else f"exit {ended.status}"
    return f"{how}: {last}" if last else how
