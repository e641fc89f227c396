"""`plan delivery serve`: workers, the socket and the status page of a queue, in one process.

Several may share a queue; who listens at the socket is the one that others speak to.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from aiohttp import web

from requisition.schemas.diagnostic import BadInput
from requisition.services import systemd
from requisition.services.control import Control
from requisition.services.delivery import page
from requisition.services.delivery.config import Delivery
from requisition.services.delivery.metrics import families
from requisition.services.delivery.overview import Live, Overview
from requisition.services.delivery.queue import Queue
from requisition.services.delivery.requests import OfJob, Request, Requests, verbs
from requisition.services.delivery.worker import Worker
from requisition.services.exposition import CONTENT_TYPE, exposition
from requisition.services.web import LOOPBACK, application, is_loopback, listen


async def serve(queue: Queue, delivery: Delivery, worker: Worker, *, socket: str, say: Callable[[str], None]) -> None:
    """Work until told to end by TERM or INT; what is under way is let go of, to be gone on with. Raises Conflicted when
    a service listens already; a worker that ends by an error ends the service."""
    requests = Requests(queue, delivery, lambda: Live(worker.progress(), worker.resting()))
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(Control(socket, verbs(requests, worker.wake), say))
        if delivery.listen:
            await stack.enter_async_context(_served(requests, delivery.listen))
            say(f"status page at http://{delivery.listen}/")
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, worker.stop)
        if patience := systemd.patience():
            stack.callback(asyncio.ensure_future(systemd.show_life(patience / 3)).cancel)
        say(f"at work for {', '.join(delivery.destinations)}; socket {socket}")
        systemd.tell("READY=1")
        await worker.run()
        systemd.tell("STOPPING=1")


@asynccontextmanager
async def _served(requests: Requests, address: str) -> AsyncIterator[None]:
    hosts = LOOPBACK if is_loopback(address) else ()
    runner = await listen(application(routes(requests), hosts=hosts), address)
    try:
        yield
    finally:
        await runner.cleanup()


def routes(requests: Requests) -> list[web.RouteDef]:
    """The page, and what machines read. Nothing that can be asked for changes anything."""

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
        text = exposition(families(await seen()))
        return web.Response(body=text.encode(), headers={"Content-Type": CONTENT_TYPE})

    async def health(_: web.Request) -> web.Response:
        """The loop goes round and the queue can be read; that jobs fail is for the metrics."""
        await seen()
        return web.json_response({"status": "ok"})

    return [
        web.get("/", overview),
        web.get("/job/{job:[0-9a-f]+}", detail),
        web.get("/page.css", style),
        web.get("/metrics", metrics),
        web.get("/health", health),
    ]


def _html(text: str) -> web.Response:
    return web.Response(text=text, content_type="text/html")
