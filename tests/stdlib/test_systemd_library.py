"""`@std//systemd.star`: what its units mean to systemd itself, and services and timers under a systemd that runs."""

import json
import os
import shutil
import subprocess

import pytest

from requisition.schemas import orderfile
from requisition.schemas.diagnostic import BadInput
from support.machines import systemd_machine
from support.packages import built

WORDS = [
    "", " ", "two words", "a;b", ";", "#", "$HOME", "${HOME}", "$$", "$MAINPID", "100 %", "%n", "%%", "\\", "\\n",
    "back\\", '"', "'", '"$(id)"', "`id`", "-", "@x", "!x", "~", "*", "[Install]", "ä €", "a=b", "\\x41", "|", "{a,b}",
]  # fmt: skip
"""Words that mean something to systemd or to a shell, if they are let."""
VALUES = {f"V{number}": word for number, word in enumerate(WORDS)}
SAYS = "import json, os, sys; json.dump([sys.argv[2:], dict(os.environ)], open(sys.argv[1], 'w'))"
IDLE = '["/bin/sh", "-c", "exec sleep 1000"]'
QUIET = "[Unit]\nDefaultDependencies=no\n"


def package(folder, *calls):
    """The order of these calls."""
    body = "".join(f"    {call}\n" for call in calls)
    text = f'load("@std//systemd.star", "timer", "unit")\n\ndef provision(package, phase):\n{body}'
    return built(folder / "package", {"package.star": text}).order


def written(folder, *calls):
    """Units by name, as text."""
    slots = [node.slots for node in package(folder, *calls).nodes if node.action == "file.write"]
    return {slot["path"].rpartition("/")[2]: slot["content"] for slot in slots}


@pytest.fixture
def machine(tmp_path):
    with systemd_machine(tmp_path) as machine:
        for kind in ("service", "timer"):  # else the first of them starts all that a machine has
            machine.run("mkdir", f"/etc/systemd/system/{kind}.d")
            machine.write(f"/etc/systemd/system/{kind}.d/quiet.conf", QUIET)
        yield machine


def apply(machine, folder, *calls, **fields):
    path = str(folder / "order.plan")
    orderfile.write(path, orderfile.seal(package(folder, *calls)))
    return machine.plan("apply", folder / "state", path, **fields)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_finds_no_fault_in_a_unit_or_timer(tmp_path):
    units = written(
        tmp_path,
        f'unit("shop", ["/bin/sh"] + {WORDS}, user = "root", group = "root", description = "100 % of it; all", '
        f'environment = {VALUES}, environment_file = "/etc/a %.env", working_directory = "/", '
        'reload = ["/bin/kill", "-HUP", "$MAINPID"], wants = ["a@b.service"], '
        'lines = {"StateDirectory": "shop", "Type": "notify"})',
        'timer("tidy", ["/bin/true"], "Mon *-*-* 04:00:00", environment = {"A": "b"})',
    )
    for name, text in units.items():
        (tmp_path / name).write_text(text)
    argv = ["systemd-analyze", "verify", "--man=no", *(tmp_path / name for name in units)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(units) == ["shop.service", "tidy.service", "tidy.timer"]


def test_words_and_variables_reach_the_program_as_they_were_given(machine, tmp_path):
    said = tmp_path / "said"
    command = ["/usr/bin/env", "-u", "x", shutil.which("python3", path="/usr/bin"), "-c", SAYS, str(said), *WORDS]
    lines = {"Type": "oneshot", "RemainAfterExit": "yes"}
    call = f"unit('words', {command}, environment = {VALUES}, description = 'Words % \\\\ $x', lines = {lines})"
    done = apply(machine, tmp_path, call)
    assert done.status == "done", done.text
    words, environment = json.loads(said.read_text())
    assert words == WORDS
    assert {name: environment[name] for name in VALUES} == VALUES
    assert machine.run("systemctl", "show", "-P", "Description", "words") == "Words % \\ $x"


def test_a_unit_runs_is_restarted_when_it_changes_and_is_gone_after_rollbacks(machine, tmp_path):
    first = apply(machine, tmp_path, f'unit("shop", {IDLE}, user = "nobody", reload = ["/bin/kill", "$MAINPID"])')
    assert first.status == "done", first.text
    assert machine.run("ps", "-o", "user=", "-p", machine.run("systemctl", "show", "-P", "MainPID", "shop")) == "nobody"
    assert machine.run("systemctl", "is-enabled", "shop") == "enabled"
    assert first.result.summary == {"done": 3, "unchanged": 1}  # started, and so not restarted
    pid = machine.run("systemctl", "show", "-P", "MainPID", "shop")
    call = f'unit("shop", {IDLE}, user = "daemon")'
    second = apply(machine, tmp_path, call)
    assert second.status == "done", second.text
    assert machine.run("systemctl", "show", "-P", "User", "shop") == "daemon"
    again = apply(machine, tmp_path, call)
    assert again.result.summary == {"unchanged": 4}
    assert machine.run("systemctl", "show", "-P", "MainPID", "shop") != pid
    for receipt in (second.result.receipt, first.result.receipt):
        back = machine.plan("rollback", tmp_path / "state", receipt)
        assert back.status == "done", back.text
    assert machine.says("systemctl", "is-active", "shop") == "inactive"
    assert machine.says("sh", "-c", "cd /etc/systemd/system; find -name 'shop*'") == ""


def test_a_timer_runs_its_command_at_its_time(machine, tmp_path):
    os.mkfifo(tmp_path / "ran")
    command = ["/bin/sh", "-c", f"id -un > {tmp_path}/ran"]
    done = apply(machine, tmp_path, f'timer("tidy", {command}, "*-*-* *:*:*", group = "daemon")')
    assert done.status == "done", done.text
    assert subprocess.check_output(["timeout", "30", "cat", tmp_path / "ran"], text=True) == "root\n"
    assert machine.run("systemctl", "is-enabled", "tidy.timer") == "enabled"
    assert machine.plan("rollback", tmp_path / "state", done.result.receipt).status == "done"
    assert machine.says("systemctl", "is-active", "tidy.timer") == "inactive"


REFUSED = {
    "a second line in a description": ('unit("a", ["/x"], description = "a\\n[Service]")', "is not one line"),
    "a description that takes in the next line": ('unit("a", ["/x"], description = "a\\\\")', "is not one line"),
    "a carriage return": ('unit("a", ["/x"], description = "a\\rUser=root")', "is not one line"),
    "a second line in a word": ('unit("a", ["/x", "a\\nUser=root"])', "holds a line break"),
    "a second line in a variable": ('unit("a", ["/x"], environment = {"A": "a\\nUser=root"})', "holds a line break"),
    "a variable that is none": ('unit("a", ["/x"], environment = {"A=b B": "c"})', "is no name"),
    "a second line in a setting": ('unit("a", ["/x"], lines = {"Nice": "5\\nUser=root"})', "is not one line"),
    "a setting that is none": ('unit("a", ["/x"], lines = {"Nice=5\\nUser": "root"})', "can stand in lines"),
    "a setting that has an argument": ('unit("a", ["/x"], lines = {"ExecStart": "/y"})', "can stand in lines"),
    "a user that is more": ('unit("a", ["/x"], user = "a\\nb")', "is no name"),
    "a user that is a specifier": ('unit("a", ["/x"], user = "%u")', "is no name"),
    "a working directory that is optional": ('unit("a", ["/x"], working_directory = "-/x")', "no path from the root"),
    "a program of any folder": ('unit("a", ["x"])', "starts with the path of a program"),
    "a program with all privileges": ('unit("a", ["+/x"])', "starts with the path of a program"),
    "a program that is a variable": ('unit("a", ["/$x"])', "starts with the path of a program"),
    "no program": ('unit("a", [])', "starts with the path of a program"),
    "a path": ('unit("../a", ["/x"])', "is no name"),
    "a name with its kind": ('unit("a.service", ["/x"])', "give the name without .service"),
    "a template": ('timer("a@", ["/x"], "daily")', "is no name"),
    "two units where one is wanted": ('unit("a", ["/x"], wants = ["b.service c.service"])', "is no name"),
    "a unit of no kind": ('unit("a", ["/x"], wants = ["b"])', "lacks its kind"),
    "a way to restart that is none": ('unit("a", ["/x"], restart = "often")', "expected one of no, always"),
    "a second line in a time": ('timer("a", ["/x"], "daily\\n[Install]")', "is not one line"),
    "a secret": ('unit("a", ["/x"], environment = {"A": plan.secret("s")})', "secrets cannot stand in a unit"),
    "a number": ('unit("a", ["/x", 5])', "found int, expected text"),
    "an argument that is none": ('unit("a", ["/x"], usr = "x")', "usr"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_add_to_a_unit_or_mean_something_else_is_refused(tmp_path, case):
    call, words = REFUSED[case]
    with pytest.raises(BadInput, match=words):
        package(tmp_path, call)
