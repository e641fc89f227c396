"""`examples/workstation` on a machine to spoil: packages, account and dotfiles for real, and back."""

import sys
from pathlib import Path

import pytest

from support import disposable

WHY_NOT = disposable.missing()
pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)
EXAMPLE = Path(__file__).parents[2] / "examples" / "workstation"
PLAN = str(Path(sys.executable).parent / "plan")
TOOLS = ["tmux", "zsh", "nano"]


@pytest.fixture(scope="module")
def machine():
    with disposable.machine(without=TOOLS, offered=TOOLS) as made:
        yield made


def test_a_workstation_is_set_up_seen_from_inside_set_up_again_and_given_back(machine):
    before = (
        machine.packages(),
        machine.run("cat", "/etc/passwd", "/etc/group"),
        machine.run("find", "/home", "/etc/sysctl.d"),
    )
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
    machine.run(PLAN, "build", str(EXAMPLE), "-o", "/root/w.yaml", "--set", "user=ann", "--set", f'keys=["{key}"]')
    applied = machine.run(PLAN, "apply", "/root/w.yaml", "--yes", "--allow-unsigned", "--full")
    assert machine.run("runuser", "-l", "ann", "-c", "git config user.email").strip() == "dev@example.org"
    assert machine.run("stat", "-c", "%U %a", "/home/ann/.ssh/authorized_keys").split() == ["ann", "600"]
    assert machine.run("getent", "passwd", "ann").strip().endswith("/usr/bin/zsh")
    again = machine.run(PLAN, "apply", "/root/w.yaml", "--yes", "--allow-unsigned")
    assert "16 as wanted, 3 only look" in again, applied + again
    machine.run(PLAN, "rollback", "--yes")
    after = (
        machine.packages(),
        machine.run("cat", "/etc/passwd", "/etc/group"),
        machine.run("find", "/home", "/etc/sysctl.d"),
    )
    assert after == before
