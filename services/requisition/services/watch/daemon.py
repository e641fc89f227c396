"""`plan watch run`: the supervisor, and the doors by which others reach it, in one process."""

import asyncio
import gc
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random

from aiohttp import web

from requisition.schemas.diagnostic import Failure
from requisition.services import systemd
from requisition.services.clock import Clock
from requisition.services.control import Control
from requisition.services.watch import metrics, notify
from requisition.services.watch.config import Config
from requisition.services.watch.requests import Nothing, Requests, verbs
from requisition.services.watch.state import State
from requisition.services.watch.supervisor import Settings, Supervisor
from requisition.services.watch.webhook import Hooks
from requisition.services.web import LOOPBACK, application, is_loopback, listen


async def serve(
    state: State,
    settings: Settings,
    *,
    socket: str,
    say: Callable[[str], None],
    reread: Callable[[], Config],
    clock: Clock = Clock(),  # noqa: B008  (immutable)
) -> None:
    """Work until told to end, by TERM, INT or at the socket; HUP, too, has watch.yaml read anew, by `reread`. Raises
    Conflicted when a daemon listens or works already."""
    supervisor = Supervisor(state, settings, clock, Random(), say, notify.tell)  # noqa: S311  (spreads polls in time)
    requests = Requests(supervisor, reread)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(Control(socket, verbs(requests), say))
        work = await stack.enter_async_context(_begun(supervisor))
        for address, site in _sites(supervisor, settings.config, clock, say).items():
            await stack.enter_async_context(_served(address, site))
            say(f"listening at http://{address}/")
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, supervisor.stop)
        hangups = asyncio.Event()
        loop.add_signal_handler(signal.SIGHUP, hangups.set)
        again = asyncio.ensure_future(_reload_each_time(hangups, requests, say))
        stack.callback(again.cancel)
        if patience := systemd.patience():
            stack.callback(asyncio.ensure_future(systemd.show_life(patience / 3)).cancel)
        say(f"at work; watches in watch.yaml: {len(settings.config.watches)}; socket {socket}")
        gc.freeze()  # what is loaded stays: to look through all of it now and then would take tens of milliseconds
        systemd.tell("READY=1")
        await asyncio.wait((work,))
        systemd.tell("STOPPING=1")


@asynccontextmanager
async def _begun(supervisor: Supervisor) -> AsyncIterator[asyncio.Task[None]]:
    """The supervisor at work, from when it knows its watches; on leaving, what it began is ended first."""
    work = asyncio.ensure_future(supervisor.run())
    begun = asyncio.ensure_future(supervisor.started.wait())
    await asyncio.wait((work, begun), return_when=asyncio.FIRST_COMPLETED)
    begun.cancel()
    if work.done():
        work.result()
    try:
        yield work
    finally:
        supervisor.stop()
        await work


async def _reload_each_time(hangups: asyncio.Event, requests: Requests, say: Callable[[str], None]) -> None:
    while await hangups.wait():
        hangups.clear()
        try:
            changed = await requests.reload(Nothing())
            say(f"watch.yaml is read anew: {', '.join(changed) or 'nothing changed'}")
        except Failure as error:
            say(f"watch.yaml stays as it was read before: {error}")


def _sites(
    supervisor: Supervisor, config: Config, clock: Clock, say: Callable[[str], None]
) -> dict[str, web.Application]:
    """What is served where: webhooks and metrics, at one address when both are asked for at the same. Webhooks come
    through a proxy that has names of its own; metrics of this machine only are asked for by its own names."""
    routes: dict[str, list[web.RouteDef]] = {}
    hooks = Hooks(supervisor, config.webhook_secret, clock, say) if config.listen else None
    if hooks:
        routes.setdefault(config.listen, []).extend(hooks.routes())
    if config.metrics:
        routes.setdefault(config.metrics, []).extend(metrics.routes(supervisor, hooks))
    private = {address for address in routes if address != config.listen and is_loopback(address)}
    return {at: application(found, hosts=LOOPBACK if at in private else ()) for at, found in routes.items()}


@asynccontextmanager
async def _served(address: str, site: web.Application) -> AsyncIterator[None]:
    runner = await listen(site, address)
    try:
        yield
    finally:
        await runner.cleanup()
