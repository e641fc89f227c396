"""Users and groups by shadow's real tools, on the accounts of a scratch root."""

import subprocess

import pytest

from requisition.schemas.document import Secret
from support.accounts import FILES, MISSING, Machine
from support.orders import OrderBuilder
from support.process import request
from support.session import ask

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


APP = ("user.present", {"name": "app", "uid": 1600, "home": "/home/app", "shell": "/bin/sh", "groups": ["audio", "video"],
                        "comment": "The application", "create_home": True})  # fmt: skip
CHANGES = {
    "a new user": (APP,),
    "a service's user": (("user.present", {"name": "svc", "system": True, "shell": "/usr/sbin/nologin"}),),
    "another shell and group": (("user.present", {"name": "ann", "shell": "/bin/bash", "groups": ["video"]}),),
    "a new group and a member": (
        ("group.present", {"name": "web", "gid": 1700}),
        ("group.member", {"group": "web", "user": "ann"}),
    ),
    "a member that goes": (("group.member", {"group": "audio", "user": "ann", "absent": True}),),
    "a group that goes": (("group.absent", {"name": "audio"}),),
    "another number": (("group.present", {"name": "video", "gid": 1701}),),
}


@pytest.mark.parametrize("case", CHANGES)
def test_accounts_are_changed_once_and_given_back(machine, case):
    before = machine.files()
    first = machine.apply(*CHANGES[case])
    assert first.status == "done", first.text
    assert machine.files() != before
    for checker, files in (("pwck", FILES[:2]), ("grpck", FILES[2:])):
        checked = subprocess.run(
            [checker, "-r", *(machine.root / "etc" / name for name in files)], capture_output=True, check=False
        )
        assert b"invalid" not in checked.stdout
    again = machine.apply(*CHANGES[case])
    assert set(again.result.summary) == {"unchanged"}
    assert machine.drift() == []
    undone = machine.rollback()
    assert undone.status == "done", undone.text
    assert machine.files() == before
    assert list((machine.root / "home").iterdir()) == []


@pytest.mark.parametrize("case", CHANGES)
def test_a_run_that_fails_gives_accounts_back(machine, case):
    before = machine.files()
    assert machine.apply(*CHANGES[case], fails=True).status == "failed"
    assert machine.files() == before


def test_a_new_user_is_as_asked(machine):
    assert machine.apply(APP).status == "done"
    assert machine.line("passwd", "app") == "app:x:1600:1600:The application:/home/app:/bin/sh"
    assert machine.line("group", "audio") == "audio:x:29:ann,app"
    assert (machine.root / "home/app/.profile").read_text() == "# profile\n"
    assert (machine.root / "home/app").stat().st_uid == 1600


def test_a_home_that_holds_something_stays(machine):
    assert machine.apply(APP).status == "done"
    (machine.root / "home/app/thesis").write_text("years of work")
    undone = machine.rollback()
    assert undone.status == "failed"
    assert "holds files of app" in undone.text
    assert machine.line("passwd", "app") == ""
    assert (machine.root / "home/app/thesis").read_text() == "years of work"


def test_a_user_that_goes_comes_back_without_a_password_and_that_is_said(machine):
    assert machine.apply(("user.absent", {"name": "ann"})).status == "done"
    assert machine.line("passwd", "ann") == ""
    undone = machine.rollback()
    assert "without a password" in undone.text
    assert machine.line("passwd", "ann") == "ann:x:1500:1500:Ann:/home/ann:/bin/sh"
    assert machine.line("group", "audio") == "audio:x:29:ann"


def test_drift_of_accounts_is_told(machine):
    assert machine.apply(APP, ("group.member", {"group": "audio", "user": "app"})).status == "done"
    machine.shadow("usermod", "-s", "/bin/false", "-G", "video", "app")
    told = machine.drift()
    assert any("/bin/sh" in text and "/bin/false" in text for text in told)
    assert any("member:audio/app: was in, is out" in text for text in told)


def test_members_that_came_later_keep_their_group(machine):
    assert machine.apply(("group.present", {"name": "web"})).status == "done"
    machine.shadow("usermod", "-a", "-G", "web", "ann")
    undone = machine.rollback()
    assert undone.status == "failed"
    assert "has members since: ann" in undone.text
    assert machine.line("group", "web") != ""


@pytest.mark.parametrize(
    ("action", "slots", "words"),
    [
        ("user.present", {"name": "-x"}, "is no name"),
        ("user.present", {"name": "a:b"}, "is no name"),
        ("user.present", {"name": "app", "comment": "a:b"}, "colon"),
        ("user.present", {"name": "app", "home": "relative"}, "absolute"),
        ("user.present", {"name": "app", "groups": ["no-such"]}, "no-such"),
        ("user.present", {"name": "root", "shell": "/bin/sh"}, "root or whoever applies"),
        ("user.absent", {"name": "root"}, "root or whoever applies"),
        ("group.absent", {"name": "root"}, "group of root"),
        ("group.absent", {"name": "ann"}, "primary group"),
        ("group.member", {"group": "none", "user": "ann"}, "no group 'none'"),
        ("group.member", {"group": "audio", "user": "none"}, "no user 'none'"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(machine, action, slots, words):
    before = machine.files()
    answer = machine.apply((action, slots))
    assert answer.status != "done"
    assert words in answer.text
    assert "package.star:1" in answer.text
    assert machine.files() == before


def test_a_password_hash_is_in_shadow_and_nowhere_else(tmp_path):
    name = "rq-test-user"
    hashed = "$6$saltsalt$" + "x" * 86
    order = OrderBuilder(tmp_path / "package", "/")
    order.node("user.present", slots={"name": name, "system": True, "password_hash": {"$secret": "hash"}})
    path = order.write(secrets=(Secret("hash"),))
    try:
        answer = ask(request("apply", tmp_path / "state", path, secrets={"hash": hashed}))
        assert answer.status == "done", answer.text
        shadow = subprocess.run(["getent", "shadow", name], capture_output=True, text=True, check=True).stdout
        assert shadow.startswith(f"{name}:{hashed}:")
        kept = [
            file for file in (tmp_path / "state").rglob("*") if file.is_file() and hashed.encode() in file.read_bytes()
        ]
        assert kept == []
        assert ask(request("rollback", tmp_path / "state")).status == "done"
        assert subprocess.run(["getent", "passwd", name], check=False, capture_output=True).returncode == 2
    finally:
        subprocess.run(["userdel", name], check=False, capture_output=True)
