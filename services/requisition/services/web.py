"""HTTP as services need it: a listener with limits, and answers that a browser cannot misuse."""

from collections.abc import Awaitable, Callable, Iterable

from aiohttp import web

from requisition.schemas.diagnostic import Failed

MAX_BODY = 1 << 20
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def application(routes: Iterable[web.RouteDef], *, hosts: Iterable[str] = ()) -> web.Application:
    """Routes with the headers that every answer has. With `hosts`, requests that name another host are refused: a
    page elsewhere could otherwise give its own name this machine's address (DNS rebinding)."""
    wanted = frozenset(hosts)

    @web.middleware
    async def guarded(request: web.Request, handler: _Handler) -> web.StreamResponse:
        if wanted and request.host.rpartition(":")[0].strip("[]") not in wanted:
            raise web.HTTPForbidden(text="This address is for this machine only.\n")
        return await handler(request)

    async def signed_off(_: web.Request, response: web.StreamResponse) -> None:
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        response.headers["Server"] = "requisition"

    application = web.Application(middlewares=[guarded], client_max_size=MAX_BODY)
    application.on_response_prepare.append(signed_off)
    application.add_routes(routes)
    return application


async def listen(application: web.Application, address: str) -> web.AppRunner:
    """Serve at "host:port" until the runner is cleaned up. Raises Failed when the address cannot be had."""
    host, _, port = address.rpartition(":")
    runner = web.AppRunner(application, access_log=None, keepalive_timeout=30, shutdown_timeout=2)
    await runner.setup()
    try:
        await web.TCPSite(runner, host.strip("[]"), int(port)).start()
    except OSError as error:
        await runner.cleanup()
        raise Failed.of(
            f"nothing can be served at {address}", why=error.strerror or str(error), next="choose another address"
        ) from error
    return runner


def is_loopback(address: str) -> bool:
    """Whether "host:port" can be reached from this machine only."""
    return address.rpartition(":")[0].strip("[]") in _LOOPBACK
