"""HTTP as services need it: a listener with limits, and answers that a browser cannot misuse."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from aiohttp import web

from requisition.schemas.diagnostic import BadInput, Failed

MAX_BODY = 1 << 20
_PATIENCE = 10.0
_AT_ONCE = 128
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
LOOPBACK = ("127.0.0.1", "::1", "localhost")
"""Names under which this machine knows itself."""
_SILENT: web.AppKey[dict[asyncio.BaseProtocol, asyncio.TimerHandle]] = web.AppKey("silent", dict)
"""Connections on which nothing was asked yet, and what will end them."""


def application(routes: Iterable[web.RouteDef], *, hosts: Iterable[str] = ()) -> web.Application:
    """Routes with the headers that every answer has, and ten seconds for each. With `hosts`, requests that name another
    host are refused: a page elsewhere could otherwise give its own name this machine's address (DNS rebinding)."""
    wanted, silent = frozenset(hosts), dict[asyncio.BaseProtocol, asyncio.TimerHandle]()

    @web.middleware
    async def guarded(request: web.Request, handler: _Handler) -> web.StreamResponse:
        if timer := silent.pop(request.protocol, None):
            timer.cancel()
        if wanted and host_of(request.host) not in wanted:
            raise web.HTTPForbidden(text="This address is for this machine only.\n")
        try:
            async with asyncio.timeout(_PATIENCE):
                return await handler(request)
        except TimeoutError:
            raise web.HTTPRequestTimeout(text="This took too long.\n", headers={"Connection": "close"}) from None

    async def signed_off(_: web.Request, response: web.StreamResponse) -> None:
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        response.headers["Server"] = "requisition"

    application = web.Application(middlewares=[guarded], client_max_size=MAX_BODY)
    application[_SILENT] = silent
    application.on_response_prepare.append(signed_off)
    application.add_routes(routes)
    return application


async def listen(application: web.Application, address: str) -> web.AppRunner:
    """Serve at "host:port" until the runner is cleaned up. Raises BadInput for what is no address, Failed when it
    cannot be had."""
    host, port = _parts(address)
    # Bodies are taken as they were sent: a signature is over those bytes, and a small one cannot unfold into a large.
    runner = web.AppRunner(
        application, access_log=None, keepalive_timeout=30, lingering_time=1, shutdown_timeout=2, auto_decompress=False
    )
    await runner.setup()
    try:
        await _Site(runner, host, port).start()
    except OSError as error:
        await runner.cleanup()
        raise Failed.of(
            f"nothing can be served at {address}", why=error.strerror or str(error), next="choose another address"
        ) from error
    return runner


class _Site(web.BaseSite):
    """A listener that turns away whom it has no room for, and those who connect and then do not ask."""

    def __init__(self, runner: web.AppRunner, host: str, port: int) -> None:
        super().__init__(runner)
        self._place = (host, port)
        self._silent = runner.app[_SILENT]

    @property
    def name(self) -> str:
        """As aiohttp wants it: the address."""
        return "http://{}:{}".format(*self._place)

    async def start(self) -> None:
        """Listen."""
        await super().start()
        self._server = await asyncio.get_running_loop().create_server(self._connection, *self._place)

    def _connection(self) -> asyncio.Protocol:
        server = self._runner.server
        assert server is not None
        if len(server.connections) >= _AT_ONCE:
            return _NoRoom()
        connection = server()
        self._silent[connection] = asyncio.get_running_loop().call_later(_PATIENCE, self._hurry, connection)
        return connection

    def _hurry(self, connection: web.RequestHandler) -> None:
        """End what connected and did not ask. Once it has asked, aiohttp ends it when it is idle."""
        del self._silent[connection]
        connection.force_close()


class _NoRoom(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def _parts(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    bare = ":" in host and not (host[0] == "[" and host[-1] == "]")
    if not host or bare or not (port.isascii() and port.isdigit()) or not 0 <= int(port) < 1 << 16:
        raise BadInput.of(f"{address!r} is no address", next="write it as 127.0.0.1:9180 or [::1]:9180")
    return host.strip("[]"), int(port)


def host_of(address: str) -> str:
    """The host of "host", "host:port" or "[host]:port"."""
    head, colon, port = address.rpartition(":")
    return (head if colon and not port.endswith("]") else address).strip("[]")


def is_loopback(address: str) -> bool:
    """Whether "host:port" can be reached from this machine only."""
    return host_of(address) in LOOPBACK
