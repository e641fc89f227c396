"""`plan delivery serve`: workers, the socket and the status page of a queue, in one process.

Several may share a queue; who listens at the socket is the one that others speak to.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from aiohttp import web
from requisition.services.delivery.worker import Worker

from requisition.schemas.diagnostic import BadInput
from requisition.services.control import Control
from requisition.services.delivery import page
from requisition.services.delivery.overview import Overview
from requisition.services.delivery.requests import OfJob, Request, Requests, verbs
from requisition.services.web import application, is_loopback, listen

_NAMES_OF_LOOPBACK = ("127.0.0.1", "::1", "localhost")


async def serve(
    worker: Worker,
    requests: Requests,
    *,
    socket: str,
    address: str,
    stop: asyncio.Event,
    say: Callable[[str], None],
) -> None:
    """Work until `stop` is set; what is under way is let go of, to be gone on from. `address`: of the page, "" for
    none. Raises Conflicted when a service listens already; a worker that ends by an error ends the service."""
    async with AsyncExitStack() as stack:
        table = verbs(requests, worker.wake)
        await stack.enter_async_context(Control(socket, table, say))
        if address:
            await stack.enter_async_context(_page(requests, address))
            say(f"status page at http://{address}/")
        work = asyncio.ensure_future(worker.run())
        stopped = asyncio.ensure_future(stop.wait())
        say(f"at work; socket {socket}")
        try:
            await asyncio.wait([work, stopped], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            await worker.stop()
        await work


@asynccontextmanager
async def _page(requests: Requests, address: str) -> AsyncIterator[None]:
    hosts = _NAMES_OF_LOOPBACK if is_loopback(address) else ()
    runner = await listen(application(site(requests), hosts=hosts), address)
    try:
        yield
    finally:
        await runner.cleanup()


def site(requests: Requests) -> list[web.RouteDef]:
    """The routes: nothing that can be asked for changes anything."""

    async def seen() -> Overview:
        return await asyncio.to_thread(requests.status, Request())

    async def overview(_: web.Request) -> web.Response:
        return _html(page.overview_page(await seen()))

    async def detail(request: web.Request) -> web.Response:
        try:
            found = await asyncio.to_thread(requests.show, OfJob(job=request.match_info["job"]))
        except BadInput as error:
            raise web.HTTPNotFound(text=f"{error.diagnostics[0].what}\n") from error
        return _html(page.detail_page(found))

    async def style(_: web.Request) -> web.Response:
        return web.Response(text=page.style(), content_type="text/css")

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(text=page.metrics(await seen()), content_type="text/plain")

    async def health(_: web.Request) -> web.Response:
        """The loop answers and the queue can be read; that jobs fail is for the metrics."""
        await seen()
        return web.Response(text="ok\n")

    return [
        web.get("/", overview),
        web.get("/job/{job:[0-9a-f]+}", detail),
        web.get("/page.css", style),
        web.get("/metrics", metrics),
        web.get("/health", health),
    ]


def _html(text: str) -> web.Response:
    return web.Response(text=text, content_type="text/html")
