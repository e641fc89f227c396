"""Gates: they stop, skip or warn, and never change anything."""

import re
import socket
import sys

import pytest

from support.orders import OrderBuilder
from support.process import request
from support.session import ask
from support.trees import build, snapshot


class Gated:
    """A package whose gate stands before one file, with another file beside it."""

    def __init__(self, folder):
        self.folder, self.root = folder, folder / "root"
        build(self.root, {"etc": {"f": b"x"}, "l": ("link", "etc")})

    def run(self, action, verb="apply", **slots):
        order = OrderBuilder(self.folder / "package", self.root)
        gate = order.node(action, name="gate", slots=slots)
        behind = order.node("file.write", content="behind", path="/behind", needs=[gate])
        order.node("file.write", content="far", path="/far", needs=[behind])
        order.node("file.write", content="beside", path="/beside")
        return ask(request(verb, self.folder / "state", order.write()))

    def made(self):
        return sorted(path.name for path in self.root.iterdir() if path.name in ("behind", "far", "beside"))


@pytest.fixture
def gated(tmp_path):
    return Gated(tmp_path)


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return port


PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
MET = [
    ("require.path", {"path": "/etc/f"}),
    ("require.path", {"path": "/etc", "kind": "dir"}),
    ("require.path", {"path": "/l", "kind": "link"}),
    ("require.path", {"path": "/none", "absent": True}),
    ("require.command", {"name": "sh"}),
    ("require.command", {"name": "bash", "version": ">=3, <99"}),
    ("require.os", {"any_of": ["plan9", "linux"]}),
    ("require.disk", {"free_mib": 1, "path": "/etc"}),
]
UNMET = [
    ("require.path", {"path": "/none"}, "/none is not there"),
    ("require.path", {"path": "/etc/f", "kind": "dir"}, "is a file, not a dir"),
    ("require.path", {"path": "/etc/f", "absent": True}, "must not be"),
    ("require.command", {"name": "no-such-program"}, "there is no program no-such-program"),
    ("require.command", {"name": "bash", "version": ">=99"}, "bash is "),
    ("require.os", {"any_of": ["plan9"]}, "not plan9"),
    ("require.arch", {"any_of": ["vax", "pdp11"]}, "not vax or pdp11"),
    ("require.disk", {"free_mib": 1 << 40}, "MiB free"),
]


@pytest.mark.parametrize(("action", "slots"), MET)
def test_a_gate_that_is_met_lets_everything_through(gated, action, slots):
    answer = gated.run(action, **slots)
    assert answer.status == "done", answer.text
    assert gated.made() == ["behind", "beside", "far"]
    assert gated.run(action, **slots).result.summary == {"unchanged": 4}


@pytest.mark.parametrize(("action", "slots", "words"), UNMET)
def test_an_error_stops_the_run_and_leaves_nothing(gated, action, slots, words):
    before = snapshot(gated.root)
    answer = gated.run(action, **slots)
    assert answer.status in ("bad_input", "failed")
    assert words in answer.text
    assert "package.star:1" in answer.text
    assert snapshot(gated.root) == before


@pytest.mark.parametrize(("action", "slots", "words"), UNMET)
def test_a_skip_leaves_out_what_waits_for_the_gate_and_nothing_else(gated, action, slots, words):
    answer = gated.run(action, **slots, on_fail="skip")
    assert answer.status == "done", answer.text
    assert gated.made() == ["beside"]
    assert answer.result.summary == {"skipped": 3, "done": 1}
    assert gated.run(action, **slots, on_fail="skip").result.summary == {"skipped": 3, "unchanged": 1}


@pytest.mark.parametrize(("action", "slots", "words"), UNMET)
def test_a_warning_is_said_and_everything_goes_on(gated, action, slots, words):
    answer = gated.run(action, **slots, on_fail="warn", message="mind this")
    assert answer.status == "done", answer.text
    assert "warning: mind this" in answer.text
    assert gated.made() == ["behind", "beside", "far"]


def test_what_preflight_can_know_stops_before_a_run_is_begun(gated):
    answer = gated.run("require.path", path="/none")
    assert answer.status == "bad_input"
    assert answer.result.run_id == ""


def test_a_dry_run_tells_what_a_closed_gate_leaves_out(gated):
    answer = gated.run("require.path", "dry-run", path="/none", on_fail="skip")
    assert answer.result.summary == {"change": 1, "unchanged": 0, "unknown": 0, "skip": 3}


def test_a_port_that_should_be_free_or_taken(gated, listener, closed_port):
    assert gated.run("require.port", port=listener, open=True).status == "done"
    assert "taken" in gated.run("require.port", port=listener).text
    assert "closed" in gated.run("require.port", port=closed_port, open=True).text
    assert gated.run("require.port", port=closed_port).status == "done"


@pytest.mark.parametrize(
    ("action", "slots", "words"),
    [
        ("require.path", {"path": "/none", "on_fail": "explode"}, "on_fail is 'explode'"),
        ("require.command", {"name": "/bin/sh"}, "no name of a program"),
        ("require.command", {"name": "sh", "version": "~~"}, "no version"),
        ("require.port", {"port": 70000}, "is no port"),
    ],
)
def test_what_a_gate_cannot_mean_is_refused(gated, action, slots, words):
    answer = gated.run(action, **slots)
    assert words in answer.text
    assert gated.made() == []


HELD = [
    {"path_exists": "/etc/f"},
    {"cmd_available": "sh"},
    {"symlink_ok": {"src": "etc", "dst": "/l"}},
    {"all_of": []},
    {"all_of": [{"path_exists": "/etc"}, {"cmd_available": "sh"}]},
    {"any_of": [{"path_exists": "/no"}, {"path_exists": "/l"}]},
    {"none_of": [{"path_exists": "/no"}, {"symlink_ok": {"src": "other", "dst": "/l"}}]},
    {"none_of": [{"all_of": [{"path_exists": "/etc"}, {"path_exists": "/no"}]}]},
]
NOT_HELD = [
    {"path_exists": "/no"},
    {"cmd_available": "no-such-program"},
    {"symlink_ok": {"src": "etc", "dst": "/etc"}},
    {"symlink_ok": {"src": "etc", "dst": "/no"}},
    {"any_of": []},
    {"all_of": [{"path_exists": "/etc"}, {"path_exists": "/no"}]},
    {"none_of": [{"path_exists": "/etc"}]},
]
NO_TESTS = [
    "text",
    {},
    {"path_exists": 1},
    {"path_exists": "/", "any_of": []},
    {"cmd_available": "/bin/sh"},
    {"cmd_available": "-v"},
    {"cmd_available": ""},
    {"symlink_ok": {"src": "x"}},
    {"symlink_ok": {"src": "x", "dst": 1}},
    {"symlink_ok": {"src": "x", "dst": "/../x"}},
    {"path_exists": "/../../../../../../etc/passwd"},
    {"path_exists": "etc"},
    {"path_exists": "//etc"},
    {"path_exists": "/e\0"},
    {"any_of": "x"},
    {"reg_key": {"path": "HKCU"}},
]


@pytest.mark.parametrize("test", HELD)
def test_a_condition_that_holds_opens_the_gate(gated, test):
    assert gated.run("require.condition", test=test).status == "done"
    assert gated.made() == ["behind", "beside", "far"]


@pytest.mark.parametrize("test", NOT_HELD)
def test_a_condition_that_does_not_hold_closes_the_gate(gated, test):
    answer = gated.run("require.condition", test=test)
    assert "it does not hold: " in answer.text
    assert gated.made() == []
    assert gated.run("require.condition", test=test, on_fail="skip").status == "done"
    assert gated.made() == ["beside"]


def test_a_condition_can_be_asked_without_being_required(gated):
    assert gated.run("require.condition", test={"path_exists": "/no"}, on_fail="tell").status == "done"
    assert gated.made() == ["behind", "beside", "far"]


@pytest.mark.parametrize("test", NO_TESTS)
def test_what_is_no_condition_is_refused(gated, test):
    assert re.search("expected a test|is no test", gated.run("require.condition", test=test).text)
    assert gated.made() == []


def test_a_condition_that_is_nested_without_end_is_refused(gated):
    test = {"path_exists": "/etc"}
    for _ in range(31):
        test = {"all_of": [test]}
    assert gated.run("require.condition", test=test).status == "done"
    assert "at most 32 deep" in gated.run("require.condition", test={"all_of": [test]}).text
