"""A real HTTP server in a thread that answers as a test tells it to, well or badly."""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

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
    """`with WebServer(answer, …) as url:`; `seen` holds the headers of every request."""

    daemon_threads = True

    def __init__(self, *answers: Answer):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = list(answers)
        self.seen: list[dict[str, str]] = []
        self.url = f"http://127.0.0.1:{self.server_port}/file"

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
