"""The listener, and clients that mean no good: real sockets on loopback."""

import contextlib
import gzip
import http.client
import os
import socket
import threading

import pytest
from aiohttp import web

from requisition.schemas.diagnostic import BadInput, Failed
from requisition.services import web as service
from requisition.services.web import MAX_BODY, application, host_of, is_loopback, listen
from support.background import Background


async def _echo(request):
    return web.Response(body=await request.read())


async def _break_down(request):
    raise RuntimeError("a secret of ours")


ROUTES = (web.post("/echo", _echo), web.get("/echo", _echo), web.get("/broken", _break_down))


@contextlib.asynccontextmanager
async def served(hosts=()):
    runner = await listen(application(ROUTES, hosts=hosts), "127.0.0.1:0")
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@pytest.fixture
def port():
    with Background(served) as number:
        yield number


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(service, "_PATIENCE", 0.1)


def asked(port, method="GET", path="/echo", body=None, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with contextlib.closing(connection):
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read(), dict(answer.headers)


def raw(port, content):
    """What comes back until the far end hangs up."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(content)
        with client.makefile("rb") as stream, contextlib.suppress(ConnectionError):
            return stream.read()


def test_every_answer_has_the_headers_that_keep_browsers_at_bay_and_does_not_tell_what_serves(port):
    for path in ("/echo", "/absent", "/broken"):
        _, _, headers = asked(port, path=path)
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert headers["Server"] == "requisition"


def test_what_goes_wrong_inside_is_not_told_outside(port):
    status, body, _ = asked(port, path="/broken")
    assert status == 500
    assert b"secret" not in body


def test_a_body_of_the_limit_is_taken_and_a_larger_one_is_not(port):
    assert asked(port, "POST", body=b"x" * MAX_BODY)[:2] == (200, b"x" * MAX_BODY)
    assert asked(port, "POST", body=b"x" * (MAX_BODY + 1))[0] == 413


def test_a_body_in_chunks_has_the_same_limit(port):
    head = b"POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    assert raw(port, head + chunk * 17 + b"0\r\n\r\n").startswith(b"HTTP/1.1 413")


def test_a_packed_body_is_not_unfolded(port):
    bomb = gzip.compress(b"\0" * (64 << 20))
    assert asked(port, "POST", body=bomb, headers={"Content-Encoding": "gzip"})[:2] == (200, bomb)


NOT_HTTP = {
    "garbage": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "a header without an end": b"GET /echo HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
    "two lengths": b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    "a length and chunks": b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nx",
    "a negative length": b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
}


@pytest.mark.parametrize("name", NOT_HTTP)
def test_what_is_no_http_is_refused_and_the_next_is_served(port, name):
    assert raw(port, NOT_HTTP[name])[8:12] == b" 400"
    assert asked(port)[0] == 200


def test_a_client_that_connects_and_says_nothing_is_cut_off(impatient, port):
    assert raw(port, b"") == b""


def test_a_client_whose_header_never_ends_is_cut_off(impatient, port):
    assert raw(port, b"GET /echo HTTP/1.1\r\nHost: x\r\n") == b""


def test_a_client_whose_body_never_ends_is_told_and_cut_off(port, monkeypatch):
    monkeypatch.setattr(service, "_PATIENCE", 1.0)
    answer = raw(port, b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nxx")
    assert answer.startswith(b"HTTP/1.1 408")


def test_those_beyond_the_limit_are_turned_away_and_let_in_when_there_is_room(port, monkeypatch):
    monkeypatch.setattr(service, "_AT_ONCE", 8)
    idle = [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(8)]
    for client in idle:  # answered, so it is let in
        client.sendall(b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(12) == b"HTTP/1.1 200"
    assert raw(port, b"") == b""
    for client in idle:
        client.close()
    again = threading.Event()
    for _ in range(300):
        with contextlib.suppress(OSError, http.client.HTTPException):
            if asked(port)[0] == 200:
                break
        again.wait(0.02)
    else:
        pytest.fail("nobody was let in again")


def test_a_host_that_was_not_meant_is_refused_when_hosts_are_named():
    with Background(lambda: served(("localhost", "127.0.0.1"))) as port:
        for host in ("localhost", f"localhost:{port}", f"127.0.0.1:{port}"):
            assert asked(port, headers={"Host": host})[0] == 200
        for host in ("evil.example", f"evil.example:{port}", "localhost.evil.example", ""):
            assert asked(port, headers={"Host": host})[0] == 403


def test_an_address_that_is_taken_is_told(port):
    address = f"127.0.0.1:{port}"
    with pytest.raises(Failed, match=f"served at {address}"), Background(lambda: _listening(address)):
        pass


@pytest.mark.parametrize("address", ["", "9180", ":9180", "localhost", "localhost:http", "localhost:65536", "::1"])
def test_what_is_no_address_is_bad_input(address):
    with pytest.raises(BadInput, match="is no address"), Background(lambda: _listening(address)):
        pass


@contextlib.asynccontextmanager
async def _listening(address):
    runner = await listen(application(ROUTES), address)
    yield
    await runner.cleanup()


def test_hosts_are_read_with_and_without_port_and_brackets():
    assert [host_of(one) for one in ("a", "a:1", "[::1]:1", "[::1]", "")] == ["a", "a", "::1", "::1", ""]
    assert is_loopback("127.0.0.1:9180")
    assert is_loopback("[::1]:9180")
    assert not is_loopback("0.0.0.0:9180")
    assert not is_loopback("127.0.0.1.evil.example:9180")


def test_descriptors_are_given_back(port):
    def count():
        return len(os.listdir("/proc/self/fd"))

    asked(port)
    before = count()
    for _ in range(50):
        asked(port)
    assert count() <= before + 2
