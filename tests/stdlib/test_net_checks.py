"""Answers that are waited for: met at once or later, told clearly when not met, and nothing is changed."""

import os
import shutil
import threading

import pytest

from requisition.stdlib.action import ActionError, Change
from requisition.stdlib.providers.net.checks import BODY_LIMIT, HttpCheck
from support.certificates import certificate
from support.checks import Clock, closed_port, fails, met
from support.webserver import WebServer, cut, redirect, refuse, whole

READY = whole(b"the shop is ready\n")


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def bench(tmp_path, clock):
    return clock.bench(tmp_path)


def test_an_answer_as_expected_is_not_waited_for(bench, clock):
    with WebServer(READY) as server:
        assert met(bench, HttpCheck, url=server.url, contains="is ready")
        assert len(server.seen) == 1
    assert clock.pauses == []


def test_a_service_that_comes_up_is_waited_for(bench, clock):
    port, servers = closed_port(), []

    def come_up():
        if clock.now > 500 and not servers:
            servers.append(WebServer(refuse(502), cut(b"the shop is re", 3), whole(b"wait"), READY, port=port))
            servers[0].__enter__()

    clock.meanwhile = come_up
    bench.do(HttpCheck(), url=f"http://127.0.0.1:{port}/", contains="ready")
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
        text = fails(bench, HttpCheck, "did not answer as expected within 1 s", url=server.url, timeout=1000, **slots)
    assert text.startswith(server.url)
    assert came in text
    assert "secret" not in text
    assert "\x1b" not in text


def test_a_long_answer_is_shortened_when_told(bench):
    with WebServer(whole(b"x" * 100_000)) as server:
        assert len(fails(bench, HttpCheck, "x…'", url=server.url, contains="y", timeout=0)) < 400


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
        assert met(bench, HttpCheck, url=server.url)
        fails(bench, HttpCheck, "a body that begins 'xxx", url=server.url, contains="y", timeout=0)
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
        fails(
            bench, HttpCheck, "took longer than 1 s", url=server.url, contains="ready", timeout=0, attempt_timeout=1000
        )
        left.set()


def test_a_silent_server_is_left(bench):
    left = threading.Event()
    with WebServer(lambda handler: left.wait(20)) as server:
        fails(bench, HttpCheck, "did not answer in time", url=server.url, timeout=0, attempt_timeout=50)
        left.set()


def test_a_redirect_is_followed_unless_it_is_what_is_expected(bench):
    with WebServer(READY) as there, WebServer(redirect(there.url)) as here:
        assert met(bench, HttpCheck, url=here.url, contains="ready")
        assert met(bench, HttpCheck, url=here.url, status=302)
        there.answers = [refuse(404)]
        assert f"came status 404 from {there.url}" in fails(bench, HttpCheck, "404", url=here.url, timeout=0)


def test_a_circle_of_redirects_is_left(bench):
    with WebServer(READY) as server:
        server.answers = [redirect("/again?token=secret")]
        text = fails(bench, HttpCheck, "redirects more than 5 times", url=server.url, timeout=0)
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
        ({"url": "http://me:sec/secret@host/"}, "cannot be read"),
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


def test_any_length_of_time_will_do(bench):
    with WebServer(READY) as server:
        check = HttpCheck.slots(url=server.url, timeout=1 << 53, attempt_timeout=1 << 53)
        HttpCheck().do(bench.host, check, Change("waits"))


def test_no_proxy_stands_between(bench, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with WebServer(READY) as server:
        assert met(bench, HttpCheck, url=server.url)


def test_an_address_of_ipv6_is_asked(bench):
    try:
        server = WebServer(READY, address="::1")
    except OSError:
        pytest.skip("this machine has no IPv6")
    with server:
        assert met(bench, HttpCheck, url=server.url)


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
        assert met(bench, HttpCheck, url=server.url, contains="ready", ca=ca)
        assert met(bench, HttpCheck, url=server.url.replace("127.0.0.1", "localhost"), ca=ca)


def test_what_a_given_authority_signed_is_trusted_and_nothing_else(bench, tmp_path):
    authority = certificate(tmp_path, "Shop authority", authority=True)
    other = certificate(tmp_path, "Other authority", authority=True)
    with WebServer(READY, certificate=certificate(tmp_path, "127.0.0.1", signed_by=authority)) as server:
        assert met(bench, HttpCheck, url=server.url, ca=trusted(bench, authority))
        fails(bench, HttpCheck, "certificate is not trusted", url=server.url, ca=trusted(bench, other), timeout=0)
        fails(bench, HttpCheck, "certificate is not trusted", url=server.url, timeout=0)


@pytest.mark.parametrize(
    ("names", "expired", "words"),
    [(["127.0.0.1"], True, "certificate has expired"), (["other.example"], False, "not valid for '127.0.0.1'")],
)
def test_an_old_certificate_and_one_of_another_name_are_refused_though_given(bench, tmp_path, names, expired, words):
    own = certificate(tmp_path, *names, expired=expired)
    with WebServer(READY, certificate=own) as server:
        fails(bench, HttpCheck, words, url=server.url, ca=trusted(bench, own), timeout=0)


def test_a_new_certificate_is_waited_for(bench, tmp_path, clock):
    """A server that is told to read its settings anew answers with the old certificate for a moment."""
    old, new = certificate(tmp_path, "127.0.0.1"), certificate(tmp_path, "127.0.0.1")
    with WebServer(READY, certificate=old) as server:
        clock.meanwhile = lambda: server._context.load_cert_chain(new)
        bench.do(HttpCheck(), url=server.url, ca=trusted(bench, new))


def test_the_certificate_to_trust_may_come_later(bench, tmp_path, clock):
    own = certificate(tmp_path, "127.0.0.1")
    with WebServer(READY, certificate=own) as server:
        fails(
            bench, HttpCheck, "/ca.crt, which says whom to trust, is not there", url=server.url, ca="/ca.crt", timeout=0
        )
        clock.meanwhile = lambda: trusted(bench, own)
        bench.do(HttpCheck(), url=server.url, ca="/ca.crt")


@pytest.mark.parametrize("content", ["", "no certificate", "-----BEGIN CERTIFICATE-----\n!\n", "ü"])
def test_a_file_that_holds_no_certificate_is_refused(bench, content):
    (bench.root / "ca.crt").write_text(content)
    with pytest.raises(ActionError, match="/ca.crt holds no certificate"):
        bench.observe(HttpCheck(), url="https://127.0.0.1:9/", ca="/ca.crt")


def test_whom_to_trust_is_a_file_and_no_link(bench):
    (bench.root / "ca.crt").symlink_to("other")
    with pytest.raises(ActionError, match="/ca.crt is a link"):
        bench.observe(HttpCheck(), url="https://127.0.0.1:9/", ca="/ca.crt")


def test_http_and_https_are_not_mistaken_for_each_other(bench, tmp_path):
    own = certificate(tmp_path, "127.0.0.1")
    with WebServer(READY) as plain, WebServer(READY, certificate=own) as tls:
        fails(bench, HttpCheck, "TLS cannot be agreed", url=plain.url.replace("http", "https"), timeout=0)
        fails(bench, HttpCheck, "without an answer|not HTTP|reset", url=tls.url.replace("https", "http"), timeout=0)


def test_a_redirect_never_leads_out_of_https(bench, tmp_path):
    own = certificate(tmp_path, "127.0.0.1")
    with WebServer(READY) as plain, WebServer(redirect(plain.url), certificate=own) as tls:
        ca = trusted(bench, own)
        fails(bench, HttpCheck, "from https to http", url=tls.url, ca=ca, timeout=0)
        assert plain.seen == []
        with WebServer(redirect(tls.url)) as into:
            tls.answers = [READY]
            assert met(bench, HttpCheck, url=into.url, contains="ready", ca=ca)


def test_a_real_server_with_a_certificate_of_openssl_is_trusted(bench, tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    key, crt = tmp_path / "key", bench.root / "shop.crt"
    words = f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {key} -out {crt} -subj /CN=localhost"
    assert os.system(f"{words} 2>/dev/null") == 0
    both = tmp_path / "both.pem"
    both.write_bytes(key.read_bytes() + crt.read_bytes())
    with WebServer(READY, certificate=both) as server:
        assert met(bench, HttpCheck, url=server.url.replace("127.0.0.1", "localhost"), ca="/shop.crt")
