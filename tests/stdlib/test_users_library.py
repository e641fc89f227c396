"""`@std//users.star` with shadow's and sudo's real tools, on the accounts of a scratch root."""

import os
import shutil
import stat

import pytest

from requisition.compiler import build
from requisition.schemas import orderfile
from requisition.schemas.diagnostic import BadInput
from support.accounts import MISSING, Machine
from support.packages import request as build_request
from support.process import request
from support.session import ask

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl ann@example.org"
SCRIPT = """
load("@std//users.star", "may_sudo", "person", "service")

def provision(package, phase):
    %s
"""
PEOPLE = f'person("bea", keys = ["{KEY}"], groups = ["video"], sudo = ["/usr/bin/id -u"])\n    service("svc", home = "/srv/svc")'


def order(machine, calls):
    (machine.folder / "a.star").write_text(SCRIPT % calls)
    path = str(machine.folder / "a.plan")
    built = build(build_request(machine.folder / "a.star", target_root=str(machine.root)))
    orderfile.write(path, orderfile.seal(built.order))
    return path


@pytest.fixture
def machine(tmp_path):
    machine = Machine(tmp_path)
    (machine.root / "etc/sudoers.d").mkdir()
    (machine.root / "srv").mkdir()
    return machine


@pytest.mark.skipif(shutil.which("visudo", path="/usr/sbin") is None, reason="needs Debian's sudo")
def test_a_person_may_log_in_and_a_service_has_its_folder_until_taken_back(machine):
    before, path = machine.files(), order(machine, PEOPLE)
    applied = ask(request("apply", machine.folder / "state", path))
    assert applied.status == "done", applied.text
    keys = machine.root / "home/bea/.ssh/authorized_keys"
    uid = int(machine.line("passwd", "bea").split(":")[2])
    assert keys.read_text() == KEY + "\n"
    assert [(stat.S_IMODE(one.stat().st_mode), one.stat().st_uid) for one in (keys, keys.parent)] == [
        (0o600, uid),
        (0o700, uid),
    ]
    assert (machine.root / "etc/sudoers.d/bea").read_text() == "bea ALL=(root) NOPASSWD: /usr/bin/id -u\n"
    assert machine.line("passwd", "svc").endswith(":/srv/svc:/usr/sbin/nologin")
    again = ask(request("apply", machine.folder / "state", path))
    assert again.result.summary == {"unchanged": applied.result.summary["done"]}
    assert machine.rollback().status == "done"
    assert machine.files() == before
    assert [os.listdir(machine.root / name) for name in ("home", "srv", "etc/sudoers.d")] == [[], [], []]


HOSTILE = {
    "a key with a second line": ('person("x", keys = ["ssh-ed25519 A\\nssh-ed25519 B"])', "is not one line"),
    "a key that is none": ('person("x", keys = ["hello"])', "is no line of authorized_keys"),
    "a name that is an option": ('person("-x")', "is no user name"),
    "a name that is a path": ('service("a/b")', "is no user name"),
    "a command with another one": ('may_sudo("x", ["/bin/a, /bin/b"])', "is no absolute command"),
    "a command of any folder": ('may_sudo("x", ["id"])', "is no absolute command"),
    "a command that adds a line": ('may_sudo("x", ["/bin/a\\ny ALL = ALL"])', "is n"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_what_would_add_lines_of_its_own_is_refused(machine, case):
    calls, words = HOSTILE[case]
    with pytest.raises(BadInput, match=words):
        order(machine, calls)
