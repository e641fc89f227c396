"""Ports that are waited for."""

import socket

import pytest

from requisition.stdlib.action import ActionError, Cancelled
from requisition.stdlib.providers.net.checks import WaitPort
from support.checks import Clock, closed_port, fails, met


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def bench(tmp_path, clock):
    return clock.bench(tmp_path)


def test_a_port_that_is_open_is_not_waited_for(bench, clock):
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert met(bench, WaitPort, host="127.0.0.1", port=server.getsockname()[1])
    assert clock.pauses == []


def test_a_port_that_opens_later_is_waited_for(bench, clock):
    port, servers = closed_port(), []

    def open_it():
        if clock.now > 1000 and not servers:
            servers.append(socket.create_server(("127.0.0.1", port)))

    clock.meanwhile = open_it
    bench.do(WaitPort(), host="127.0.0.1", port=port)
    assert clock.pauses == [100, 200, 400, 800]
    assert met(bench, WaitPort, host="127.0.0.1", port=port)
    servers[0].close()


def test_a_port_that_stays_closed_fails_when_its_time_is_over(bench, clock):
    port = closed_port()
    text = fails(bench, WaitPort, "did not open", host="127.0.0.1", port=port, timeout=10_000)
    assert text == f"port {port} of 127.0.0.1 did not open within 10 s: nobody listens there"
    assert 8_000 < clock.now <= 10_000


def test_without_time_a_port_is_tried_once(bench, clock):
    fails(bench, WaitPort, "nobody listens", host="127.0.0.1", port=closed_port(), timeout=0)
    assert clock.pauses == []


def test_an_address_of_ipv6_is_waited_for(bench):
    try:
        server = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with server:
        assert met(bench, WaitPort, host="::1", port=server.getsockname()[1])


def test_a_run_that_is_stopped_stops_waiting(bench, clock):
    def stop():
        raise Cancelled("the run is being stopped")

    clock.meanwhile = stop
    with pytest.raises(Cancelled):
        bench.do(WaitPort(), host="127.0.0.1", port=closed_port())


@pytest.mark.parametrize(
    ("host", "port", "words"),
    [
        ("", 80, "no name or address"),
        ("http://localhost", 80, "no name or address"),
        ("[::1]", 80, "no name or address"),
        ("me@host", 80, "no name or address"),
        ("a b", 80, "no name or address"),
        ("a" * 300, 80, "no name or address"),
        ("localhost", 0, "0 is no port"),
        ("localhost", 65536, "65536 is no port"),
        ("localhost", -1, "-1 is no port"),
    ],
)
def test_a_place_where_nobody_can_listen_is_refused_at_once(bench, host, port, words):
    with pytest.raises(ActionError, match=words):
        bench.observe(WaitPort(), host=host, port=port)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "ü" * 100])
def test_a_name_that_nobody_has_is_told(bench, host):
    fails(bench, WaitPort, "name (cannot be resolved|is not well formed)", host=host, port=80, timeout=0)
