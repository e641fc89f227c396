"""The agent put together: from its settings and a link to a server, to the end of the process."""

import asyncio
import contextlib
import fcntl
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from secrets import SystemRandom, token_hex

from msgspec import Struct

from requisition.schemas.diagnostic import Conflicted, Failure, Refused
from requisition.schemas.gnupg import CannotSign
from requisition.schemas.signing import Signer, load_signer
from requisition.services import systemd
from requisition.services.clock import Clock, boot
from requisition.services.fleet.agent.cache import Cache
from requisition.services.fleet.agent.config import Settings, load_fleet_trust
from requisition.services.fleet.agent.exchange import Courier
from requisition.services.fleet.agent.link import Link
from requisition.services.fleet.agent.orders import Orders
from requisition.services.fleet.agent.probes import Seer
from requisition.services.fleet.agent.runtime import Runtime
from requisition.services.fleet.agent.shell import Shell
from requisition.services.fleet.agent.spool import Spool
from requisition.services.fleet.agent_state import AgentState

Say = Callable[[str], None]
_BREATH = 0.1
"""Seconds between two questions at the least, whatever is answered."""


class World(Struct, frozen=True):
    """What the agent takes from outside: the time, which start of the machine this is, chance in [0, 1), a name for a
    new series of reports."""

    clock: Clock
    boot: str
    chance: Callable[[], float]
    stream: Callable[[], str]


class Agent(Struct, frozen=True):
    """A host that was started, and its way to a server."""

    shell: Shell
    courier: Courier
    spool: Spool


def real_world() -> World:
    """This machine's. Its time goes on while it sleeps, where the system has such a clock (clock_gettime(2))."""
    awake = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return World(Clock(elapsed=lambda: time.clock_gettime(awake)), boot(), SystemRandom().random, lambda: token_hex(8))


def run(settings: Settings, link: Link, say: Say) -> None:
    """Be the agent until TERM or INT. Raises Conflicted when one is at work already, and for settings that cannot be
    used BadInput or CannotSign."""
    signer = load_signer(settings.key, _no_passphrase)
    asyncio.run(_until_told(settings, link, signer, say))


def _no_passphrase(name: str) -> bytes:
    raise CannotSign.of("the agent's key has a passphrase", where=name, next="make it a key without one")


async def _until_told(settings: Settings, link: Link, signer: Signer, say: Say) -> None:
    stop, world = asyncio.Event(), real_world()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    life = asyncio.ensure_future(systemd.show_life(patience / 3)) if (patience := systemd.patience()) else None
    try:
        async with opened(settings, link, signer, world, say) as agent:
            systemd.tell("READY=1")
            await serve(agent, settings.poll, world.chance, stop, say)
            systemd.tell("STOPPING=1")
    finally:
        if life is not None:
            life.cancel()


@asynccontextmanager
async def opened(settings: Settings, link: Link, signer: Signer, world: World, say: Say) -> AsyncIterator[Agent]:
    """The agent, gone on from where it was; on leaving, what is under way is ended. Raises Conflicted when another has
    its state, Refused when others may write there."""
    with _alone(settings.state):
        spool = Spool(f"{settings.state}/spool.db", AgentState(host=settings.host, stream=""))
        cache = Cache(f"{settings.state}/cache", settings.largest)
        orders = Orders(
            Runtime(settings.runtime_state),
            cache,
            spool,
            root=settings.root,
            trust=settings.orders,
            secrets=settings.secrets,
            mark=settings.restart_mark,
        )
        shell = Shell(spool, orders, signer, Seer(orders.drift), world.clock, world.boot, say)
        courier = Courier(shell, spool, cache, link, lambda: load_fleet_trust(settings.trust), say)
        try:
            await shell.start(world.stream())
            yield Agent(shell, courier, spool)
        finally:
            await courier.close()
            await shell.close()
            spool.close()


async def serve(agent: Agent, poll: float, chance: Callable[[], float], stop: asyncio.Event, say: Say) -> None:
    """Ask at least each `poll` seconds, and at once when there is news, until `stop`. Who does not answer is asked
    after ever longer pauses, so that a server that comes back is not asked by all at once."""
    failures, last = 0, ""
    while not stop.is_set():
        agent.shell.news.clear()
        try:
            if await agent.courier.round():
                agent.shell.news.set()
            failures, complaint = 0, ""
        except Failure as failure:
            failures, complaint = failures + 1, str(failure.diagnostics[0].what)
            agent.shell.counts["rounds_failed"] += 1
        if complaint != last:
            say(complaint or "the server answers again")
            last = complaint
        if failures:
            await _first(min(poll, 2.0 ** min(failures, 16)) * (0.5 + chance()), stop)
        else:
            await _first(_BREATH, stop)
            await _first(poll * (0.9 + 0.2 * chance()), stop, agent.shell.news)


async def _first(seconds: float, *events: asyncio.Event) -> None:
    """Wait for one of them, or until the time is over."""
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


@contextlib.contextmanager
def _alone(folder: str) -> Iterator[None]:
    os.makedirs(folder, mode=0o700, exist_ok=True)
    info = os.stat(folder)
    if info.st_uid != os.geteuid() or info.st_mode & 0o022:
        raise Refused.of("others may change the agent's state", where=folder, next=f"chmod 700 {folder}")
    lock = os.open(f"{folder}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Conflicted.of("an agent is already at work", where=folder, next="stop it first") from error
        yield
    finally:
        os.close(lock)
