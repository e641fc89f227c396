"""Killed in the middle of a package operation, a run is rolled back or resumed: what is really there decides."""

import subprocess
import sys

import pytest

from support.aptroot import MISSING, machine, repository
from support.process import encoded, request

__all__ = ["machine", "repository"]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"needs {MISSING}")

DYING = """
import os, signal, sys
from requisition.stdlib.providers.package import apt
real = apt.Apt.change
def change(self, host, site, put, drop, options):
    %s
    os.kill(os.getpid(), signal.SIGKILL)
apt.Apt.change = change
from requisition.runtime.__main__ import main
sys.exit(main())
"""
MOMENTS = {
    "before anything": "pass",
    "after some": "real(self, host, site, put[:1], drop[:1], options)",
    "after all": "real(self, host, site, put, drop, options)",
    "unpacked only": "host.run(['dpkg', f'--root={site.root}', '--unpack', %r, %r])",
}


def killed(machine, repository, moment, verb, order=""):
    """A run that dies at a moment of its first command."""
    what = MOMENTS[moment]
    if "%r" in what:
        what %= tuple(str(repository.folder / name) for name in ("lib_2.0_all.deb", "app_2.0_all.deb"))
    asked = request(verb, machine.state, order.write() if order else "")
    done = subprocess.run([sys.executable, "-c", DYING % what], input=encoded(asked), capture_output=True, check=False)
    assert done.returncode == -9, done.stderr.decode()


@pytest.fixture
def begun(machine):
    """Something stands there already, and an order changes it."""
    machine.apt("install", "lib=1.0", "nice")
    machine.apt("auto", "lib")
    return machine.whole(), machine.install("app", "tool")


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_installation_is_rolled_back_to_what_was(machine, repository, begun, moment):
    before, order = begun
    killed(machine, repository, moment, "apply", order)
    assert machine.run("apply", order).status == "interrupted"
    back = machine.run("rollback")
    assert back.status == "done", back.text
    assert machine.whole() == before


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_installation_is_resumed_to_its_end(machine, repository, begun, moment):
    before, order = begun
    killed(machine, repository, moment, "apply", order)
    answer = machine.run("resume")
    assert answer.status == "done", answer.text
    assert machine.packages() == {"app": "2.0", "lib": "2.0", "nice": "1.0", "tool": "1.1"}
    assert machine.run("apply", order).result.summary == {"unchanged": 2}
    back = machine.run("rollback", answer.result.receipt)
    assert back.status == "done", back.text
    assert machine.whole() == before


@pytest.mark.parametrize("moment", ["before anything", "after some", "after all"])
def test_a_killed_rollback_is_repeated(machine, repository, begun, moment):
    before, order = begun
    assert machine.run("apply", order).status == "done"
    killed(machine, repository, moment, "rollback")
    back = machine.run("rollback")
    assert back.status == "done", back.text
    assert machine.whole() == before


def test_a_rollback_is_one_command(machine, begun, monkeypatch):
    from requisition.stdlib.providers.package.apt import Apt

    _, order = begun
    answer = machine.run("apply", order)
    calls, real = [], Apt.change

    def change(self, host, site, put, drop, options):
        calls.append((sorted(wish.name for wish in put), sorted(drop)))
        real(self, host, site, put, drop, options)

    monkeypatch.setattr(Apt, "change", change)
    assert machine.run("rollback", answer.result.receipt).status == "done"
    assert calls == [(["lib"], ["app", "tool"])]
