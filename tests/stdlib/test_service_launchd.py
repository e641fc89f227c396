"""launchd, over transcripts: its tools are only on macOS."""

import plistlib

import pytest

from requisition.stdlib.action import ActionError
from requisition.stdlib.providers.service.launchd import Domain, Launchd, Plan, parse_domain, read_plist, read_state
from requisition.stdlib.providers.service.manager import Boot, native
from support.transcripts import Transcript

DAEMONS = "/Library/LaunchDaemons"
NEW = "org.example.new"


def plist(label, **keys):
    return plistlib.dumps({"Label": label, "ProgramArguments": ["/usr/local/bin/x"], **keys})


class Mac(Transcript):
    """A macOS with these property lists, on which no time passes but what is slept."""

    def __init__(self, name, **plists):
        named = {f"org.example.{key}": keys for key, keys in plists.items()}
        super().__init__(name, {f"{DAEMONS}/{label}.plist": plist(label, **keys) for label, keys in named.items()})
        self.time = 0

    def stat(self, path):
        return path if path in self.files else None

    def facts(self):
        return {"os": "darwin"}

    def real_path(self, path):
        return path

    def recall(self, key, look):
        return look()

    def now_ms(self):
        return self.time

    def sleep_ms(self, duration):
        self.time += duration


ALIVE = {"KeepAlive": True}
REVIVED = {"KeepAlive": {"SuccessfulExit": False}}


def test_one_question_tells_what_all_jobs_do():
    keys = {"web": ALIVE, "loops": {}, "broken": {}, "killed": REVIVED, "once": {"RunAtLoad": True}, "off": ALIVE}
    mac = Mac("launchd.txt", **keys)
    found = {name: Launchd().activity(mac, f"org.example.{name}") for name in (*keys, "nope")}
    assert found == {
        "web": "running", "loops": "failing", "broken": "failed", "killed": "failing", "once": "stopped",
        "off": "stopped", "nope": "unknown",
    }  # fmt: skip
    assert Launchd().activity(mac, "com.openssh.sshd") == "running"  # waits for its socket
    assert set(mac.asked) == {"launchctl print system"}
    assert mac.ran == []


def test_what_starts_with_the_machine_is_what_was_said_by_hand_or_else_in_the_property_list():
    mac = Mac("launchd.txt", off=ALIVE, web=ALIVE, shy={"Disabled": True})
    found = {name: Launchd().at_boot(mac, f"org.example.{name}") for name in ("off", "web", "shy", "nope")}
    assert found == {
        "off": Boot(enabled=False), "web": Boot(enabled=True), "shy": Boot(enabled=False),
        "nope": Boot(enabled=False, known=False),
    }  # fmt: skip
    for enabled in (True, False):
        Launchd().set_boot(mac, "org.example.web", enabled=enabled)
        Launchd().restore_boot(mac, "org.example.web", Boot(enabled=enabled))
    verbs = ("enable", "enable", "disable", "disable")
    assert mac.ran == [f"launchctl {verb} system/org.example.web" for verb in verbs]


def test_a_job_is_loaded_and_awaited():
    mac = Mac("launchd-changes.txt", new=ALIVE)
    Launchd().start(mac, NEW, 9_000)
    assert mac.ran == [f"launchctl bootstrap system {DAEMONS}/{NEW}.plist"]
    assert Launchd().activity(mac, NEW) == "running"


def test_a_job_that_is_loaded_and_does_not_run_is_kicked():
    mac = Mac("launchd.txt", once={"RunAtLoad": True})
    Launchd().start(mac, "org.example.once", 9_000)
    assert mac.ran == ["launchctl kickstart system/org.example.once"]


def test_a_job_is_gone_when_its_label_is():
    mac = Mac("launchd-changes.txt", new=ALIVE)
    Launchd().stop(mac, NEW, 9_000)
    assert mac.ran == [f"launchctl bootout system/{NEW}"]
    assert mac.asked == [f"launchctl print system/{NEW}"] * 2


def test_a_restart_reads_the_property_list_again():
    mac = Mac("launchd-changes.txt", new=ALIVE)
    mac.answers["launchctl", "print", "system"].insert(0, mac.answers["launchctl", "print", "system"][-1])
    Launchd().restart(mac, NEW, 9_000)
    assert mac.ran == [f"launchctl bootout system/{NEW}", f"launchctl bootstrap system {DAEMONS}/{NEW}.plist"]


def test_a_reload_is_a_signal():
    mac = Mac("launchd.txt", web=ALIVE)
    Launchd().reload(mac, "org.example.web", 9_000)
    assert mac.ran == ["launchctl kill SIGHUP system/org.example.web"]


def test_what_cannot_be_started_or_ended_is_told():
    mac = Mac("launchd.txt", off=ALIVE)
    with pytest.raises(ActionError, match=r"loads nothing that is disabled, and org\.example\.off is"):
        Launchd().start(mac, "org.example.off", 9_000)
    with pytest.raises(ActionError, match="knows no job org.example.nope"):
        Launchd().start(mac, "org.example.nope", 9_000)
    mac = Mac("launchd-changes.txt", new=ALIVE)
    del mac.answers["launchctl", "print", f"system/{NEW}"][1]
    with pytest.raises(ActionError, match="is still loaded 2 s after bootout"):
        Launchd().stop(mac, NEW, 2_000)
    assert mac.ran == [f"launchctl bootout system/{NEW}"]
    with pytest.raises(ActionError, match="is no label"):
        Launchd().full_name("../x")


def test_states_are_told_from_the_process_the_last_end_and_the_property_list():
    states = {
        (7, "-", Plan()): "running",
        (0, "-", Plan()): "running",
        (0, "0", Plan(kept=True)): "failing",
        (0, "1", Plan(revived=True)): "failing",
        (0, "0", Plan(revived=True)): "stopped",
        (0, "1", Plan(at_load=True)): "failed",
        (0, "-9", Plan()): "failed",
    }
    assert {case: read_state(*case) for case in states} == states


def test_older_words_for_overrides_are_read_and_forms_that_are_new_are_refused():
    old = 'system = {\n\tservices = {\n\t}\n\tdisabled services = {\n\t\t"a" => true\n\t\t"b" => false\n\t}\n}\n'
    assert parse_domain(old) == Domain({}, {"a": False, "b": True})
    rows = (
        "",
        "system = {\n}\n",
        old.replace("services = {\n", "services = {\n\t\tnew = form\n", 1),
        old.replace("true", "maybe"),
    )
    for new in rows:
        with pytest.raises(ActionError, match="not understood"):
            parse_domain(new)


def test_property_lists_are_read_in_both_forms_and_others_are_refused():
    binary = plistlib.dumps({"Label": "a", "KeepAlive": True, "RunAtLoad": True}, fmt=plistlib.FMT_BINARY)
    assert read_plist(binary, "a") == Plan(kept=True, at_load=True)
    assert read_plist(plist("a", Disabled=True), "a") == Plan(disabled=True)
    bomb = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "b">]><plist version="1.0"><dict/></plist>'
    for content, words in ((b"", "no property list"), (b"<x", "no property list"), (bomb, "no property list"),
                           (plist("b"), "another job"), (plistlib.dumps(["a"]), "another job")):  # fmt: skip
        with pytest.raises(ActionError, match=words):
            read_plist(content, "a")


def test_launchd_is_the_manager_of_a_mac():
    assert native(Mac("launchd.txt")) == "launchd"
