import hashlib
import os
import threading

import pytest

from requisition.stdlib.action import ActionError, Cancelled, Satisfied, UndoConflict
from requisition.stdlib.providers.net.download import Download
from support.hosts import Bench
from support.trees import snapshot
from support.webserver import WebServer, cut, redirect, refuse, send, whole

CONTENT = os.urandom(700_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path)
    made.host.sleep_ms = lambda duration: None  # patience is not what is tested
    return made


def download(bench, server, **slots):
    slots = {"url": server.url, "path": "/file", "sha256": DIGEST} | slots
    return bench.do(Download(), **slots)


def refused(bench, server, words, **slots):
    before = snapshot(bench.root)
    with pytest.raises(ActionError, match=words) as found:
        download(bench, server, **slots)
    assert snapshot(bench.root) == before
    return str(found.value)


def test_a_file_is_downloaded_once_and_undone_exactly(bench):
    (bench.root / "file").write_text("old")
    before = snapshot(bench.root)
    with WebServer(whole(CONTENT)) as server:
        change = download(bench, server, mode=0o755)
        assert (bench.root / "file").read_bytes() == CONTENT
        assert (bench.root / "file").stat().st_mode & 0o7777 == 0o755
        again = bench.observe(Download(), url=server.url, path="/file", sha256=DIGEST, mode=0o755)
        assert isinstance(again, Satisfied)
        assert len(server.seen) == 1
    bench.undo(Download(), change)
    assert snapshot(bench.root) == before
    assert not os.listdir(bench.host.scratch())


def test_looking_asks_nobody_when_the_digest_is_known(bench):
    with WebServer(whole(CONTENT)) as server:
        bench.observe(Download(), url=server.url, path="/file", sha256=DIGEST)
        assert server.seen == []


def test_a_transfer_that_breaks_off_is_resumed(bench):
    with WebServer(cut(CONTENT, 300_000), whole(CONTENT)) as server:
        download(bench, server)
        assert [seen.get("Range") for seen in server.seen] == [None, "bytes=300000-"]
    assert (bench.root / "file").read_bytes() == CONTENT


def test_without_digest_only_the_same_content_is_resumed(bench):
    new = b"new" * 100_000
    with WebServer(cut(CONTENT, 300_000, ETag='"1"'), whole(new, ETag='"2"')) as server:
        download(bench, server, sha256="", insecure_no_digest=True)
        assert server.seen[1]["If-Range"] == '"1"'
    assert (bench.root / "file").read_bytes() == new


def test_without_digest_and_without_validator_it_starts_again(bench):
    with WebServer(cut(CONTENT, 300_000), whole(CONTENT)) as server:
        download(bench, server, sha256="", insecure_no_digest=True)
        assert "Range" not in server.seen[1]
    assert (bench.root / "file").read_bytes() == CONTENT


def test_a_server_that_resumes_with_another_content_is_asked_for_all_of_it(bench):
    other = bytes(len(CONTENT))
    with WebServer(cut(other, 300_000), whole(CONTENT)) as server:
        download(bench, server)
        assert [seen.get("Range") for seen in server.seen] == [None, "bytes=300000-", None]
    assert (bench.root / "file").read_bytes() == CONTENT


def test_a_server_that_resumes_elsewhere_is_asked_for_all_of_it(bench):
    def elsewhere(handler):
        send(handler, CONTENT[1:], status=206, Content_Range=f"bytes 1-{len(CONTENT) - 1}/{len(CONTENT)}")

    with WebServer(cut(CONTENT, 300_000), elsewhere, whole(CONTENT)) as server:
        download(bench, server)
    assert (bench.root / "file").read_bytes() == CONTENT


def test_a_refused_range_starts_again(bench):
    with WebServer(cut(CONTENT, 300_000), refuse(416), whole(CONTENT)) as server:
        download(bench, server)
        assert "Range" not in server.seen[2]
    assert (bench.root / "file").read_bytes() == CONTENT


def test_a_server_in_trouble_is_asked_again(bench):
    with WebServer(refuse(503), refuse(429), whole(CONTENT)) as server:
        download(bench, server)
    assert (bench.root / "file").read_bytes() == CONTENT


def test_a_server_that_stays_in_trouble_is_left(bench):
    with WebServer(refuse(503)) as server:
        refused(bench, server, "cannot be downloaded")
        assert len(server.seen) == 4


def test_what_is_not_there_is_asked_for_once(bench):
    with WebServer(refuse(404)) as server:
        refused(bench, server, "404")
        assert len(server.seen) == 1


def test_another_content_is_refused_with_both_digests(bench):
    with WebServer(whole(b"forged")) as server:
        text = refused(bench, server, "expected")
    assert DIGEST in text
    assert hashlib.sha256(b"forged").hexdigest() in text


def test_more_than_announced_is_not_read(bench):
    with WebServer(lambda handler: send(handler, CONTENT + b"more", length=len(CONTENT))) as server:
        download(bench, server)
    assert (bench.root / "file").read_bytes() == CONTENT


def test_a_large_announcement_is_refused_before_anything_is_read(bench):
    with WebServer(lambda handler: send(handler, b"", length=1 << 50)) as server:
        refused(bench, server, "more than 1000 bytes", max_size=1000)
        assert len(server.seen) == 1


def test_a_stream_without_end_is_cut_at_the_limit(bench):
    def endless(handler):
        handler.send_response(200)
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(CONTENT)
        except OSError:
            return

    with WebServer(endless) as server:
        refused(bench, server, "more than 5000000 bytes", max_size=5_000_000)


def test_a_silent_server_is_left(bench):
    done = threading.Event()
    with WebServer(lambda handler: done.wait(20)) as server:
        refused(bench, server, "timed out", timeout=50)
        done.set()


def test_a_server_that_drips_is_left(bench):
    """A few bytes now and then would hold for ever a reader that only minds silence."""
    times = iter(range(0, 10_000_000, 2000))
    bench.host.now_ms = lambda: next(times)
    done = threading.Event()

    def drip(handler):
        send(handler, b"x" * 100, length=5000)
        done.wait(20)

    with WebServer(drip) as server:
        refused(bench, server, "less than 512 bytes a second", timeout=1000)
        done.set()


def test_a_run_that_is_stopped_stops_a_transfer(bench):
    def stop(duration):
        raise Cancelled("the run is being stopped")

    bench.host.sleep_ms = stop
    times = iter(range(0, 100_000_000, 300))
    bench.host.now_ms = lambda: next(times)
    with WebServer(whole(CONTENT)) as server, pytest.raises(Cancelled):
        download(bench, server)


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x", "gopher://x"])
def test_a_redirect_leads_only_to_http(bench, target):
    with WebServer(redirect(target)) as server:
        refused(bench, server, "not followed|not allowed", sha256="", insecure_no_digest=True)


def test_a_redirect_to_http_is_followed_and_a_circle_is_left(bench):
    with WebServer(whole(CONTENT)) as there, WebServer(redirect(there.url)) as here:
        download(bench, here)
    (bench.root / "file").unlink()
    with WebServer(whole(CONTENT)) as server:
        server.answers = [redirect(server.url)]
        refused(bench, server, "302|redirect")


def test_a_file_of_the_machine_can_be_fetched(bench, tmp_path):
    (tmp_path / "tool").write_bytes(CONTENT)
    bench.do(Download(), url=f"file://{tmp_path}/tool", path="/file", sha256=DIGEST)
    assert (bench.root / "file").read_bytes() == CONTENT
    with pytest.raises(ActionError, match="No such file"):
        bench.do(Download(), url=f"file://{tmp_path}/none", path="/other", sha256=DIGEST)


@pytest.mark.parametrize(
    ("slots", "words"),
    [
        ({"url": "ftp://host/x"}, "not http, https or file"),
        ({"url": "/etc/passwd"}, "not http, https or file"),
        ({"url": "http://host/a b"}, "space or control"),
        ({"url": "http://host/a\r\nHost: evil"}, "space or control"),
        ({"url": "http://me:secret@host/x"}, "user name or password"),
        ({"url": "http://[::1/x"}, "cannot be read"),
        ({"sha256": ""}, "without a digest"),
        ({"sha256": DIGEST.upper()}, "not a SHA-256"),
        ({"sha256": DIGEST[:40]}, "not a SHA-256"),
    ],
)
def test_what_cannot_be_fetched_safely_is_refused_at_once(bench, slots, words):
    with pytest.raises(ActionError, match=words) as found:
        bench.observe(Download(), **({"url": "http://127.0.0.1:9/x", "path": "/file", "sha256": DIGEST} | slots))
    assert "secret" not in str(found.value)


def test_a_refused_download_leaves_the_old_file(bench):
    (bench.root / "file").write_text("old")
    with WebServer(whole(b"forged")) as server:
        refused(bench, server, "expected")
    assert (bench.root / "file").read_text() == "old"


def test_an_undo_leaves_a_download_that_someone_replaced(bench):
    with WebServer(whole(CONTENT)) as server:
        change = download(bench, server)
    (bench.root / "file").write_text("theirs")
    with pytest.raises(UndoConflict):
        bench.undo(Download(), change)
