"""`plan watch run`: the supervisor, and the doors by which others reach it, in one process."""

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random
from socket import AF_UNIX, SOCK_DGRAM
from socket import socket as Socket  # noqa: N812  (`socket` is the path of ours here)

from aiohttp import web

from requisition.services.clock import Clock
from requisition.services.control import Control
from requisition.services.watch import metrics, notify
from requisition.services.watch.requests import verbs
from requisition.services.watch.state import State
from requisition.services.watch.supervisor import Settings, Supervisor
from requisition.services.watch.webhook import Hooks
from requisition.services.web import application, listen


async def serve(
    state: State,
    settings: Settings,
    *,
    socket: str,
    say: Callable[[str], None],
    stop: asyncio.Event,
    clock: Clock = Clock(),  # noqa: B008  (immutable)
) -> None:
    """Work until `stop` is set, or somebody says so at the socket. Raises Conflicted when a daemon listens already."""
    supervisor = Supervisor(state, settings, clock, Random(), say, notify.tell)  # noqa: S311  (spreads polls in time)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(Control(socket, verbs(supervisor), say))
        for address, routes in _sites(supervisor, settings, clock, say):
            await stack.enter_async_context(_site(address, routes))
            say(f"listening at http://{address}/")
        work = asyncio.ensure_future(supervisor.run())
        stopping = asyncio.ensure_future(stop.wait())
        say(f"at work; watches in watch.yaml: {len(settings.config.watches)}; socket {socket}")
        gc.freeze()  # what is loaded stays: to look through all of it now and then would take tens of milliseconds
        tell_systemd("READY=1")
        await asyncio.wait((work, stopping), return_when=asyncio.FIRST_COMPLETED)
        tell_systemd("STOPPING=1")
        supervisor.stop()
        stopping.cancel()
        await work


def _sites(
    supervisor: Supervisor, settings: Settings, clock: Clock, say: Callable[[str], None]
) -> list[tuple[str, list[web.RouteDef]]]:
    """What is served where: webhooks and metrics, at one address when both are asked for at the same."""
    config, sites = settings.config, dict[str, list[web.RouteDef]]()
    hooks = Hooks(supervisor, config.webhook_secret, clock, say) if config.listen else None
    if hooks:
        sites.setdefault(config.listen, []).extend(hooks.routes())
    if config.metrics:
        sites.setdefault(config.metrics, []).extend(metrics.routes(supervisor, hooks))
    return list(sites.items())


@asynccontextmanager
async def _site(address: str, routes: list[web.RouteDef]) -> AsyncIterator[None]:
    runner = await listen(application(routes), address)
    try:
        yield
    finally:
        await runner.cleanup()


def tell_systemd(message: str) -> None:
    """Say how far we are, if we were started by systemd and it listens (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return
    with Socket(AF_UNIX, SOCK_DGRAM) as channel:
        try:
            channel.connect(address.replace("@", "\0", 1) if address[0] == "@" else address)
            channel.sendall(message.encode())
        except OSError:
            pass  # nobody listens: it is not our work that fails
