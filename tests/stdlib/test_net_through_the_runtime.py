"""Checks and downloads as nodes of an order: when they look, what is told, what is taken back, what a kill leaves."""

import subprocess
import threading

import pytest

from support.certificates import certificate
from support.downloads import CONTENT, DIGEST
from support.orders import OrderBuilder
from support.packages import installed
from support.process import command, encoded, request
from support.session import ask
from support.trees import snapshot
from support.webserver import WebServer, refuse, send, whole


@pytest.fixture
def order(tmp_path):
    (tmp_path / "root").mkdir()
    return OrderBuilder(tmp_path / "package", tmp_path / "root")


def run(order, verb="apply", **fields):
    path = order.folder / "order.plan"
    return ask(request(verb, order.folder.parent / "state", path if path.exists() else order.write(), **fields))


def serving(root, name):
    """A server of one file of the target."""

    def answer(handler):
        file = root / name
        if file.exists():
            send(handler, file.read_bytes())
        else:
            send(handler, b"", status=404)

    return answer


def test_what_an_order_makes_is_checked_and_the_second_time_nothing_is_to_do(order, tmp_path):
    own = certificate(tmp_path, "127.0.0.1")
    with WebServer(serving(tmp_path / "root", "index.html"), certificate=own) as server:
        order.node("file.write", content="welcome", path="/index.html")
        order.node("file.write", content=own.read_text(), path="/shop.crt")
        order.node("net.wait_port", host="127.0.0.1", port=server.server_port, phase="verify")
        order.node("net.http_check", url=server.url, contains="welcome", ca="/shop.crt", phase="verify")
        answer = run(order)
        assert answer.status == "done", answer.text
        assert answer.result.summary == {"done": 2, "unchanged": 2}
        assert run(order).result.summary == {"unchanged": 4}
        assert run(order, "dry-run").result.summary == {"change": 0, "unchanged": 4, "unknown": 0}


def test_a_dry_run_says_what_would_be_waited_for_and_waits_for_nothing(order, tmp_path):
    with WebServer(refuse(503)) as server:
        order.node("net.http_check", url=server.url)
        answer = run(order, "dry-run")
        assert answer.result.summary == {"change": 0, "unchanged": 0, "unknown": 0, "look": 1}
        assert len(server.seen) == 1
    assert f"waits for {server.url}" in answer.text


def test_a_check_that_is_not_met_takes_everything_back_and_names_its_place(order, tmp_path):
    before = snapshot(tmp_path / "root")
    with WebServer(whole(b"Welcome to nginx!")) as server:
        order.node("file.write", content="x", path="/conf")
        order.node("net.http_check", url=server.url, contains="shop", timeout=0, phase="verify")
        answer = run(order)
    assert answer.status == "failed"
    assert "package.star:2" in answer.text
    assert "expected status 200 and a body with 'shop', came status 200 and a body that begins 'Welcome" in answer.text
    assert snapshot(tmp_path / "root") == before


def test_a_check_that_was_met_before_the_run_is_made_again_after_a_change(order, tmp_path):
    """Else the run would pass a check that its own change made fail."""
    (tmp_path / "root/index.html").write_text("welcome")
    with WebServer(serving(tmp_path / "root", "index.html")) as server:
        order.node("file.write", content="broken", path="/index.html")
        order.node("net.http_check", url=server.url, contains="welcome", timeout=0, phase="verify")
        answer = run(order, on_conflict="overwrite")
    assert answer.status == "failed", answer.text
    assert "a body that begins 'broken'" in answer.text
    assert (tmp_path / "root/index.html").read_text() == "welcome"


def test_a_check_leaves_nothing_to_roll_back(order, tmp_path):
    with WebServer(refuse(503), whole(b"ready")) as server:
        order.node("net.http_check", url=server.url)
        first = run(order)
        assert first.result.summary == {"unchanged": 1}
    back = ask(request("rollback", tmp_path / "state", first.result.receipt))
    assert "there is nothing to roll back" in back.text


def test_a_download_goes_on_where_a_killed_run_was(order, tmp_path):
    state, pause = tmp_path / "state", threading.Event()

    def part(handler):
        """Until some of it is kept; then the runtime is killed."""
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(CONTENT)))
        handler.end_headers()
        handler.wfile.write(CONTENT[:300_000])
        while not any(file.stat().st_size for file in state.glob("runs/*/scratch/*")):
            pause.wait(0.01)
        runtime.kill()

    with WebServer(part, whole(CONTENT)) as server:
        order.node("net.download", url=server.url, sha256=DIGEST, path="/file")
        asked = encoded(request("apply", state, order.write()))
        runtime = subprocess.Popen(command(), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        runtime.communicate(asked, timeout=60)
        assert runtime.returncode == -9
        answer = ask(request("resume", state))
        assert answer.status == "done", answer.text
        begin = int(server.seen[1]["Range"].removeprefix("bytes=").removesuffix("-"))
    assert 0 < begin <= 300_000
    assert (tmp_path / "root/file").read_bytes() == CONTENT


def test_packages_say_it_in_few_words(tmp_path):
    nodes = installed(
        tmp_path,
        'plan.net.wait_port("localhost", 5432, timeout = "1m")\n'
        'plan.net.http_check("https://localhost:8443/", contains = "…", ca = "/etc/ssl/shop/shop.crt")',
    )
    port, page = nodes.values()
    assert port.id == "demo/install/net.wait_port:localhost"
    assert port.slots == {"host": "localhost", "port": 5432, "timeout": 60_000}
    assert page.id == "demo/install/net.http_check:localhost:8443"
    assert page.slots == {"url": "https://localhost:8443/", "contains": "…", "ca": "/etc/ssl/shop/shop.crt"}


def test_the_certificate_that_an_order_makes_is_there_before_the_check_that_trusts_it(tmp_path):
    nodes = installed(
        tmp_path,
        'plan.file.write("pem", "/etc/shop.crt")\nplan.net.http_check("https://localhost/", ca = "/etc/shop.crt")',
    )
    assert nodes["demo/install/net.http_check:localhost"].needs == ("demo/install/file.write:/etc/shop.crt",)


def test_a_login_in_an_address_is_no_part_of_a_name(tmp_path):
    nodes = installed(tmp_path, 'plan.net.http_check("https://me:secret@host?token=secret")')
    assert list(nodes) == ["demo/install/net.http_check:host"]
