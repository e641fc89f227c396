"""Notifications: who is told what, and what becomes of those who do not listen. Real HTTP on loopback."""

import asyncio
import socket
from itertools import count

import aiohttp
import pytest

from requisition.schemas.diagnostic import Failed
from requisition.services.watch import notify
from requisition.services.watch.config import Notify, Watch
from requisition.services.watch.notify import message, tell
from requisition.services.watch.records import Run
from support.ear import Ear


def run(**fields):
    given = {"id": "r1", "watch": "web", "ref": "refs/heads/main", "hash": "a" * 40, "good": "", "forced": False,
             "step": "apply", "status": "good", "attempt": 1, "started": 1_800_000_000.0, "ended": 1_800_000_002.5}  # fmt: skip
    return Run(**given | fields)


@pytest.fixture
def to(tmp_path):
    """A target at an address, by its file."""
    numbers = count()

    def target(url, on=("success",)):
        file = tmp_path / f"address{next(numbers)}"
        file.write_text(url)
        return Notify(url_file=str(file), on=on)

    return target


def watch(*targets):
    return Watch(name="web", url="/srv/web.git", notify=targets)


def test_the_end_of_a_run_is_told_once_as_json(to):
    with Ear() as ear:
        asyncio.run(tell(watch(to(ear.url)), run(), ""))
        ((path, kind, said),) = ear.heard
    assert (path, kind) == ("/hook/very-secret-token", "application/json")
    assert said == message(run(), "")
    assert said["text"] == "web: main at aaaaaaaaaaaa is applied"
    assert (said["started"], said["ended"]) == ("2027-01-15T08:00:00Z", "2027-01-15T08:00:02Z")


EVENTS = [
    (("success",), run(), "", True),
    (("failure", "paused"), run(), "", False),
    (("failure",), run(status="failed", reason="x"), "", True),
    (("failure",), run(status="refused", reason="x"), "", True),
    (("success",), run(status="failed"), "", False),
    (("paused",), run(status="failed"), "3 failures", True),
    (("paused",), run(status="failed"), "", False),
]


@pytest.mark.parametrize(("on", "ended", "paused", "told"), EVENTS)
def test_each_hears_what_it_asked_for(to, on, ended, paused, told):
    with Ear() as ear:
        asyncio.run(tell(watch(to(ear.url, on)), ended, paused))
        assert len(ear.heard) == told


def test_a_failure_is_told_with_where_and_why():
    said = message(run(status="failed", step="check", reason="no such file"), "3 failures in a row")
    assert said["text"] == (
        "web: main at aaaaaaaaaaaa failed at check: no such file. The watch is paused: 3 failures in a row."
    )


def test_the_address_may_stand_in_a_file_that_is_read_each_time(tmp_path):
    file = tmp_path / "address"
    with Ear() as one, Ear() as two:
        target = Notify(url_file=str(file), on=("success",))
        for ear in (one, two):
            file.write_text(ear.url + "\n")
            asyncio.run(tell(watch(target), run(), ""))
            assert len(ear.heard) == 1


def failure(*targets):
    with pytest.raises(Failed) as caught:
        asyncio.run(tell(watch(*targets), run(), ""))
    return str(caught.value)


@pytest.mark.parametrize("status", [301, 302, 400, 404, 500])
def test_any_answer_but_yes_is_a_failure_and_a_redirect_is_not_followed(to, status):
    with Ear(status) as ear:
        told = failure(to(ear.url))
        assert f"127.0.0.1 answers {status}" in told
        assert "secret" not in told
        assert len(ear.heard) == 1


def test_one_that_fails_does_not_keep_the_others_from_being_told(to):
    with Ear(500) as bad, Ear() as good:
        failure(to(bad.url), to(good.url))
        assert len(good.heard) == 1


def test_one_that_accepts_and_is_silent_is_left(to, monkeypatch):
    monkeypatch.setattr(notify, "_PATIENCE", aiohttp.ClientTimeout(total=0.1))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/secret"
        told = failure(to(url))
    assert "127.0.0.1 does not answer within 0.1 s" in told
    assert "secret" not in told


def test_nobody_there_is_a_failure_without_the_address_s_path(to):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/secret"
    told = failure(to(url))
    assert "127.0.0.1: ClientConnectorError" in told
    assert "secret" not in told


ADDRESSES = [
    "",
    "ftp://host/secret",
    "file:///etc/secret",
    "http://",
    "secret",
    "http://[secret",
    "http://x/" + "s" * 5000,
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_what_is_no_address_is_a_failure(tmp_path, address):
    file = tmp_path / "address"
    file.write_text(address)
    told = failure(Notify(url_file=str(file), on=("success",)))
    assert "an address that cannot be read: ValueError" in told
    assert "secret" not in told


def test_a_file_that_is_not_there_is_a_failure(tmp_path):
    assert "FileNotFoundError" in failure(Notify(url_file=str(tmp_path / "absent"), on=("success",)))


def test_a_machine_is_found_by_its_name_and_one_that_has_none_is_a_failure(to):
    with Ear() as ear:
        asyncio.run(tell(watch(to(ear.url.replace("127.0.0.1", "localhost"))), run(), ""))
        assert len(ear.heard) == 1
    assert "nowhere.invalid: " in failure(to("http://nowhere.invalid/secret"))
