"""Services under System V init: scripts of the test's own and of Debian's packages, in a machine of their own."""

import os
import re
import shutil

import pytest

from requisition.stdlib.action import ActionError
from requisition.stdlib.host import CommandResult
from requisition.stdlib.providers.service.sysv import read_status, start_levels
from support import trees
from support.orders import OrderBuilder
from support.process import request
from support.services import SCRIPT, sysv
from support.session import ask

__all__ = ["sysv"]
pytestmark = pytest.mark.skipif(
    shutil.which("update-rc.d", path="/usr/sbin") is None, reason="needs Debian's init tools"
)


def test_a_service_is_linked_and_started_once_and_a_rollback_takes_both_back(sysv):
    order = sysv.order(("enable", "demo"), ("start", "demo"))
    first = sysv.apply(order)
    assert first.status == "done", first.text
    assert sysv.status("demo") == "0"
    assert sysv.links().split() == [f"rc{n}.d/{'S' if n in '2345' else 'K'}01demo" for n in "0123456"]
    again = sysv.apply(order)
    assert again.result.summary == {"unchanged": 2}, again.text
    assert sysv.drift().status == "done"
    back = sysv.rollback(first)
    assert back.status == "done", back.text
    assert (sysv.status("demo"), sysv.links()) == ("3", "rc?.d/*demo")


def test_a_service_is_stopped_and_disabled_and_a_rollback_brings_each_runlevel_back(sysv):
    sysv.machine.run("/etc/init.d/demo", "start")
    sysv.machine.run("update-rc.d", "demo", "defaults")
    sysv.machine.run("update-rc.d", "demo", "disable", "4")
    before = sysv.links()
    order = sysv.order(("stop", "demo"), ("disable", "demo"))
    first = sysv.apply(order)
    assert first.status == "done", first.text
    assert sysv.status("demo") == "3"
    assert "/S" not in sysv.links()
    assert sysv.apply(order).result.summary == {"unchanged": 2}
    back = sysv.rollback(first)
    assert back.status == "done", back.text
    assert (sysv.status("demo"), sysv.links()) == ("0", before)


def test_drift_of_services_is_told(sysv):
    assert sysv.apply(sysv.order(("enable", "demo"), ("start", "demo"))).status == "done"
    sysv.machine.run("/etc/init.d/demo", "stop")
    sysv.machine.run("update-rc.d", "demo", "disable")
    drift = sysv.drift()
    assert "sysv:demo: was running, is stopped" in drift.text
    assert "sysv-boot:demo: was enabled, is disabled" in drift.text


def test_a_reload_and_a_restart_react_to_a_change_and_to_its_end(sysv):
    sysv.machine.run("/etc/init.d/demo", "start")
    order = sysv.order()
    needs = [order.node("file.write", content="VALUE=2\n", path="/etc/demo.conf")]
    for action in ("reload", "restart"):
        needs.append(order.node(f"service.{action}", slots={"name": "demo", "manager": "sysv"}, needs=needs))
    pid = sysv.pid()
    first = sysv.apply(order, on_conflict="overwrite")
    assert first.result.summary == {"done": 3}, first.text
    assert (sysv.pid() != pid, sysv.machine.run("cat", "/run/demo.log")) == (True, "reloaded")
    pid = sysv.pid()
    assert sysv.apply(order).result.summary == {"unchanged": 3}
    assert sysv.pid() == pid
    assert sysv.rollback(first).status == "done"
    assert (sysv.pid() != pid, sysv.machine.run("cat", "/run/demo.log")) == (True, "reloaded\nreloaded")


def test_a_service_is_not_restarted_for_what_it_was_started_with(sysv):
    order = sysv.order()
    slots = {"name": "demo", "manager": "sysv"}
    before = order.node("file.write", content="VALUE=2\n", path="/etc/demo.conf")
    started = order.node("service.start", slots=slots, needs=[before])
    order.node("service.restart", name="needless", slots=slots, needs=[before, started])
    later = order.node("file.write", content="VALUE=3\n", path="/etc/later", needs=[started])
    restarted = order.node("service.restart", name="due", slots=slots, needs=[before, started, later])
    order.node("service.reload", slots=slots, needs=[restarted])
    first = sysv.apply(order, on_conflict="overwrite")
    assert first.status == "done", first.text
    done = {event.node.rpartition("/")[2] for event in first.events if event.status == "done" and event.node}
    assert done == {"demo.conf", "service.start:1", "later", "service.restart:due"}


def test_what_a_script_leaves_in_the_background_outlives_the_run_and_may_speak(sysv):
    text = SCRIPT.format(name="loud").replace("start) ", "start) (while echo alive; do read x </run/fifo; done) & ")
    sysv.script("loud", text)
    sysv.machine.run("mkfifo", "/run/fifo")
    done = sysv.apply(sysv.order(("start", "loud")))
    assert done.status == "done", done.text
    for _ in range(3):
        sysv.machine.run("timeout", "20", "sh", "-c", "echo >/run/fifo")  # waits for its reader


def test_a_service_that_does_not_come_up_is_told_with_its_words_and_all_is_taken_back(sysv):
    sysv.script("sick", SCRIPT.format(name="sick").replace("start) ", "start) echo no licence >&2; exit 6; "))
    failed = sysv.apply(sysv.order(("enable", "demo"), ("start", "demo"), ("start", "sick")))
    assert failed.status == "failed"
    assert "/etc/init.d/sick start ended with exit status 6: no licence" in failed.text
    assert (sysv.status("demo"), sysv.links()) == ("3", "rc?.d/*demo")


def test_a_stop_that_complains_is_done_when_the_service_is_down_and_else_failed(sysv):
    text = SCRIPT.format(name="sour").replace("--exec $daemon ;;\nrestart", "--exec $daemon; exit 1 ;;\nrestart")
    sysv.script("sour", text)
    sysv.machine.run("/etc/init.d/sour", "start")
    done = sysv.apply(sysv.order(("stop", "sour")))
    assert done.status == "done", done.text
    assert "/etc/init.d/sour stop ended with exit status 1" in done.text
    sysv.script("sour", SCRIPT.format(name="sour").replace("stop) ", "stop) exit 1; "))
    sysv.machine.run("/etc/init.d/sour", "start")
    assert sysv.apply(sysv.order(("stop", "sour"))).status == "failed"


def test_a_script_that_hangs_is_ended(sysv):
    sysv.script("stuck", SCRIPT.format(name="stuck").replace("start) ", "start) echo $$ >/run/stuck; sleep 1000; "))
    failed = sysv.apply(sysv.order(("start", "stuck"), timeout=1000))
    assert "/etc/init.d/stuck start did not end within 1 s" in failed.text
    assert sysv.machine.says("sh", "-c", "kill -0 $(cat /run/stuck) || echo gone") == "gone"


REFUSED = {
    "an unknown one": ("start", "nope", "", "sysv knows no service nope"),
    "an option": ("start", "--all", "", "is no name of a service"),
    "a path": ("enable", "../demo", "", "is no name of a service"),
    "one of a package that was removed": ("start", "left", "#!/bin/sh\nexit 0\n", "sysv knows no service left"),
    "one without a status": (
        "start", "mute", "#!/bin/sh\necho 'Usage: mute start|stop' >&2\nexit 3\n", "only a script that answers to `status`"
    ),
    "one whose status cannot be known": ("stop", "vague", "#!/bin/sh\nexit 4\n", "vague status ended with exit status 4"),
    "one without a header": ("enable", "bare", "#!/bin/sh\n", "has no Default-Start"),
}  # fmt: skip


def test_what_cannot_be_done_is_said_before_anything_is_touched(sysv):
    order = sysv.order()
    for case, (action, name, text, _) in REFUSED.items():
        if text:
            sysv.script(name, text)
        order.node(f"service.{action}", name=case, slots={"name": name, "manager": "sysv"})
    order.node("file.write", content="x", path=str(sysv.folder / "x"))
    answer = sysv.apply(order)
    assert answer.status == "bad_input", answer.text
    for case, (_, _, _, words) in REFUSED.items():
        assert words in answer.text, case
    assert not (sysv.folder / "x").exists()


def test_a_status_that_is_lost_is_drift_of_its_service_only(sysv):
    sysv.script("other")
    assert sysv.apply(sysv.order(("start", "demo"), ("start", "other"))).status == "done"
    sysv.script("other", SCRIPT.format(name="other").replace("status) ", "status) exit 4; "))
    drift = sysv.drift()
    assert "sysv:other: was running, is unknown" in drift.text
    assert drift.result.summary["changed"] == 1


@pytest.mark.skipif(not os.path.exists("/etc/init.d/nginx"), reason="nginx is not installed")
def test_debians_nginx_is_started_reloaded_and_stopped_by_its_script(sysv):
    conf = "pid /run/nginx.pid;\nevents {}\nhttp { server { listen unix:/run/web%s.sock; } }\n"
    sysv.machine.write("/etc/nginx/nginx.conf", conf % 1)
    order = sysv.order()
    written = order.node("file.write", content=conf % 2, path="/etc/nginx/nginx.conf")
    slots = {"name": "nginx", "manager": "sysv"}
    started = order.node("service.start", slots=slots)
    order.node("service.reload", slots=slots, needs=[written, started])
    first = sysv.apply(order, on_conflict="overwrite")
    assert first.status == "done", first.text
    assert sysv.machine.run("ls", "-1", "/run").count("web2.sock") == 1
    assert sysv.apply(order).result.summary == {"unchanged": 3}
    assert sysv.rollback(first).status == "done"
    assert sysv.status("nginx") == "3"


@pytest.mark.skipif(not os.path.exists("/etc/init.d/postgresql"), reason="PostgreSQL is not installed")
def test_debians_postgresql_is_started_and_a_cluster_that_is_down_is_told(sysv):
    version = sorted(os.listdir("/usr/lib/postgresql"))[-1]
    sysv.machine.run("sh", "-c", "pg_lsclusters -h | while read v c rest; do pg_dropcluster $v $c; done")
    none = sysv.apply(sysv.order(("start", "postgresql")))
    assert "/etc/init.d/postgresql status ended with exit status 4" in none.text
    sysv.machine.run("pg_createcluster", version, "main", "--", "--no-sync")
    sysv.machine.run("pg_conftool", version, "main", "set", "listen_addresses", "")
    order = sysv.order(("start", "postgresql"))
    first = sysv.apply(order)
    assert first.status == "done", first.text
    assert sysv.machine.run("runuser", "-u", "postgres", "--", "psql", "-Atc", "SELECT 1") == "1"
    assert sysv.apply(order).result.summary == {"unchanged": 1}
    assert sysv.rollback(first).status == "done"
    assert sysv.status("postgresql") == "3"
    folder = f"/etc/postgresql/{version}"
    sysv.machine.run("cp", "-a", f"{folder}/main", f"{folder}/spare")
    sysv.machine.write(f"{folder}/spare/start.conf", "manual\n")
    sysv.machine.run("sed", "-i", "s/main/spare/; s/^port = .*/port = 5999/", f"{folder}/spare/postgresql.conf")
    failed = sysv.apply(order)
    assert failed.status == "failed"
    assert f"{version}/spare (port 5999): down" in failed.text
    sysv.machine.run("/etc/init.d/postgresql", "stop")  # its parts are not told apart: what came up stays up


def test_another_root_is_looked_at_and_not_changed(tmp_path):
    script = SCRIPT.format(name="demo").encode()
    trees.build(tmp_path / "root", {"etc": {"init.d": {"demo": (script, 0o755)}, "rc2.d": {
        "S01demo": ("link", "../init.d/demo")}}})  # fmt: skip
    for action, said in (
        ("enable", ""),
        ("disable", "update-rc.d does not work in another root"),
        ("start", "sysv runs"),
    ):
        order = OrderBuilder(tmp_path / action, tmp_path / "root")
        order.node(f"service.{action}", slots={"name": "demo"})
        answer = ask(request("apply", tmp_path / "state", order.write()))
        assert (answer.status == "done") == (not said)
        assert re.search(said, answer.text), answer.text


def test_statuses_and_headers_are_read_as_the_standard_says():
    words = {0: "running", 1: "failed", 2: "failed", 3: "stopped", 5: "unknown"}
    for status, activity in words.items():
        assert read_status("x", CommandResult(status, b"", b"")) == activity
    for said in (CommandResult(4, b"", b""), CommandResult(150, b"", b""), CommandResult(3, b"", b"Usage: x start\n")):
        with pytest.raises(ActionError, match="/etc/init.d/x status ended"):
            read_status("x", said)
    assert start_levels(SCRIPT.format(name="x")) == ["2", "3", "4", "5"]
    assert start_levels("### BEGIN INIT INFO\n# Default-Start:\t\tS\n### END INIT INFO\n") == ["S"]
    assert start_levels("### BEGIN INIT INFO\n# Default-Start:\n# Default-Stop: 0 1\n### END INIT INFO\n") == []
    assert start_levels("# Default-Start: 2\n") == []


def test_the_manager_that_runs_the_machine_is_taken_and_another_one_is_refused(sysv):
    done = sysv.apply(sysv.order(("start", "demo"), manager=""))
    assert done.status == "done", done.text
    assert sysv.status("demo") == "0"
    for manager in ("systemd", "launchd"):
        refused = sysv.apply(sysv.order(("start", "demo"), manager=manager))
        assert f"{manager} does not run this machine" in refused.text
        assert "this machine is run by sysv" in refused.text
    if shutil.which("runsvdir"):
        begin = "%s runsvdir /run/sv >/dev/null 2>&1 </dev/null & until [ $(pidof runsvdir | wc -w) = %d ]; do :; done"
        sysv.machine.run("mkdir", "/run/sv")
        sysv.machine.run("timeout", "30", "sh", "-c", begin % ("setsid unshare -m", 1))
        container = sysv.apply(sysv.order(("start", "demo"), manager=""))
        assert container.result.summary == {"unchanged": 1}, container.text
        sysv.machine.run("timeout", "30", "sh", "-c", begin % ("setsid", 2))
        taken = sysv.apply(sysv.order(("start", "demo"), manager=""))
        assert "runit knows no service demo" in taken.text
