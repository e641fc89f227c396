"""Downloads from servers that fail, stall, cut off and lie."""

import threading

import pytest

from requisition.stdlib.providers.net import transfer
from support.downloads import ANY, CONTENT, download, impatient, refused
from support.webserver import WebServer, chunks, cut, redirect, refuse, said, send, whole


@pytest.fixture
def bench(tmp_path):
    return impatient(tmp_path)


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
        refused(bench, server, "did not answer in time", timeout=50)
        done.set()


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n", "less than 512 bytes a second"),
        (b"HTTP/1.1 200 OK\r\nX: ", "did not answer in time"),
        (b"", "did not answer in time"),
    ],
)
def test_a_server_that_drips_is_left_wherever_it_drips(bench, start, words):
    """A few bytes now and then would hold for ever a reader that only minds silence."""
    left, now = threading.Event(), [0]
    bench.host.now_ms = lambda: now[0]

    def drip(handler):
        handler.wfile.write(start)
        try:
            while not left.is_set():
                now[0] += 100
                handler.wfile.write(b"x")
                left.wait(0.001)
        except OSError:
            return

    with WebServer(drip) as server:
        refused(bench, server, words, timeout=1000)
        left.set()


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x", "gopher://x"])
def test_a_redirect_leads_only_to_http(bench, target):
    with WebServer(redirect(target)) as server:
        refused(bench, server, "not followed|not allowed", **ANY)


def test_a_redirect_to_http_is_followed_and_a_circle_is_left(bench):
    with WebServer(whole(CONTENT)) as there, WebServer(redirect(there.url)) as here:
        download(bench, here)
    (bench.root / "file").unlink()
    with WebServer(whole(CONTENT)) as server:
        server.answers = [redirect(server.url)]
        refused(bench, server, "302|redirect")


def test_what_may_be_a_token_is_not_told(bench):
    with WebServer(refuse(404)) as one, WebServer(redirect("//me:secret@h/?token=secret")) as two:
        slots = {"url": one.url + "?token=secret", "mirrors": [two.url + "?secret", "http://127.0.0.1:1/?key=secret"]}
        text = refused(bench, one, r"file\?… answered with status 404", **slots)
    assert "secret" not in text


@pytest.mark.parametrize(
    "answer",
    [
        chunks(CONTENT[:300_000], CONTENT[300_000:]),
        said("Transfer-Encoding: chunked", "Content-Length: 9", body=b"aae60\r\n" + CONTENT + b"\r\n0\r\n\r\n"),
        said(body=CONTENT),
        said("Content-Length: -1", body=CONTENT),
        said("Content-Length: many", body=CONTENT),
        said("Content-Length: " + "9" * 5000, body=CONTENT),
        said("Content-Length: ٣", body=CONTENT),
    ],
)
def test_a_length_that_is_none_is_not_believed(bench, answer):
    with WebServer(answer) as server:
        download(bench, server)
        assert len(server.seen) == 1
    assert (bench.root / "file").read_bytes() == CONTENT


@pytest.mark.parametrize("slots", [{}, ANY])
def test_chunks_that_break_off_are_not_the_whole(bench, slots):
    with WebServer(chunks(CONTENT[:300_000], end=False), whole(CONTENT)) as server:
        download(bench, server, **slots)
    assert (bench.root / "file").read_bytes() == CONTENT


def test_a_length_that_is_too_long_is_told(bench):
    with WebServer(cut(CONTENT, len(CONTENT))) as server:
        server.answers = [lambda handler: send(handler, CONTENT, length=len(CONTENT) + 9)]
        refused(bench, server, f"{len(CONTENT)} of {len(CONTENT) + 9} bytes", **ANY)


def test_a_length_that_is_too_short_does_not_pass_the_digest(bench):
    with WebServer(lambda handler: send(handler, CONTENT, length=1000)) as server:
        refused(bench, server, "gave sha256 .* expected")


def test_a_part_is_not_taken_for_the_whole(bench):
    """Parts may be shorter than what was asked for (RFC 9110 §15.3.7)."""

    def part(handler):
        begin = int(handler.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        end = min(begin + 200_000, len(CONTENT))
        place = f"bytes {begin}-{end - 1}/{len(CONTENT)}"
        send(handler, CONTENT[begin:end], status=206, Content_Range=place, ETag='"1"')

    with WebServer(cut(CONTENT, 300_000, ETag='"1"'), part) as server:
        download(bench, server, **ANY)
        assert [seen.get("Range") for seen in server.seen] == [None, "bytes=300000-", "bytes=500000-"]
    assert (bench.root / "file").read_bytes() == CONTENT


def test_a_part_that_nobody_asked_for_is_not_taken(bench):
    def part(handler):
        send(handler, CONTENT[:9], status=206, Content_Range=f"bytes 0-8/{len(CONTENT)}")

    with WebServer(part) as server:
        refused(bench, server, "another place", **ANY)


def test_what_an_attempt_without_digest_left_is_never_added_to(bench):
    def unasked(handler):
        send(handler, CONTENT, status=206, Content_Range=f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}")

    with WebServer(cut(b"old" * 999, 300), unasked, whole(CONTENT)) as server:
        download(bench, server, **ANY)
    assert (bench.root / "file").read_bytes() == CONTENT


def test_a_long_way_may_break_off_often(bench, monkeypatch):
    monkeypatch.setattr(transfer, "WORTHWHILE", 50_000)

    def some(handler):
        begin = int(handler.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        part = CONTENT[begin : begin + 60_000]
        rest = {"Content_Range": f"bytes {begin}-{len(CONTENT) - 1}/{len(CONTENT)}"} if begin else {}
        send(handler, part, status=206 if begin else 200, length=len(CONTENT) - begin, **rest)

    with WebServer(some) as server:
        download(bench, server)
        assert len(server.seen) == 12
    assert (bench.root / "file").read_bytes() == CONTENT


@pytest.mark.parametrize("after", [cut(CONTENT, 300_000), refuse(416)])
def test_breaking_off_at_the_same_place_is_not_getting_on(bench, monkeypatch, after):
    monkeypatch.setattr(transfer, "WORTHWHILE", 50_000)
    ends = [cut(CONTENT, 300_000), after] * 20
    with WebServer(*ends) as server:
        refused(bench, server, "cannot be downloaded")
        assert len(server.seen) == 5


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


def test_long_and_strange_words_of_a_server_are_not_repeated(bench):
    esc = "\x1b[2J" + "x" * 9000
    answers = [
        said(f"X{esc}: 1", "Content-Length: nonsense", body=b""),
        lambda handler: handler.wfile.write(f"{esc} 200\r\n\r\n".encode()),
        lambda handler: handler.wfile.write(f"HTTP/{esc} 200\r\n\r\n".encode()),
        lambda handler: handler.wfile.write(f"HTTP/1.1 404 {esc}\r\n\r\n".encode()),
        redirect("ftp://" + esc),
        redirect("/" + "x" * 60_000),
    ]
    for answer in answers:
        with WebServer(answer) as server:
            text = refused(bench, server, "file")
        assert len(text) < 800
        assert text.isprintable()
