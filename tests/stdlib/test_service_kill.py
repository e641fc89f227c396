"""Killed while it restarts a service, a run is resumed or rolled back: the service runs, with the files that are there."""

import shutil
import subprocess
import sys

import pytest

from support.process import encoded, request
from support.services import Sysv, sysv

__all__ = ["sysv"]
pytestmark = pytest.mark.skipif(
    shutil.which("update-rc.d", path="/usr/sbin") is None, reason="needs Debian's init tools"
)

DYING = """
import os, signal, sys
from requisition.stdlib.providers.service import sysv
real = sysv.Sysv.restart
def restart(self, host, name, timeout_ms):
    %s
    os.kill(os.getpid(), signal.SIGKILL)
sysv.Sysv.restart = restart
from requisition.runtime.__main__ import main
sys.exit(main())
"""
MOMENTS = {
    "before": "pass",
    "half": "self.stop(host, name, timeout_ms)",
    "after": "real(self, host, name, timeout_ms)",
}


def killed(sysv: Sysv, moment: str) -> None:
    order = sysv.order()
    conf = order.node("file.write", content="VALUE=2\n", path="/etc/demo.conf")
    order.node("service.restart", slots={"name": "demo", "manager": "sysv"}, needs=[conf])
    asked = request("apply", sysv.folder / "state", order.write(), on_conflict="overwrite")
    argv = [*sysv.machine.wrapper, sys.executable, "-c", DYING % MOMENTS[moment]]
    done = subprocess.run(argv, input=encoded(asked), capture_output=True, check=False)
    assert done.returncode in (-9, 137), done.stderr.decode()


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("verb", ["resume", "rollback"])
def test_a_service_runs_with_the_files_that_are_there(sysv, moment, verb):
    sysv.machine.run("/etc/init.d/demo", "start")
    pid = sysv.pid()
    killed(sysv, moment)
    ended = sysv.machine.plan(verb, sysv.folder / "state")
    assert ended.status == "done", ended.text
    assert sysv.machine.run("cat", "/etc/demo.conf") == ("VALUE=2" if verb == "resume" else "VALUE=1")
    assert (sysv.status("demo"), sysv.pid() != pid) == ("0", True)
    assert sysv.drift().status == "done"
