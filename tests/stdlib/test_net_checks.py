"""Checks: met at once or waited for, told clearly when not met, and nothing is changed by them."""

import os
import shutil
import socket
import threading

import pytest

from requisition.stdlib.action import ActionError, Cancelled, Change, Satisfied
from requisition.stdlib.providers.net.checks import BODY_LIMIT, HttpCheck, WaitPort
from support.certificates import certificate
from support.hosts import Bench
from support.trees import snapshot
from support.webserver import WebServer, cut, redirect, refuse, whole

READY = whole(b"the shop is ready\n")


class Clock:
    """Time that passes only in pauses, at which `meanwhile` may happen."""

    def __init__(self):
        self.now = 0
        self.pauses = []
        self.meanwhile = lambda: None

    def sleep(self, duration):
        self.pauses.append(duration)
        self.now += duration
        self.meanwhile()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def bench(tmp_path, clock):
    made = Bench(tmp_path)
    made.host.now_ms = lambda: clock.now
    made.host.sleep_ms = clock.sleep
    return made


def check(bench, url, action=HttpCheck, **slots):
    return bench.do(action(), url=url, **slots)


def fails(bench, words, action=HttpCheck, **slots):
    """The message of a check that is not met."""
    before = snapshot(bench.root)
    found = bench.observe(action(), **slots)
    assert isinstance(found, Change)
    assert (found.undo, found.files, found.moves) == ({}, (), ())
    with pytest.raises(ActionError, match=words) as failure:
        action().do(bench.host, action.slots(**slots), found)
    assert failure.value.hint
    assert snapshot(bench.root) == before
    return str(failure.value)


def met(bench, action=HttpCheck, **slots):
    return isinstance(bench.observe(action(), **slots), Satisfied)


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


# ports -------------------------------------------------------------------------------------------


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
    text = fails(bench, "did not open", WaitPort, host="127.0.0.1", port=port, timeout=10_000)
    assert text == f"port {port} of 127.0.0.1 did not open within 10 s: nobody listens there"
    assert 8_000 < clock.now <= 10_000


def test_without_time_a_port_is_tried_once(bench, clock):
    fails(bench, "nobody listens", WaitPort, host="127.0.0.1", port=closed_port(), timeout=0)
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
    fails(bench, "name (cannot be resolved|is not well formed)", WaitPort, host=host, port=80, timeout=0)


# answers -----------------------------------------------------------------------------------------


def test_an_answer_as_expected_is_not_waited_for(bench, clock):
    with WebServer(READY) as server:
        assert met(bench, url=server.url, contains="is ready")
        assert len(server.seen) == 1
    assert clock.pauses == []


def test_a_service_that_comes_up_is_waited_for(bench, clock):
    port, servers = closed_port(), []

    def come_up():
        if clock.now > 500 and not servers:
            servers.append(WebServer(refuse(502), cut(b"the shop is re", 3), whole(b"wait"), READY, port=port))
            servers[0].__enter__()

    clock.meanwhile = come_up
    check(bench, f"http://127.0.0.1:{port}/", contains="ready")
    assert len(servers[0].seen) == 4
    servers[0].__exit__()


@pytest.mark.parametrize(
    ("answer", "slots", "came"),
    [
        (refuse(503), {}, "expected status 200, came status 503"),
        (READY, {"status": 404}, "expected status 404, came status 200"),
        (
            whole(b"<h1>Welcome to nginx!</h1>"),
            {"contains": "shop"},
            "expected status 200 and a body with 'shop', came status 200 and a body that begins '<h1>Welcome to nginx!</h1>'",
        ),
        (whole(b""), {"contains": "shop"}, "came status 200 and an empty body"),
        (whole(b"\x1b[2J\xff\n" * 99), {"contains": "shop"}, r"begins '\x1b[2J�\n"),
        (cut(b"ready" * 9, 10), {"contains": "ready"}, "its answer broke off after 10 of 45 bytes"),
        (lambda handler: None, {}, "it closed the connection without an answer"),
        (lambda handler: handler.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n"), {}, "what it says is not HTTP"),
        (redirect("http://127.0.0.1:1/"), {}, "nobody listens there"),
        (redirect("file:///etc/passwd"), {}, "which is not followed"),
        (redirect("//me:secret@127.0.0.1/?token=secret"), {}, "which is not followed"),
        (redirect("http://[::1"), {}, "which is not followed"),
    ],
)
def test_what_came_instead_is_told(bench, answer, slots, came):
    with WebServer(answer) as server:
        text = fails(bench, "did not answer as expected within 1 s", url=server.url, timeout=1000, **slots)
    assert text.startswith(server.url)
    assert came in text
    assert "secret" not in text
    assert "\x1b" not in text


def test_a_long_answer_is_shortened_when_told(bench):
    with WebServer(whole(b"x" * 100_000)) as server:
        assert len(fails(bench, "x…'", url=server.url, contains="y", timeout=0)) < 400


def test_only_the_first_of_an_endless_answer_is_read(bench):
    written = []

    def endless(handler):
        handler.send_response(200)
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(b"x" * 50_000)
                written.append(50_000)
        except OSError:
            return

    with WebServer(endless) as server:
        assert met(bench, url=server.url)
        fails(bench, "a body that begins 'xxx", url=server.url, contains="y", timeout=0)
    assert sum(written) < 40 * BODY_LIMIT


@pytest.mark.parametrize("drip", [b"H", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\n\r\nx"])
def test_a_server_that_drips_is_left_wherever_it_drips(bench, clock, drip):
    """A byte now and then would hold for ever a reader that only minds silence."""
    left = threading.Event()

    def dripping(handler):
        handler.wfile.write(drip)
        try:
            while not left.is_set():
                clock.now += 100
                handler.wfile.write(b"x")
                left.wait(0.001)
        except OSError:
            return

    with WebServer(dripping) as server:
        fails(bench, "took longer than 1 s", url=server.url, contains="ready", timeout=0, attempt_timeout=1000)
        left.set()


def test_a_silent_server_is_left(bench):
    left = threading.Event()
    with WebServer(lambda handler: left.wait(20)) as server:
        fails(bench, "did not answer in time", url=server.url, timeout=0, attempt_timeout=50)
        left.set()


def test_a_redirect_is_followed_unless_it_is_what_is_expected(bench):
    with WebServer(READY) as there, WebServer(redirect(there.url)) as here:
        assert met(bench, url=here.url, contains="ready")
        assert met(bench, url=here.url, status=302)
        there.answers = [refuse(404)]
        assert f"came status 404 from {there.url}" in fails(bench, "404", url=here.url, timeout=0)


def test_a_circle_of_redirects_is_left(bench):
    with WebServer(READY) as server:
        server.answers = [redirect("/again?token=secret")]
        text = fails(bench, "redirects more than 5 times", url=server.url, timeout=0)
    assert "secret" not in text


@pytest.mark.parametrize(
    ("slots", "words"),
    [
        ({"url": "ftp://host/x"}, "not http or https"),
        ({"url": "file:///etc/passwd"}, "not http or https"),
        ({"url": "localhost:80"}, "not http or https"),
        ({"url": "ftp://me:secret@host/x"}, "not http or https"),
        ({"url": "http:///x"}, "names no host"),
        ({"url": "http://host:port/"}, "cannot be read"),
        ({"url": "http://host:99999/"}, "cannot be read"),
        ({"url": "http://me:secret@[::1/"}, "cannot be read"),
        ({"url": "http://host/a b"}, "space or control"),
        ({"url": "http://host/\r\nX: y"}, "space or control"),
        ({"url": "http://bücher.example/"}, "not ASCII"),
        ({"url": "https://me:secret@host/x"}, "user name or password"),
        ({"status": 0}, "0 is no status"),
        ({"status": 100}, "100 is no status"),
        ({"status": 600}, "600 is no status"),
        ({"attempt_timeout": 0}, "attempt_timeout"),
    ],
)
def test_what_cannot_be_asked_is_refused_at_once(bench, slots, words):
    with pytest.raises(ActionError, match=words) as found:
        bench.observe(HttpCheck(), **({"url": "http://127.0.0.1:9/"} | slots))
    assert "secret" not in str(found.value)


def test_no_proxy_stands_between(bench, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with WebServer(READY) as server:
        assert met(bench, url=server.url)


def test_an_address_of_ipv6_is_asked(bench):
    try:
        server = WebServer(READY, address="::1")
    except OSError:
        pytest.skip("this machine has no IPv6")
    with server:
        assert met(bench, url=server.url)


# TLS ---------------------------------------------------------------------------------------------


def trusted(bench, pem, name="ca.crt"):
    """The certificates of a PEM file on the target; keys stay where they are."""
    text = pem.read_text()
    (bench.root / name).write_text(text[text.index("-----BEGIN CERTIFICATE") :])
    return f"/{name}"


def test_a_certificate_that_signed_itself_is_trusted_when_it_is_given(bench, tmp_path):
    own = certificate(tmp_path, "127.0.0.1", "localhost")
    with WebServer(READY, certificate=own) as server:
        ca = trusted(bench, own)
        assert met(bench, url=server.url, contains="ready", ca=ca)
        assert met(bench, url=server.url.replace("127.0.0.1", "localhost"), ca=ca)


def test_what_a_given_authority_signed_is_trusted_and_nothing_else(bench, tmp_path):
    authority = certificate(tmp_path, "Shop authority", authority=True)
    other = certificate(tmp_path, "Other authority", authority=True)
    with WebServer(READY, certificate=certificate(tmp_path, "127.0.0.1", signed_by=authority)) as server:
        assert met(bench, url=server.url, ca=trusted(bench, authority))
        fails(bench, "certificate is not trusted", url=server.url, ca=trusted(bench, other), timeout=0)
        fails(bench, "certificate is not trusted", url=server.url, timeout=0)


@pytest.mark.parametrize(
    ("names", "expired", "words"),
    [(["127.0.0.1"], True, "certificate has expired"), (["other.example"], False, "not valid for '127.0.0.1'")],
)
def test_an_old_certificate_and_one_of_another_name_are_refused_though_given(bench, tmp_path, names, expired, words):
    own = certificate(tmp_path, *names, expired=expired)
    with WebServer(READY, certificate=own) as server:
        fails(bench, words, url=server.url, ca=trusted(bench, own), timeout=0)


def test_a_new_certificate_is_waited_for(bench, tmp_path, clock):
    """A server that is told to read its settings anew answers with the old certificate for a moment."""
    old, new = certificate(tmp_path, "127.0.0.1"), certificate(tmp_path, "127.0.0.1")
    with WebServer(READY, certificate=old) as server:
        clock.meanwhile = lambda: server._context.load_cert_chain(new)
        check(bench, server.url, ca=trusted(bench, new))


def test_the_certificate_to_trust_may_come_later(bench, tmp_path, clock):
    own = certificate(tmp_path, "127.0.0.1")
    with WebServer(READY, certificate=own) as server:
        fails(bench, "/ca.crt, which says whom to trust, is not there", url=server.url, ca="/ca.crt", timeout=0)
        clock.meanwhile = lambda: trusted(bench, own)
        check(bench, server.url, ca="/ca.crt")


@pytest.mark.parametrize("content", ["", "no certificate", "-----BEGIN CERTIFICATE-----\n!\n", "ü"])
def test_a_file_that_holds_no_certificate_is_refused(bench, content):
    (bench.root / "ca.crt").write_text(content)
    with pytest.raises(ActionError, match="/ca.crt holds no certificate"):
        bench.observe(HttpCheck(), url="https://127.0.0.1:9/", ca="/ca.crt")


def test_http_and_https_are_not_mistaken_for_each_other(bench, tmp_path):
    own = certificate(tmp_path, "127.0.0.1")
    with WebServer(READY) as plain, WebServer(READY, certificate=own) as tls:
        fails(bench, "TLS cannot be agreed", url=plain.url.replace("http", "https"), timeout=0)
        fails(bench, "without an answer|not HTTP|reset", url=tls.url.replace("https", "http"), timeout=0)


def test_a_redirect_never_leads_out_of_https(bench, tmp_path):
    own = certificate(tmp_path, "127.0.0.1")
    with WebServer(READY) as plain, WebServer(redirect(plain.url), certificate=own) as tls:
        ca = trusted(bench, own)
        fails(bench, "from https to http", url=tls.url, ca=ca, timeout=0)
        assert plain.seen == []
        with WebServer(redirect(tls.url)) as into:
            tls.answers = [READY]
            assert met(bench, url=into.url, contains="ready", ca=ca)


def test_a_real_server_with_a_certificate_of_openssl_is_trusted(bench, tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    key, crt = tmp_path / "key", bench.root / "shop.crt"
    words = f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {key} -out {crt} -subj /CN=localhost"
    assert os.system(f"{words} 2>/dev/null") == 0
    both = tmp_path / "both.pem"
    both.write_bytes(key.read_bytes() + crt.read_bytes())
    with WebServer(READY, certificate=both) as server:
        assert met(bench, url=server.url.replace("127.0.0.1", "localhost"), ca="/shop.crt")
