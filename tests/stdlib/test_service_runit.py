"""Services under runit: a runsvdir of the test's own, below its target root."""

import os
import shutil
import signal
import subprocess

import pytest

from requisition.stdlib.providers.service.runit import parse_status
from support import trees
from support.orders import OrderBuilder
from support.process import request
from support.session import ask

pytestmark = pytest.mark.skipif(shutil.which("runsvdir") is None, reason="runit is not installed")
RUN = b"#!/bin/sh\n. ../../conf\nexec sleep 1000\n"
ENDS = b"#!/bin/sh\nexit 1\n"


class Machine:
    """A root with services, and the runsvdir that runs those which are linked."""

    def __init__(self, folder):
        self.root = folder / "root"
        self.state = folder / "state"
        self.folder = folder
        self.orders = 0
        services = {name: {"run": (RUN, 0o755)} for name in ("demo", "other")} | {"ends": {"run": (ENDS, 0o755)}}
        runsvdir = {"default": {}, "current": ("link", "default")}
        trees.build(self.root, {"etc": {"sv": services, "runit": {"runsvdir": runsvdir}, "conf": b"VALUE=1\n",
                                        "service": ("link", "/etc/runit/runsvdir/current")}})  # fmt: skip
        self.links = self.root / "etc/runit/runsvdir/default"
        self.process = None

    def begin(self, *linked):
        """Run what is linked."""
        for name in linked:
            (self.links / name).symlink_to(f"../../../sv/{name}")
        self.process = subprocess.Popen(
            ["runsvdir", "-P", self.links], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for name in linked:
            while self.status(name) != "run":
                assert self.process.poll() is None

    def end(self):
        """End every runsv, and with it its service: even those that are no longer linked."""
        if self.process is not None:
            self.process.send_signal(signal.SIGHUP)
            self.process.wait(30)
        for name in os.listdir(self.root / "etc/sv"):
            subprocess.run(["sv", "force-shutdown", self.root / "etc/sv" / name], capture_output=True, check=False)

    def status(self, name):
        """What sv says of it."""
        said = subprocess.run(["sv", "status", self.links / name], capture_output=True, text=True, check=False).stdout
        return said.partition(":")[0]

    def pid(self, name):
        return (self.root / "etc/sv" / name / "supervise/pid").read_text()

    def order(self):
        self.orders += 1
        return OrderBuilder(self.folder / f"package{self.orders}", self.root, serial=self.orders)

    def service(self, order, action, name, **fields):
        slots = {"name": name, "manager": "runit"}
        return order.node(f"service.{action}", name=f"{name}{len(order.nodes)}", slots=slots, **fields)

    def ask(self, verb, order="", **fields):
        path = order.write() if isinstance(order, OrderBuilder) else order
        return ask(request(verb, self.state, path, **fields))


@pytest.fixture
def machine(tmp_path):
    machine = Machine(tmp_path)
    yield machine
    machine.end()


def test_a_service_is_linked_and_started_once_and_a_rollback_takes_both_back(machine):
    machine.begin()
    before = sorted(os.listdir(machine.links))
    order = machine.order()
    enabled = machine.service(order, "enable", "demo")
    machine.service(order, "start", "demo", needs=[enabled])
    first = machine.ask("apply", order)
    assert first.status == "done", first.text
    assert machine.status("demo") == "run"
    assert os.readlink(machine.links / "demo") == "../../../sv/demo"
    assert machine.ask("apply", order).result.summary == {"unchanged": 2}
    assert machine.ask("status", target_root=str(machine.root)).status == "done"
    machine.ask("dry-run", order)
    back = machine.ask("rollback", first.result.receipt)
    assert back.status == "done", back.text
    assert sorted(os.listdir(machine.links)) == before


def test_a_service_is_stopped_and_no_longer_linked_and_a_rollback_brings_both_back(machine):
    machine.begin("demo")
    order = machine.order()
    stopped = machine.service(order, "stop", "demo")
    machine.service(order, "disable", "demo", needs=[stopped])
    first = machine.ask("apply", order)
    assert first.status == "done", first.text
    assert os.listdir(machine.links) == []
    assert machine.ask("apply", order).result.summary == {"unchanged": 2}
    back = machine.ask("rollback", first.result.receipt)
    assert back.status == "done", back.text
    assert machine.status("demo") == "run"


def test_a_service_of_the_order_is_taken_back_with_what_runsv_made_of_it(machine):
    machine.begin("demo")
    before = trees.snapshot(machine.root / "etc/sv/other")
    order = machine.order()
    folders = [order.node("file.mkdir", path=f"/etc/sv/{name}") for name in ("own", "own/log")]
    files = [
        order.node("file.write", content=text, path=f"/etc/sv/own/{name}", mode=0o755, needs=folders)
        for name, text in (("run", RUN.decode()), ("log/run", "#!/bin/sh\nexec cat\n"))
    ]
    on = machine.service(order, "enable", "own", needs=files)
    machine.service(order, "start", "own", needs=[on])
    other = machine.service(order, "enable", "other")
    machine.service(order, "start", "other", needs=[other])
    first = machine.ask("apply", order)
    assert first.status == "done", first.text
    assert (machine.status("own"), machine.status("other")) == ("run", "run")
    back = machine.ask("rollback", first.result.receipt)
    assert back.status == "done", back.text
    assert sorted(os.listdir(machine.root / "etc/sv")) == ["demo", "ends", "other"]
    assert trees.snapshot(machine.root / "etc/sv/other") == before
    assert (os.listdir(machine.links), machine.status("demo")) == (["demo"], "run")


def test_drift_of_services_is_told(machine):
    machine.begin("demo", "other")
    order = machine.order()
    for name in ("demo", "other"):
        machine.service(order, "enable", name)
        machine.service(order, "start", name)
    assert machine.ask("apply", order).result.status == "done"
    subprocess.run(["sv", "stop", machine.links / "demo"], check=True, capture_output=True)
    (machine.root / "etc/sv/other/down").touch()
    drift = machine.ask("status", target_root=str(machine.root))
    assert drift.status == "changes"
    assert "runit:demo: was running, is stopped" in drift.text
    assert "runit-boot:other: was enabled, is disabled" in drift.text
    assert drift.result.summary["changed"] == 2


def test_a_restart_is_done_when_what_it_waits_for_changed_and_again_when_that_is_taken_back(machine):
    machine.begin("demo")
    order = machine.order()
    on = machine.service(order, "start", "demo")
    conf = order.node("file.write", content="VALUE=2\n", path="/etc/conf")
    machine.service(order, "restart", "demo", needs=[conf, on])
    began = machine.ask("apply", order, on_conflict="overwrite")
    assert began.status == "done", began.text
    pid = machine.pid("demo")
    again = machine.ask("apply", order)
    assert again.result.summary == {"unchanged": 3}, again.text
    assert machine.pid("demo") == pid
    back = machine.ask("rollback", began.result.receipt)
    assert back.status == "done", back.text
    assert machine.pid("demo") != pid
    assert machine.status("demo") == "run"


def test_what_runit_does_not_run_is_said(machine):
    machine.begin("demo")
    order = machine.order()
    machine.service(order, "start", "nope")
    machine.service(order, "start", "--", phase="second")
    answer = machine.ask("apply", order)
    assert "runit knows no service nope" in answer.text
    assert "'--' is no name of a service" in answer.text
    order = machine.order()
    machine.service(order, "start", "other")
    answer = machine.ask("apply", order)
    assert "runit only runs what is enabled, and other is not" in answer.text


def test_a_service_that_always_ends_is_failing_and_can_be_stopped(machine):
    said = "down: /r/demo: 1s, normally up; run: log: (pid 7) 9s\nrun: /r/ends: (pid 8) 0s\n"
    said += "down: /r/loops: 0s, normally up, want up\nfinish: /r/slow: (pid 9) 1s\nfail: /r/gone: runsv not running\n"
    assert parse_status(said) == {
        "demo": "stopped", "ends": "running", "loops": "failing", "slow": "failing", "gone": "stopped",
    }  # fmt: skip
