"""`plan delivery`, end to end: the real command, real far ends, the service as a process."""

import http.client
import json
import signal
import subprocess
from contextlib import closing
from html.parser import HTMLParser

import pytest

from support import sshd
from support.deliveries import Beyond
from support.shipping import QUICK, Shipper
from support.sshd import free_port


@pytest.fixture
def shipper(tmp_path):
    made = Shipper(tmp_path)
    yield made
    made.close()


def test_a_folder_is_delivered_verified_told_of_and_cleaned_up(shipper):
    shipper.configure(cleanup=QUICK)
    job = shipper.enqueued("2026/one", {"a.txt": "hello\n", "sub/b with space": "b"})
    assert "1 queued" in shipper.plan("status")
    assert "verified" in shipper.plan("run")
    assert (shipper.disk / "2026/one/a.txt").read_text() == "hello\n"
    sums = subprocess.run(
        ["sha256sum", "--check", "--quiet", "../one.delivery/SHA256SUMS"], cwd=shipper.disk / "2026/one", check=False
    )
    assert sums.returncode == 0
    told = shipper.plan("clean", "--dry-run")
    assert "✗ passes: 1 of 2 comparisons" in told
    assert "✓ verified: all of it was compared at the far end just now" in told
    shipper.until(lambda: (shipper.plan("run"), shipper.state(job))[1] == "cleaned")
    assert list((shipper.root / "2026/one").rglob("*.txt")) == []
    assert (shipper.disk / "2026/one/sub/b with space").read_text() == "b"
    history = [event["new"] for event in shipper.json("show", job)[0]["history"]]
    assert history[0] == "queued"
    assert history[-1] == "cleaned"


def test_what_is_under_way_already_is_not_shipped_twice(shipper):
    job = shipper.enqueued("one", {"a": "a"})
    assert shipper.json("enqueue", shipper.root / "one", "--to", "disk")[0]["id"] == job
    assert len(shipper.json("list")) == 1


def test_the_gate_blocks_until_someone_takes_it_upon_them_and_again_when_that_is_revoked(shipper):
    job = shipper.enqueued("one", {"report <date>.txt": "x"})
    assert "was never filled in" in shipper.plan("run", code=1) + shipper.plan("status")
    assert shipper.plan("status", "--detailed-exitcode", code=2)
    assert "placeholders" in shipper.plan("override", job, "names", "--reason", "meant so", code=4)
    assert "reason" in shipper.plan("override", job, "placeholders", code=4)
    assert "reason" in shipper.plan("override", job, "placeholders", "--reason", " ", code=4)
    shipper.plan("override", job, "placeholders", "--reason", "the name is meant")
    shipper.plan("revoke", job, "placeholders", "--reason", "it is not")
    assert shipper.state(job) == "blocked"
    shipper.plan("override", job, "placeholders", "--reason", "it is after all")
    shipper.plan("run")
    assert shipper.state(job) == "verified"
    overrides = shipper.json("show", job)[0]["overrides"]
    assert [one["reason"] for one in overrides] == ["the name is meant", "it is after all"]
    assert overrides[0]["revoked_why"] == "it is not"


def test_something_else_at_the_target_is_kept_and_the_job_fails(shipper):
    (shipper.disk / "one").mkdir()
    (shipper.disk / "one/a").write_text("somebody's")
    job = shipper.enqueued("one", {"a": "ours"})
    assert "conflict" in shipper.plan("run", code=1) + shipper.plan("status")
    assert (shipper.disk / "one/a").read_text() == "somebody's"
    (shipper.disk / "one/a").unlink()
    (shipper.disk / "one").rmdir()
    shipper.plan("retry", job)
    shipper.plan("run")
    assert (shipper.disk / "one/a").read_text() == "ours"


def test_verify_compares_both_ends_with_what_was_delivered_and_changes_neither(shipper):
    job = shipper.enqueued("one", {"a": "a", "b": "b"})
    shipper.plan("run")
    sums = (shipper.disk / "one.delivery/SHA256SUMS").read_bytes()
    (shipper.root / "one/b").write_text("changed here")
    told = shipper.json("verify", job)[0]
    assert (told["good"], told["counted"]) == (True, True)
    assert "1 different: 'b'" in told["source"]
    (shipper.disk / "one/a").write_text("A")
    assert "1 different: 'a'" in shipper.plan("verify", job, code=1)
    assert shipper.state(job) == "failed"
    assert (shipper.disk / "one.delivery/SHA256SUMS").read_bytes() == sums


def test_a_destination_is_paused_and_resumed_and_a_job_too(shipper):
    job = shipper.enqueued("one", {"a": "a"})
    shipper.plan("pause", "--to", "disk", "--reason", "moving house")
    assert "paused" in shipper.plan("status")
    assert "nothing is due" in shipper.plan("run")
    shipper.plan("resume", "--to", "disk")
    shipper.plan("pause", job)
    shipper.plan("run")
    assert shipper.state(job) == "queued"
    shipper.plan("resume", job)
    shipper.plan("run")
    assert shipper.state(job) == "verified"
    assert "name jobs, or one destination" in shipper.plan("pause", code=4)


def test_a_job_that_nobody_wants_any_more_is_cancelled_and_can_be_had_again(shipper):
    job = shipper.enqueued("one", {"a": "a"})
    shipper.plan("cancel", job, "--reason", "a mistake")
    shipper.plan("run")
    assert (shipper.state(job), list(shipper.disk.iterdir())) == ("cancelled", [])
    shipper.plan("retry", job)
    shipper.plan("run")
    assert shipper.state(job) == "verified"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("enqueue", "/etc", "--to", "disk"), "lies in none of the roots"),
        (("enqueue", "runs/nothing", "--to", "disk"), "this is no folder"),
        (("enqueue", "runs", "--to", "disk"), "name one with --as TARGET"),
        (("enqueue", "runs", "--to", "disk", "--as", "../x"), "is no target"),
        (("enqueue", "runs", "--to", "moon", "--as", "x"), "there is no destination 'moon'"),
        (("list", "--in", "lost"), "there is no state 'lost'"),
        (("show", "ffff"), "ffff"),
        (("clean",), "clean-up is off"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_enqueues_nothing(shipper, words, says):
    assert says in shipper.plan(*words, code=4)
    assert shipper.json("list") == []


def test_a_folder_that_a_link_leads_out_of_the_roots_to_is_refused(shipper, tmp_path):
    (tmp_path / "private").mkdir()
    (shipper.root / "link").symlink_to(tmp_path / "private")
    assert "none of the roots" in shipper.plan("enqueue", shipper.root / "link", "--to", "disk", code=4)


@sshd.skip_without()
def test_a_folder_arrives_over_ssh_under_its_full_path(tmp_path):
    beyond = Beyond(tmp_path)
    try:
        (tmp_path / "mine").mkdir()
        shipper = Shipper(tmp_path / "mine")
        there = beyond.destination
        fields = ("kind", "path", "host", "port", "identity", "known_hosts")
        shipper.configure({"vault": {name: getattr(there, name) for name in fields}})
        assert "✓ vault" in shipper.plan("check", "--reach")
        job = shipper.enqueued("2026/11/one", {"a": "a", "new\nline": "n"}, to="vault")
        shipper.plan("run")
        assert shipper.state(job) == "verified"
        assert (beyond.root / "2026/11/one/new\nline").read_text() == "n"
        assert shipper.json("verify", job)[0]["far"] == "all there (ssh)"
    finally:
        beyond.machine.close()


def test_a_destination_that_cannot_be_used_is_told_by_check(shipper):
    shipper.configure({"gone": {"kind": "local", "path": str(shipper.folder / "gone")}})
    assert "! gone" in shipper.plan("check", "--reach", code=1)
    assert "✓ gone" in shipper.plan("check")


# -- the service


def test_a_service_that_was_killed_loses_nothing_and_goes_on(shipper):
    shipper.start()
    first = shipper.enqueued("one", {"a": "a"})
    shipper.until(lambda: shipper.state(first) == "verified")
    shipper.service.kill()
    shipper.service.wait()
    second = shipper.enqueued("two", {"b": "b" * 100_000})
    shipper.start()
    shipper.until(lambda: shipper.state(second) == "verified")
    assert (shipper.disk / "two/b").stat().st_size == 100_000
    shipper.service.send_signal(signal.SIGTERM)
    assert shipper.service.wait(30) == 0
    assert not shipper.socket.exists()


def test_a_second_service_at_the_same_socket_ends_at_once(shipper):
    shipper.start()
    assert "already running" in shipper.plan("serve", code=5)


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.text = ""
        self.tags = set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)

    def handle_data(self, data):
        self.text += data


def test_the_status_page_tells_of_jobs_and_changes_nothing(shipper):
    address = f"127.0.0.1:{free_port()}"
    shipper.configure(listen=address)
    shipper.start()
    job = shipper.enqueued("one", {"a&b '\">": "x"})
    shipper.until(lambda: shipper.state(job) == "verified")

    def get(path, method="GET", host=address):
        with closing(http.client.HTTPConnection(address, timeout=30)) as connection:
            connection.request(method, path, headers={"Host": host})
            answer = connection.getresponse()
            return answer, answer.read().decode()

    answer, text = get("/")
    page = Page(text)
    assert answer.status == 200
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "verified" in page.text
    assert not page.tags & {"script", "form", "button"}
    assert "all there (read)" in Page(get(f"/job/{job}")[1]).text
    assert get("/job/ffff")[0].status == 404
    assert get("/", "POST")[0].status == 405
    assert get("/", host="evil.example")[0].status == 403
    assert 'requisition_delivery_jobs{destination="disk",state="verified"} 1' in get("/metrics")[1]
    assert json.loads(get("/health")[1]) == {"status": "ok"}


def test_the_unit_lets_the_service_write_to_little(shipper, tmp_path):
    shipper.plan("install", "--to", tmp_path / "units")
    unit = (tmp_path / "units/requisition-delivery.service").read_text()
    assert f"ReadWritePaths=-{shipper.disk}\n" in unit or "NoNewPrivileges" in unit
    assert f"ReadWritePaths=-{shipper.root}" not in unit
    shipper.configure(cleanup=QUICK)
    shipper.plan("install", "--to", tmp_path / "units")
    again = (tmp_path / "units/requisition-delivery.service").read_text()
    assert (f"ReadWritePaths=-{shipper.root}\n" in again) == ("ProtectSystem=strict" in again)
