"""Downloads: once, resumed, from mirrors, and taken back."""

import hashlib
import os

import pytest

from requisition.stdlib.action import ActionError, Cancelled, Satisfied, UndoConflict
from requisition.stdlib.providers.net import transfer
from requisition.stdlib.providers.net.download import Download
from support.certificates import certificate
from support.downloads import ANY, CONTENT, DIGEST, download, impatient, refused
from support.trees import snapshot
from support.webserver import WebServer, chunks, cut, redirect, refuse, whole


@pytest.fixture
def bench(tmp_path):
    return impatient(tmp_path)


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
        download(bench, server, **ANY)
        assert server.seen[1]["If-Range"] == '"1"'
    assert (bench.root / "file").read_bytes() == new


@pytest.mark.parametrize("tag", ['W/"1"', ""])
def test_a_weak_validator_vouches_for_nothing(bench, tag):
    headers = {"ETag": tag, "Last_Modified": "Sat, 21 Nov 2026 07:28:00 GMT"}
    with WebServer(cut(CONTENT, 300_000, **headers), whole(CONTENT)) as server:
        download(bench, server, **ANY)
        assert "Range" not in server.seen[1]
    assert (bench.root / "file").read_bytes() == CONTENT


def test_a_validator_outlasts_a_server_in_trouble(bench):
    with WebServer(cut(CONTENT, 300_000, ETag='"1"'), refuse(503), whole(CONTENT, ETag='"1"')) as server:
        download(bench, server, **ANY)
        assert server.seen[2]["If-Range"] == '"1"'
        assert server.seen[2]["Range"] == "bytes=300000-"
    assert (bench.root / "file").read_bytes() == CONTENT


def test_without_digest_and_without_validator_it_starts_again(bench):
    with WebServer(cut(CONTENT, 300_000), whole(CONTENT)) as server:
        download(bench, server, **ANY)
        assert "Range" not in server.seen[1]
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


def test_a_run_that_is_stopped_stops_a_transfer(bench):
    def stop(duration):
        raise Cancelled("the run is being stopped")

    bench.host.sleep_ms = stop
    times = iter(range(0, 100_000_000, 300))
    bench.host.now_ms = lambda: next(times)
    with WebServer(whole(CONTENT)) as server, pytest.raises(Cancelled):
        download(bench, server)


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
        ({"url": "http://me:12x/secret@host/"}, "cannot be read"),
        ({"url": "http://host/ü"}, "not ASCII"),
        ({"url": "http:/host/x"}, "names no host"),
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


# between attempts, and from place to place -------------------------------------------------------


def test_what_came_stays_for_the_next_time(bench):
    with WebServer(cut(CONTENT, 300_000), refuse(503)) as server:
        refused(bench, server, "status 503")
        (place,) = os.listdir(bench.host.scratch())
        assert os.stat(f"{bench.host.scratch()}/{place}").st_mode & 0o7777 == 0o600
        server.answers = [whole(CONTENT)]
        download(bench, server)
        assert server.seen[-1]["Range"] == "bytes=300000-"
    assert (bench.root / "file").read_bytes() == CONTENT
    assert not os.listdir(bench.host.scratch())


@pytest.mark.parametrize(
    "bad", [refuse(404), refuse(503), redirect("file:///etc/passwd"), whole(b"forged"), chunks(CONTENT, b"more")]
)
def test_the_next_mirror_is_asked_when_one_fails(bench, bad):
    logged = []
    bench.host.log = logged.append
    with WebServer(bad) as one, WebServer(refuse(404)) as two, WebServer(whole(CONTENT)) as three:
        download(bench, one, mirrors=[two.url, three.url], max_size=len(CONTENT))
    assert (bench.root / "file").read_bytes() == CONTENT
    assert [line.split(" ")[0].rstrip(":") for line in logged] == [one.url, two.url]


def test_a_mirror_goes_on_where_another_broke_off(bench):
    with WebServer(cut(CONTENT, 300_000), refuse(404)) as one, WebServer(whole(CONTENT)) as two:
        download(bench, one, mirrors=[two.url])
        assert two.seen[0]["Range"] == "bytes=300000-"
    assert (bench.root / "file").read_bytes() == CONTENT


def test_without_digest_a_mirror_starts_at_the_beginning(bench):
    with (
        WebServer(cut(b"old" * 999, 300, ETag='"1"'), refuse(404)) as one,
        WebServer(whole(CONTENT, ETag='"1"')) as two,
    ):
        download(bench, one, mirrors=[two.url], **ANY)
        assert "Range" not in two.seen[0]
    assert (bench.root / "file").read_bytes() == CONTENT


def test_a_mirror_is_not_asked_when_the_first_one_has_it(bench):
    with WebServer(whole(CONTENT)) as one, WebServer(whole(CONTENT)) as two:
        download(bench, one, mirrors=[two.url])
        assert two.seen == []


def test_when_no_mirror_has_it_each_is_named(bench, tmp_path):
    with WebServer(refuse(404)) as one, WebServer(whole(b"forged")) as two:
        text = refused(bench, one, "none of 3 addresses", mirrors=[two.url, f"file://{tmp_path}/none"])
    assert f"{one.url} answered with status 404; " in text
    assert f"{two.url} gave sha256 " in text
    assert f"file://{tmp_path}/none cannot be downloaded: No such file or directory" in text


def test_a_mirror_that_is_no_address_is_refused_at_once(bench):
    with pytest.raises(ActionError, match=r"'http://…@host/x' holds a user name") as found:
        bench.observe(Download(), url="http://host/x", path="/file", sha256=DIGEST, mirrors=["http://me:secret@host/x"])
    assert "secret" not in str(found.value)


def test_a_run_that_is_stopped_asks_no_mirror(bench):
    def stop(duration):
        raise Cancelled("the run is being stopped")

    bench.host.sleep_ms = stop
    with WebServer(refuse(503)) as one, WebServer(whole(CONTENT)) as two:
        with pytest.raises(Cancelled):
            download(bench, one, mirrors=[two.url])
        assert two.seen == []


def test_the_proxy_of_the_environment_is_used(bench, monkeypatch):
    with WebServer(whole(CONTENT)) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.removesuffix("/file"))
        bench.do(Download(), url="http://far.invalid/file", path="/file", sha256=DIGEST)
        assert proxy.seen[0]["Host"] == "far.invalid"
        monkeypatch.setenv("https_proxy", "http://me:secret@" + proxy.url[7:])
        with pytest.raises(ActionError, match="Tunnel connection failed: 501") as found:
            bench.do(Download(), url="https://far.invalid/file", path="/other", sha256=DIGEST)
    assert "secret" not in str(found.value)


def test_a_full_disk_is_told_as_one(bench):
    with open("/dev/full", "wb", buffering=0) as full, pytest.raises(ActionError, match="cannot be kept: No space"):
        transfer._write(full, b"x")


# TLS ---------------------------------------------------------------------------------------------


@pytest.fixture
def own(bench, tmp_path):
    """A certificate that signed itself; its public part is /ca.crt on the target."""
    made = certificate(tmp_path, "127.0.0.1")
    text = made.read_text()
    (bench.root / "ca.crt").write_text(text[text.index("-----BEGIN CERTIFICATE") :])
    return made


def test_a_server_is_trusted_by_the_certificate_that_is_given(bench, own):
    with WebServer(whole(CONTENT), certificate=own) as server:
        text = refused(bench, server, "certificate is not trusted: self-signed certificate")
        assert "secret" not in text
        download(bench, server, ca="/ca.crt")
    assert (bench.root / "file").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("names", "expired", "words"),
    [(["127.0.0.1"], True, "certificate has expired"), (["other.example"], False, "not valid for '127.0.0.1'")],
)
def test_old_certificates_and_those_of_others_are_refused_and_asked_once(bench, tmp_path, names, expired, words):
    bad = certificate(tmp_path, *names, expired=expired)
    (bench.root / "ca.crt").write_bytes(bad.read_bytes())
    with WebServer(whole(CONTENT), certificate=bad) as server, WebServer(whole(CONTENT)) as mirror:
        refused(bench, server, words, ca="/ca.crt")
        download(bench, server, ca="/ca.crt", mirrors=[mirror.url])


def test_a_redirect_never_leads_out_of_https(bench, own):
    with WebServer(whole(CONTENT)) as plain, WebServer(redirect(plain.url), certificate=own) as server:
        refused(bench, server, "from https to http", ca="/ca.crt")
        assert plain.seen == []


def test_a_redirect_may_lead_into_https(bench, own):
    with WebServer(whole(CONTENT), certificate=own) as there, WebServer(redirect(there.url)) as here:
        download(bench, here, ca="/ca.crt")
    assert (bench.root / "file").read_bytes() == CONTENT


def test_an_address_of_ipv6_is_downloaded_from(bench):
    try:
        server = WebServer(whole(CONTENT), address="::1")
    except OSError:
        pytest.skip("this machine has no IPv6")
    with server:
        download(bench, server)
    assert (bench.root / "file").read_bytes() == CONTENT


@pytest.mark.parametrize("url", ["http://no-such-host.invalid/x", "http://127.0.0.1:1/x", "http://a..b/x"])
def test_a_host_that_is_not_there_is_told(bench, url):
    with pytest.raises(ActionError, match=rf"{url} cannot be downloaded: (nobody listens there|its name )"):
        bench.do(Download(), url=url, path="/file", sha256=DIGEST)
