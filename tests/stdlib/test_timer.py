"""Timers of systemd: units that it finds no fault in, words that it gives on, and timers under a systemd that runs."""

import json
import os
import shutil
import subprocess

import pytest

from requisition.schemas.diagnostic import BadInput
from requisition.stdlib.action import ActionError, Satisfied
from requisition.stdlib.providers.timer import Absent, Present
from support.hosts import Bench
from support.machines import systemd_machine
from support.orders import OrderBuilder
from support.packages import installed
from support.process import request
from support.session import ask
from support.trees import build, snapshot

WORDS = [
    "", " ", "two words", "a;b", ";", "#", "$HOME", "${HOME}", "$$", "$MAINPID", "100 %", "%n", "%%", "\\", "\\n", "\t",
    "back\\", '"', "'", '"$(id)"', "`id`", "-", "@x", "!x", "~", "*", "[Install]", "ä €", "a=b", "\\x41", "|", "{a,b}",
]  # fmt: skip
"""Words that mean something to systemd or to a shell, if they are let."""
VALUES = {f"V{number}": word for number, word in enumerate(WORDS)}
SAYS = "import json, os, sys; json.dump([sys.argv[2:], dict(os.environ), os.getcwd()], open(sys.argv[1], 'w'))"
JOB = {"name": "tidy", "schedule": "Mon *-*-* 04:00:00", "command": ["/bin/true", "x"]}
AT = "/etc/systemd/system"
WANTS = f"{AT}/timers.target.wants"
needs_analyze = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path)
    build(made.root, {"etc": {"systemd": {"system": {}}}, "usr": {"lib": {"systemd": {"system": {"logs.timer": b""}}}}})
    return made


@needs_analyze
def test_systemd_finds_no_fault_in_the_units(bench):
    bench.do(
        Present(), **(JOB | {"command": ["/bin/sh", *WORDS], "description": "100 % of it; all"}),
        user="root", env=VALUES, directory="/etc/a %", persistent=False, delay=90_000, timeout=1500,
    )  # fmt: skip
    folder = bench.root / AT[1:]
    argv = ["systemd-analyze", "verify", "--man=no", folder / "tidy.service", folder / "tidy.timer"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert (folder / "tidy.timer").read_text().splitlines()[4:8] == [
        "[Timer]", "OnCalendar=Mon *-*-* 04:00:00", "Persistent=no", "RandomizedDelaySec=90s",
    ]  # fmt: skip


@pytest.mark.skipif(shutil.which("systemctl") is None, reason="systemd is not installed")
def test_a_timer_below_another_root_is_enabled_as_systemctl_does_it(bench):
    bench.do(Present(), **JOB)
    link = bench.root / WANTS[1:] / "tidy.timer"
    ours = os.readlink(link)
    argv = ["systemctl", f"--root={bench.root}"]
    said = subprocess.run([*argv, "is-enabled", "tidy.timer"], capture_output=True, text=True, check=False)
    assert said.stdout.strip() == "enabled"
    link.unlink()
    subprocess.run([*argv, "-q", "enable", "tidy.timer"], check=True)
    assert os.readlink(link) in (ours, "../tidy.timer")
    assert isinstance(bench.observe(Present(), **JOB), Satisfied)


def test_a_timer_is_made_once_changed_removed_and_taken_back(bench):
    before = snapshot(bench.root)
    first = bench.do(Present(), **JOB)
    assert isinstance(bench.observe(Present(), **JOB), Satisfied)
    made = snapshot(bench.root)
    second = bench.do(Present(), **(JOB | {"schedule": "daily"}))
    assert [change.path for change in second.files] == [f"{AT}/tidy.timer"]
    bench.undo(Present(), second)
    assert snapshot(bench.root) == made
    gone = bench.do(Absent(), name="tidy")
    assert not list((bench.root / AT[1:]).rglob("tidy*"))
    assert isinstance(bench.observe(Absent(), name="tidy"), Satisfied)
    bench.undo(Absent(), gone)
    assert snapshot(bench.root) == made
    bench.undo(Present(), first)
    assert snapshot(bench.root) == before


CALENDARS = ["daily", "*:0/15", "Mon..Fri *-*-1..7 18:00:00", "2099-01-01", "*-*~01 00:00 Europe/Berlin", "hourly"]
REFUSED = {
    "a schedule that is none": ({"schedule": "dayly"}, "is no calendar expression"),
    "a schedule that is over": ({"schedule": "2020-01-01"}, "never comes"),
    "an option": ({"schedule": "--help"}, "is no calendar expression"),
    "another line in the schedule": ({"schedule": "daily\nUnit=x"}, "is no calendar expression"),
    "another line in the command": ({"command": ["/bin/true", "a\nUser=root"]}, "has the character"),
    "another line in a value": ({"env": {"A": "x\nUser=root"}}, "has the character"),
    "another line in the description": ({"description": "a\n[Service]"}, "has the character"),
    "a description that takes in the next line": ({"description": "a\\"}, "is not one line"),
    "a program by its name": ({"command": ["true"]}, "expected the path of a program"),
    "a program with a prefix": ({"command": ["-/bin/false"]}, "expected the path of a program"),
    "a program by a variable": ({"command": ["/$X"]}, "expected the path of a program"),
    "no program": ({"command": []}, "found nothing"),
    "a variable that is none": ({"env": {"A B": "x"}}, "cannot name a variable"),
    "a name that climbs": ({"name": "../x"}, "cannot name a timer"),
    "a name with its kind": ({"name": "tidy.timer"}, "cannot name a timer"),
    "a name of the system": ({"name": "logs"}, r"logs\.timer comes with the system"),
    "no such user": ({"user": "nobody-here"}, "there is no user"),
    "a user with a line": ({"user": "a\nb"}, "is no name of a user"),
}  # fmt: skip


@needs_analyze
@pytest.mark.parametrize("case", REFUSED)
def test_what_systemd_would_not_take_as_it_was_meant_is_refused(bench, case):
    slots, words = REFUSED[case]
    with pytest.raises(ActionError, match=words):
        bench.observe(Present(), **(JOB | slots))


@needs_analyze
@pytest.mark.parametrize("schedule", CALENDARS)
def test_what_systemd_takes_is_taken(bench, schedule):
    assert bench.do(Present(), **(JOB | {"schedule": schedule})).outputs == {"unit": "tidy.timer"}


def test_a_timer_of_the_system_is_not_removed_and_a_machine_without_systemd_is_told(bench, tmp_path):
    with pytest.raises(ActionError, match="logs.timer comes with the system"):
        bench.observe(Absent(), name="logs")
    (bench.root / AT[1:]).rmdir()
    with pytest.raises(ActionError, match="systemd is not installed"):
        bench.observe(Present(), **JOB)


def test_units_of_somebody_else_are_not_overwritten(tmp_path):
    build(tmp_path / "root", {"etc": {"systemd": {"system": {"tidy.service": b"# mine\n"}}}})
    order = OrderBuilder(tmp_path / "package", tmp_path / "root")
    order.node("timer.present", slots=JOB)
    stopped = ask(request("apply", tmp_path / "state", order.write()))
    assert f"{AT}/tidy.service" in stopped.text
    assert (tmp_path / "root" / AT[1:] / "tidy.service").read_text() == "# mine\n"


def test_calls_about_one_timer_are_done_as_written_and_secrets_are_refused(tmp_path):
    first, second = installed(
        tmp_path / "a", 'plan.timer.absent("a")\nplan.timer.present("a", "daily", ["/bin/true"], delay = "5m")'
    ).values()
    assert second.needs == (first.id,)
    assert second.slots["delay"] == 300_000
    with pytest.raises(BadInput, match="secret"):
        installed(tmp_path / "b", 'plan.timer.present("a", "daily", ["/bin/true"], env = {"A": plan.secret("t")})')


class Demo:
    """Orders on the root of a machine that systemd runs."""

    def __init__(self, machine, folder):
        self.machine = machine
        self.folder = folder
        self.state = folder / "state"
        self.count = 0

    def apply(self, action, *, fails=False, **slots):
        self.count += 1
        order = OrderBuilder(self.folder / f"package{self.count}", "/", serial=self.count)
        first = order.node(action, slots=slots)
        if fails:
            order.node("shell.exec", argv=["false"], needs=[first])
        return self.machine.plan("apply", self.state, order.write())

    def rollback(self, answer):
        done = self.machine.plan("rollback", self.state, answer.result.receipt)
        assert done.status == "done", done.text

    def timer(self):
        """Whether it runs, and when it is to fire."""
        return self.machine.says("systemctl", "is-active", "tidy.timer"), self.when()

    def when(self):
        said = self.machine.run("systemctl", "show", "-P", "TimersCalendar", "tidy.timer")
        return said.partition("OnCalendar=")[2].partition(" ;")[0]


@pytest.fixture
def demo(tmp_path):
    with systemd_machine(tmp_path) as machine:
        for kind in ("service", "timer"):  # else the first of them starts all that a machine has
            machine.run("mkdir", f"{AT}/{kind}.d")
            machine.write(f"{AT}/{kind}.d/quiet.conf", "[Unit]\nDefaultDependencies=no\n")
        yield Demo(machine, tmp_path)


NONE = ("inactive", "")
MONDAYS = ("active", "Mon *-*-* 04:00:00")
DAILY = ("active", "*-*-* 00:00:00")


def test_a_timer_runs_once_it_is_made_and_by_its_old_times_after_a_rollback(demo):
    first = demo.apply("timer.present", **JOB)
    assert first.status == "done", first.text
    assert demo.timer() == MONDAYS
    assert demo.machine.run("systemctl", "is-enabled", "tidy.timer") == "enabled"
    assert demo.apply("timer.present", **JOB).result.summary == {"unchanged": 1}
    second = demo.apply("timer.present", **(JOB | {"schedule": "daily"}))
    assert second.status == "done", second.text
    assert demo.timer() == DAILY
    demo.rollback(second)
    assert demo.timer() == MONDAYS
    assert demo.apply("timer.present", **(JOB | {"schedule": "daily"}), fails=True).status == "failed"
    assert demo.timer() == MONDAYS
    assert demo.machine.run("systemctl", "show", "-P", "NeedDaemonReload", "tidy.timer") == "no"
    demo.rollback(first)
    assert demo.timer() == NONE
    assert demo.machine.run("find", AT, "-name", "tidy*") == ""


def test_a_timer_that_goes_is_stopped_and_comes_back_with_a_rollback(demo):
    demo.apply("timer.present", **JOB)
    gone = demo.apply("timer.absent", name="tidy")
    assert gone.status == "done", gone.text
    assert demo.timer() == NONE
    assert demo.apply("timer.absent", name="tidy").result.summary == {"unchanged": 1}
    demo.rollback(gone)
    assert demo.timer() == MONDAYS


def test_a_timer_that_does_not_start_leaves_nothing_behind(demo):
    demo.machine.run("mkdir", f"{AT}/tidy.timer.d")
    demo.machine.write(f"{AT}/tidy.timer.d/own.conf", "[Timer]\nOnCalendar=\n")
    failed = demo.apply("timer.present", **JOB)
    assert failed.status == "failed"
    assert "systemctl restart tidy.timer ended with exit status 1" in failed.text
    assert demo.machine.run("find", AT, "-name", "tidy*", "-type", "f") == ""
    assert demo.timer() == NONE


def test_a_timer_that_somebody_stopped_is_drift_and_started_again(demo):
    demo.apply("timer.present", **JOB)
    demo.machine.run("systemctl", "stop", "tidy.timer")
    drift = demo.machine.plan("status", demo.state, target_root="/")
    assert "systemd:tidy.timer: was running, is stopped" in drift.text
    assert demo.apply("timer.present", **JOB).result.summary == {"done": 1}
    assert demo.timer() == MONDAYS
    assert demo.machine.plan("status", demo.state, target_root="/").status == "done"


def test_words_and_variables_reach_the_program_as_they_were_given(demo):
    said = demo.folder / "said"
    command = ["/usr/bin/env", "-u", "x", shutil.which("python3", path="/usr/bin"), "-c", SAYS, str(said), *WORDS]
    fields = {"command": command, "env": VALUES, "directory": "/usr", "description": "Words % \\ $x"}
    done = demo.apply("timer.present", **(JOB | fields))
    assert done.status == "done", done.text
    demo.machine.run("systemctl", "start", "tidy.service")
    words, environment, directory = json.loads(said.read_text())
    assert words == WORDS
    assert {name: environment[name] for name in VALUES} == VALUES
    assert directory == "/usr"
    assert demo.machine.run("systemctl", "show", "-P", "Description", "tidy.timer") == "Words % \\ $x"
