"""Cron jobs: what is let through, Debian's own cron takes, and runs exactly as it was said."""

import itertools
import json
import os
import select
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from requisition.schemas.diagnostic import BadInput
from requisition.stdlib.action import ActionError, Satisfied
from requisition.stdlib.providers.cron import Absent, Present
from requisition.stdlib.providers.cron_lines import MAX_COMMAND, NICKNAMES, command, schedule
from support.hosts import Bench
from support.machines import plain_machine
from support.orders import OrderBuilder
from support.packages import installed
from support.process import request
from support.session import ask
from support.trees import build, snapshot

PASSWD = b"root:x:0:0::/root:/bin/sh\nann:x:1500:1500::/home/ann:/bin/sh\n"
JOB = {"name": "backup", "schedule": "*/5 0 * * *", "command": ["/usr/bin/backup", "50%", "it's"]}
needs_cron = pytest.mark.skipif(shutil.which("crontab") is None, reason="needs Debian's cron")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="files in /etc/cron.d belong to root")


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path)
    build(made.root, {"etc": {"cron.d": {}, "passwd": PASSWD}})
    return made


def parses(folder: Path, text: str) -> str:
    """What crontab says of a table; empty when it takes it. Debian's option is -n; of others, and to come there, -T."""
    table = folder / "table"
    table.write_text(text)
    for option in ("-T", "-n"):
        done = subprocess.run(["crontab", option, table], capture_output=True, text=True, check=False)
        if "invalid option" not in done.stderr:
            return "" if done.returncode == 0 else done.stderr
    raise AssertionError(done.stderr)


GOOD = [
    "* * * * *", "*/5 * * * *", "0 3 * * *", "1-5/2,7 0 1 jan sun", "0 0 29 2 *", "59 23 31 12 7", "0 0 * jan-mar mon-fri",
    "0 0 * JAN,feb *", "00 07 * * *", "*,5 * * * *", "0 0 31 2 mon", " 0  0 * * * ", *NICKNAMES,
]  # fmt: skip
BAD = {
    "": "0 fields", "* * * *": "4 fields", "* * * * * root": "6 fields", "*\t* * * *": "fields", "60 * * * *": "no minute",
    "* 24 * * *": "no hour", "* * 0 * *": "no day of month", "* * * 13 *": "no month", "* * * * 8": "no day of week",
    "* * * january *": "no month", "*/0 * * * *": "does not fit", "*/60 * * * *": "does not fit", "1/5 * * * *": "does not fit",
    "5-1 * * * *": "backwards", "* * * * fri-sun": "backwards", "1,,2 * * * *": "no minute", "-1 * * * *": "no minute",
    "+5 * * * *": "no minute", "~ * * * *": "no minute", "0 0 30 2 *": "never comes", "0 0 31 apr,jun *": "never comes",
    "@every 5m": "fields", "@Daily": "fields", "* * * * *\n* * * * * root id": "fields", "٣ * * * *": "no minute", "jan * * * *": "no minute",
}  # fmt: skip


@needs_cron
def test_cron_takes_every_schedule_that_is_let_through(tmp_path):
    assert parses(tmp_path, "".join(f"{schedule(one)} true\n" for one in GOOD)) == ""
    assert parses(tmp_path, "60 * * * * true\n") != ""


@pytest.mark.parametrize("text", BAD)
def test_a_schedule_that_cron_refuses_or_never_meets_is_refused(text):
    with pytest.raises(ActionError, match=BAD[text]):
        schedule(text)


LIKELY = st.sampled_from(["*", "*/2", "1-5", "1-9/3", "mon", "feb", "0,7", "31"])
PIECES = LIKELY | LIKELY | st.text("0123456789*/-,", min_size=1, max_size=6)


@needs_cron
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(PIECES, min_size=5, max_size=5), min_size=20, max_size=40))
def test_nothing_is_let_through_that_cron_does_not_take(tmp_path, drawn):
    taken = [schedule("* * * * *")]
    for fields in drawn:
        try:
            taken.append(schedule(" ".join(fields)))
        except ActionError:
            continue
    assert parses(tmp_path, "".join(f"{one} true\n" for one in taken)) == ""


REFUSED = {
    "another line in the command": ({"command": ["a\n* * * * * root id"]}, r"has the character '\\n'"),
    "another line in the user": ({"user": "root id\n"}, "is no name of a user"),
    "another line in a value": ({"env": {"A": "x\n* * * * * root id"}}, r"has the character '\\n'"),
    "another line in a name": ({"env": {"A\n* * * * * root id": "x"}}, "cannot name a variable"),
    "a name that cron does not read": ({"name": "back.up"}, "cannot name a job"),
    "a name that climbs": ({"name": "../passwd"}, "cannot name a job"),
    "no program": ({"command": []}, "names no program"),
    "too long a command": ({"command": ["/x", "y" * 1000]}, "longer than 998 bytes"),
    "no such user": ({"user": "bob"}, "there is no user 'bob'"),
    "another shell": ({"env": {"SHELL": "/bin/fish"}}, "SHELL is not set for a job"),
    "a value that ends in a blank": ({"env": {"A": "x "}}, "cannot hold the value of A"),
    "both quotes in a value": ({"env": {"A": "'\""}}, "cannot hold the value of A"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_nothing_gets_into_a_table_but_the_one_job(bench, case):
    slots, words = REFUSED[case]
    with pytest.raises(ActionError, match=words):
        bench.observe(Present(), **(JOB | slots))


@needs_cron
def test_the_longest_command_is_as_long_as_cron_takes_it(tmp_path):
    line = command(["/x", "y" * (MAX_COMMAND - 3)])
    assert parses(tmp_path, f"* * * * * {line}\n") == ""
    assert parses(tmp_path, f"* * * * * {line}y\n") != ""


@as_root
def test_a_job_is_made_once_changed_and_taken_back(bench):
    before = snapshot(bench.root)
    first = bench.do(Present(), **JOB)
    file = bench.root / "etc/cron.d/backup"
    assert file.read_text() == "# Written by Requisition.\n*/5 0 * * * root /usr/bin/backup 50\\% 'it'\"'\"'s'\n"
    assert (file.stat().st_mode & 0o7777, file.stat().st_uid, file.stat().st_gid) == (0o644, 0, 0)
    assert isinstance(bench.observe(Present(), **JOB), Satisfied)
    made = snapshot(bench.root)
    second = bench.do(Present(), **(JOB | {"schedule": "@daily", "user": "ann", "env": {"MAILTO": "ann"}}))
    assert file.read_text().splitlines()[1:] == ['MAILTO="ann"', "@daily ann /usr/bin/backup 50\\% 'it'\"'\"'s'"]
    bench.undo(Present(), second)
    assert snapshot(bench.root) == made
    gone = bench.do(Absent(), name="backup")
    assert not file.exists()
    assert isinstance(bench.observe(Absent(), name="backup"), Satisfied)
    bench.undo(Absent(), gone)
    assert snapshot(bench.root) == made
    bench.undo(Present(), first)
    assert snapshot(bench.root) == before


@as_root
def test_a_job_of_somebody_else_is_not_overwritten_and_drift_is_told(tmp_path):
    build(tmp_path / "root", {"etc": {"cron.d": {"backup": b"# of a package\n"}, "passwd": PASSWD}})
    order = OrderBuilder(tmp_path / "package", tmp_path / "root")
    order.node("cron.present", slots=JOB)
    path, state = order.write(), tmp_path / "state"
    stopped = ask(request("apply", state, path))
    assert "/etc/cron.d/backup" in stopped.text
    assert (tmp_path / "root/etc/cron.d/backup").read_text() == "# of a package\n"
    assert ask(request("apply", state, path, on_conflict="overwrite")).status == "done"
    assert set(ask(request("apply", state, path)).result.summary) == {"unchanged"}
    (tmp_path / "root/etc/cron.d/backup").write_text("")
    assert "/etc/cron.d/backup" in ask(request("status", state, target_root=str(tmp_path / "root"))).text


def test_a_machine_without_cron_is_told(tmp_path):
    with pytest.raises(ActionError, match="cron is not installed"):
        Bench(tmp_path).observe(Present(), **JOB)


def test_calls_about_the_same_job_are_done_as_written_and_secrets_are_refused(tmp_path):
    first, other, second = installed(
        tmp_path / "a",
        """plan.cron.absent("a")
plan.cron.present("b", "@daily", ["true"])
plan.cron.present("a", "@daily", ["true"])""",
    ).values()
    assert (other.needs, second.needs) == ((), (first.id,))
    with pytest.raises(BadInput, match="secret"):
        installed(tmp_path / "b", 'plan.cron.present("a", "@daily", ["true", plan.secret("token")])')


SCRIPT = """#!{python}
import json, os, sys
with open("{fifo}", "w") as out:
    out.write(json.dumps([sys.argv[1:], {{name: os.environ.get(name) for name in {names}}}]) + "\\n")
"""
WORDS = ["".join(letters) for size in (1, 2, 3) for letters in itertools.product("\\%'\" a", repeat=size)]
ENV = {
    "SPACES": "  two  words",
    "SINGLE": "it's",
    "DOUBLE": 'say "x"',
    "SIGNS": "$HOME %d \\% \\\\ #x = `id`",
    "EMPTY": "",
    "MAILTO": "",
}


@as_root
@pytest.mark.skipif(shutil.which("cron", path="/usr/sbin") is None, reason="needs Debian's cron")
def test_cron_runs_the_words_that_were_given_and_no_others(tmp_path):
    """All short words of what means something to cron or to a shell, by a cron that runs."""
    groups = [WORDS[at : at + 60] for at in range(0, len(WORDS), 60)]
    groups.append(["$HOME", "$(id)", "`id`", "-n", "", "~", "*", "a;id", "a&b|c>d", "é", "!x", "#x", "\ta"])
    fifo, script = tmp_path / "fifo", tmp_path / "a=b job"
    os.mkfifo(fifo)
    script.write_text(SCRIPT.format(python="/usr/bin/python3", fifo=fifo, names=list(ENV)))
    script.chmod(0o755)
    order = OrderBuilder(tmp_path / "package", "/")
    for number, words in enumerate(groups):
        argv = [str(script), *words]
        order.node("cron.present", slots={"name": f"job{number}", "schedule": "@reboot", "command": argv, "env": ENV})
    with plain_machine("/etc/cron.d", "/var/spool/cron") as machine:
        machine.run("find", "/etc/cron.d", "/var/spool/cron", "-type", "f", "-delete")
        first = machine.plan("apply", tmp_path / "state", order.write())
        assert first.status == "done", first.text
        with subprocess.Popen([*machine.wrapper, "cron", "-f"], stderr=subprocess.DEVNULL) as cron:
            try:
                said = [json.loads(line) for line in lines_of(fifo, len(groups))]
            finally:
                cron.kill()
    assert sorted(argv for argv, _ in said) == sorted(groups)
    assert [env for _, env in said] == [ENV] * len(groups)


def lines_of(fifo, count):
    """So many lines that others write into a pipe."""
    read = b""
    pipe = os.open(fifo, os.O_RDWR)
    try:
        while read.count(b"\n") < count:
            assert select.select([pipe], [], [], 30)[0], read
            read += os.read(pipe, 65536)
    finally:
        os.close(pipe)
    return read.decode().splitlines()
