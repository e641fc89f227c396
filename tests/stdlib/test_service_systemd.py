"""Services under a systemd that runs, in a machine of its own."""

import os
import re
import shutil

import pytest

from support import trees
from support.machines import systemd_machine
from support.orders import OrderBuilder
from support.process import request
from support.session import ask

UNIT = """[Unit]
DefaultDependencies=no
[Service]
ExecStart=/bin/sh -c 'test ! -e {conf} || . {conf}; exec sleep 1000'
ExecReload=/bin/sh -c 'echo reloaded >> {log}'
[Install]
WantedBy=quiet.target
"""


@pytest.fixture
def machine(tmp_path):
    with systemd_machine(tmp_path) as machine:
        machine.write("/etc/systemd/system/demo.service", UNIT.format(conf=tmp_path / "conf", log=tmp_path / "log"))
        yield machine


class Demo:
    """Orders on the root of that machine."""

    def __init__(self, machine, folder):
        self.machine = machine
        self.folder = folder
        self.state = folder / "state"
        self.count = 0

    def order(self):
        self.count += 1
        return OrderBuilder(self.folder / f"package{self.count}", "/", serial=self.count)

    def apply(self, order, **fields):
        return self.machine.plan("apply", self.state, order.write(), **fields)

    def active(self):
        return self.machine.says("systemctl", "is-active", "demo")

    def enabled(self):
        return self.machine.says("systemctl", "is-enabled", "demo")

    def pid(self):
        return self.machine.run("systemctl", "show", "--property=MainPID", "--value", "demo")


@pytest.fixture
def demo(machine, tmp_path):
    return Demo(machine, tmp_path)


def restarting(demo, text, *actions):
    """An order that writes the configuration and reacts to that."""
    order = demo.order()
    conf = order.node("file.write", content=text, path=str(demo.folder / "conf"))
    for action in actions:
        order.node(action, slots={"name": "demo"}, needs=[conf])
    return order


def test_a_service_is_enabled_and_started_once_and_a_rollback_stops_and_disables_it(demo):
    order = demo.order()
    enabled = order.node("service.enable", slots={"name": "demo"})
    order.node("service.start", slots={"name": "demo"}, needs=[enabled])
    first = demo.apply(order)
    assert first.status == "done", first.text
    assert (demo.active(), demo.enabled()) == ("active", "enabled")
    again = demo.apply(order)
    assert again.result.summary == {"unchanged": 2}, again.text
    assert demo.machine.plan("status", demo.state, target_root="/").status == "done"
    demo.machine.run("systemctl", "stop", "demo")
    demo.machine.run("systemctl", "disable", "-q", "demo")
    drift = demo.machine.plan("status", demo.state, target_root="/")
    assert "systemd:demo.service: was running, is stopped" in drift.text
    assert "systemd-boot:demo.service: was enabled, is disabled" in drift.text
    demo.machine.run("systemctl", "enable", "-q", "--now", "demo")
    back = demo.machine.plan("rollback", demo.state, first.result.receipt)
    assert back.status == "done", back.text
    assert (demo.active(), demo.enabled()) == ("inactive", "disabled")


def test_a_service_is_stopped_and_disabled_and_a_rollback_brings_both_back(demo):
    demo.machine.run("systemctl", "enable", "-q", "--now", "demo")
    order = demo.order()
    order.node("service.disable", slots={"name": "demo"})
    order.node("service.stop", slots={"name": "demo"})
    first = demo.apply(order)
    assert (demo.active(), demo.enabled()) == ("inactive", "disabled"), first.text
    assert demo.apply(order).result.summary == {"unchanged": 2}
    assert demo.machine.plan("rollback", demo.state, first.result.receipt).status == "done"
    assert (demo.active(), demo.enabled()) == ("active", "enabled")


def test_a_restart_is_done_when_what_it_waits_for_changed_and_else_not(demo):
    demo.machine.run("systemctl", "start", "demo")
    before = demo.pid()
    assert demo.apply(restarting(demo, "VALUE=1\n", "service.restart")).result.summary == {"done": 2}
    after = demo.pid()
    assert after != before
    again = demo.apply(restarting(demo, "VALUE=1\n", "service.restart"))
    assert again.result.summary == {"unchanged": 2}, again.text
    assert demo.pid() == after


def test_a_service_whose_restart_fails_runs_with_its_old_configuration_after_the_rollback(demo):
    (demo.folder / "conf").write_text("VALUE=1\n")
    demo.machine.run("systemctl", "start", "demo")
    order = restarting(demo, "exit 3\n", "service.restart")
    order.node("shell.exec", argv=["systemctl", "is-active", "demo"], checks_only=True, phase="verify")
    failed = demo.apply(order, on_conflict="overwrite")
    assert failed.status == "failed"
    assert failed.result.data["state"] == "rolled_back", failed.text
    assert (demo.folder / "conf").read_text() == "VALUE=1\n"
    assert demo.active() == "active"


def test_a_reload_is_taken_back_when_the_old_configuration_is_there_again(demo):
    demo.machine.run("systemctl", "start", "demo")
    first = demo.apply(restarting(demo, "VALUE=1\n", "service.reload"))
    assert first.result.summary == {"done": 2}, first.text
    assert (demo.folder / "log").read_text() == "reloaded\n"
    back = demo.machine.plan("rollback", demo.state, first.result.receipt)
    assert back.status == "done", back.text
    assert (demo.folder / "log").read_text() == "reloaded\n" * 2
    demo.machine.run("systemctl", "stop", "demo")
    idle = demo.apply(restarting(demo, "VALUE=2\n", "service.reload"))
    assert idle.result.summary == {"done": 1, "unchanged": 1}, idle.text


def test_a_unit_whose_file_changed_is_read_again_before_it_is_restarted(demo):
    demo.machine.run("systemctl", "start", "demo")
    order = demo.order()
    text = UNIT.format(conf="/nonexistent", log="/dev/null").replace("sleep 1000", "sleep 2000")
    unit = order.node("file.write", content=text, path="/etc/systemd/system/demo.service")
    order.node("service.restart", slots={"name": "demo"}, needs=[unit])
    first = demo.apply(order, on_conflict="overwrite")
    assert first.status == "done", first.text
    assert "2000" in demo.machine.run("ps", "-o", "args=", "-p", demo.pid())
    assert demo.machine.plan("rollback", demo.state, first.result.receipt).status == "done"
    assert "1000" in demo.machine.run("ps", "-o", "args=", "-p", demo.pid())


def test_a_package_that_brings_its_unit_is_taken_back_whole(demo):
    order = demo.order()
    text = UNIT.format(conf="/nonexistent", log="/dev/null")
    unit = order.node("file.write", content=text, path="/etc/systemd/system/own.service")
    up = order.node("service.start", slots={"name": "own"}, needs=[unit])
    order.node("service.restart", slots={"name": "own"}, needs=[unit, up])
    order.node("shell.exec", argv=["false"], phase="verify")
    failed = demo.apply(order)
    assert failed.result.data["state"] == "rolled_back", failed.text
    assert demo.machine.says("systemctl", "is-active", "own") == "inactive"
    assert demo.machine.says("ls", "/etc/systemd/system") == "demo.service"


REFUSED = {
    "an unknown service": ("start", {"name": "nope"}, "systemd knows no service nope.service"),
    "one to be enabled that is unknown": ("enable", {"name": "nope"}, "systemd knows no service nope.service"),
    "an option": ("start", {"name": "--root=/x"}, "is no name of a unit"),
    "a pattern": ("stop", {"name": "*"}, "is no name of a unit"),
    "a path": ("enable", {"name": "/tmp/x.service"}, "is no name of a unit"),
    "an unknown manager": ("start", {"name": "x", "manager": "upstart"}, "no service manager 'upstart'"),
    "what nothing enables": ("enable", {"name": "systemd-journald"}, "it has no .Install. section"),
    "a restart that waits for nothing": ("restart", {"name": "demo"}, "waits for nothing, so it would never be done"),
}


def test_what_cannot_be_done_is_said_before_anything_is_touched(demo):
    order = demo.order()
    for case, (action, slots, _) in REFUSED.items():
        order.node(f"service.{action}", name=case, slots=slots)
    order.node("file.write", content="x", path=str(demo.folder / "x"))
    answer = demo.apply(order)
    assert answer.status == "bad_input", answer.text
    for _, _, words in REFUSED.values():
        assert re.search(words, answer.text), answer.text
    assert not (demo.folder / "x").exists()


def test_a_service_that_ends_at_once_fails_its_node_and_says_where_to_look(demo):
    (demo.folder / "conf").write_text("exit 3\n")
    text = UNIT.format(conf=demo.folder / "conf", log="").replace("[Service]\n", "[Service]\nType=oneshot\n")
    demo.machine.write("/etc/systemd/system/demo.service", text)
    demo.machine.run("systemctl", "daemon-reload")
    order = demo.order()
    order.node("service.start", slots={"name": "demo"})
    answer = demo.apply(order)
    assert answer.status == "failed"
    assert "systemctl start demo.service ended with exit status 1" in answer.text
    assert "journalctl -u demo.service" in answer.text


@pytest.mark.skipif(shutil.which("systemctl") is None, reason="systemd is not installed")
def test_a_service_of_another_root_is_enabled_there_and_nothing_else_is_done(tmp_path):
    root = tmp_path / "root"
    trees.build(root, {"usr/lib/systemd/system": {
        "demo.service": b"[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n",
        "on@.service": b"[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n",
    }, "usr/lib/systemd/systemd": b"", "etc": {}})  # fmt: skip
    order = OrderBuilder(tmp_path / "package", root)
    order.node("service.enable", name="one", slots={"name": "demo"})
    order.node("service.enable", name="two", slots={"name": "on@x"})
    before = trees.snapshot(root)
    first = ask(request("apply", tmp_path / "state", order.write()))
    assert first.status == "done", first.text
    assert sorted(os.listdir(root / "etc/systemd/system/multi-user.target.wants")) == ["demo.service", "on@x.service"]
    assert ask(request("apply", tmp_path / "state", order.write())).result.summary == {"unchanged": 2}
    assert ask(request("status", tmp_path / "state", target_root=str(root))).status == "done"
    assert ask(request("rollback", tmp_path / "state", first.result.receipt)).status == "done"
    after = trees.snapshot(root)
    assert {path for path in after if path not in before} <= {
        "etc/systemd", "etc/systemd/system", "etc/systemd/system/multi-user.target.wants",
    }  # fmt: skip
    start = OrderBuilder(tmp_path / "package", root)
    start.node("service.start", slots={"name": "demo"})
    refused = ask(request("apply", tmp_path / "state", start.write()))
    assert "systemd runs nothing below the target root" in refused.text


def test_however_many_services_one_question_is_asked_for_all(demo):
    order = demo.order()
    for number in range(3):
        demo.machine.write(f"/etc/systemd/system/s{number}.service", UNIT.format(conf="/nonexistent", log=""))
        demo.machine.run("systemctl", "enable", "-q", "--now", f"s{number}")
        on = order.node("service.enable", name=f"e{number}", slots={"name": f"s{number}"})
        order.node("service.start", name=f"s{number}", slots={"name": f"s{number}"}, needs=[on])
    demo.machine.write(
        "/run/systemctl", f'#!/bin/sh\necho $1 >> {demo.folder}/asked\nexec systemctl.real "$@"\n', "755"
    )
    demo.machine.run("sh", "-c", "cp /usr/bin/systemctl /run/systemctl.real && mount --bind /run /usr/local/sbin")
    assert demo.apply(order).result.summary == {"unchanged": 6}
    assert sorted((demo.folder / "asked").read_text().split()) == ["list-unit-files", "list-units"]
