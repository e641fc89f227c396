"""A real HTTP server in a thread that answers as a test tells it to, well or badly."""

import socket
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Passes each request to the next answer of the server; the last one is kept."""

    protocol_version = "HTTP/1.1"
    server: "WebServer"

    def do_GET(self) -> None:
        self.server.seen.append(dict(self.headers))
        answers = self.server.answers
        (answers.pop(0) if len(answers) > 1 else answers[0])(self)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Quiet."""


class WebServer(ThreadingHTTPServer):
    """`with WebServer(answer, …) as server:`; `seen` holds the headers of every request. `certificate` is a PEM file
    with key and certificate: with it the server speaks TLS."""

    daemon_threads = True

    def __init__(self, *answers: Answer, certificate: Path | None = None, address: str = "127.0.0.1", port: int = 0):
        if ":" in address:
            self.address_family = socket.AF_INET6
        super().__init__((address, port), Handler)
        self.answers = list(answers)
        self.seen: list[dict[str, str]] = []
        self._context = None
        if certificate is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(certificate)
        scheme, host = "http" if certificate is None else "https", f"[{address}]" if ":" in address else address
        self.url = f"{scheme}://{host}:{self.server_port}/file"

    def finish_request(self, request: socket.socket, client_address: tuple[str, int]) -> None:
        """In the thread of the request, so that a client without TLS holds up nobody."""
        if self._context is not None:
            try:
                request = self._context.wrap_socket(request, server_side=True)
            except OSError:
                return  # the client did not like the certificate, or spoke no TLS
        super().finish_request(request, client_address)

    def __enter__(self) -> "WebServer":
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


def send(handler: Handler, body: bytes, *, status: int = 200, length: int | None = None, **headers: str) -> None:
    """An answer whose announced length need not be true; names of headers are written with _ for -."""
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def whole(content: bytes, **headers: str) -> Answer:
    """The content, or the part that is asked for, as a sound server gives it."""

    def answer(handler: Handler) -> None:
        asked, condition = handler.headers.get("Range"), handler.headers.get("If-Range")
        if asked is None or (condition is not None and condition != headers.get("ETag")):
            send(handler, content, **headers)
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-"))
        if start >= len(content):
            send(handler, b"", status=416)
            return
        place = f"bytes {start}-{len(content) - 1}/{len(content)}"
        send(handler, content[start:], status=206, Content_Range=place, **headers)

    return answer


def cut(content: bytes, at: int, **headers: str) -> Answer:
    """Announces all of the content and stops in the middle."""
    return lambda handler: send(handler, content[:at], length=len(content), **headers)


def redirect(target: str) -> Answer:
    """Sends elsewhere."""
    return lambda handler: send(handler, b"", status=302, Location=target)


def refuse(status: int) -> Answer:
    """Answers with an error."""
    return lambda handler: send(handler, b"no", status=status)


def said(*lines: str, body: bytes = b"") -> Answer:
    """An answer to the byte."""
    head = "".join(f"{line}\r\n" for line in ("HTTP/1.1 200 OK", *lines))
    return lambda handler: handler.wfile.write(head.encode() + b"\r\n" + body)


def chunks(*parts: bytes, end: bool = True) -> Answer:
    """A body in chunks (RFC 9112 §7.1), whole or cut between two of them."""
    body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    return said("Transfer-Encoding: chunked", body=body + (b"0\r\n\r\n" if end else b""))
