"""What is no file: a plug-in's actions on flags that are kept by a program, looked at once for all."""

import sys

import pytest

from support.orders import OrderBuilder
from support.process import request
from support.session import ask

PLUGIN = '''
from typing import Annotated
from msgspec import Struct
from requisition.schemas.receipt import Left
from requisition.stdlib.action import BaseAction, Change, Done, Satisfied, UndoConflict, action
from requisition.stdlib.spec import slot

PLACE = %r

class FlagSlots(Struct, frozen=True):
    flag: Annotated[str, slot("string", "which flag")]
    value: Annotated[str, slot("string", "what it is to be")]

def look(host):
    script = "echo asked >> log; grep -rH . flags || true"
    answer = host.ask(["sh", "-c", f"cd {PLACE} && {script}"]).stdout.decode()
    return dict(line.removeprefix("flags/").split(":", 1) for line in answer.splitlines())

def write(host, name, value):
    text = f"echo {value} > flags/{name}" if value else f"rm -f flags/{name}"
    host.run(["sh", "-c", f"cd {PLACE} && {text}"])

@action("flag.set", effect="outside")
class Flag(BaseAction[FlagSlots]):
    """Set a flag."""
    slots = FlagSlots

    def observe(self, host, slots):
        found = host.recall("flags", lambda: look(host)).get(slots.flag, "")
        if found == slots.value:
            return Satisfied(left=(Left(f"flag:{slots.flag}", "token", token=slots.value),))
        return Change("differs", undo={"name": slots.flag, "was": found, "now": slots.value})

    def do(self, host, slots, change):
        write(host, slots.flag, slots.value)
        return Done(left=(Left(f"flag:{slots.flag}", "token", token=slots.value),))

    def undo(self, host, undo):
        now = host.recall("flags", lambda: look(host)).get(undo["name"], "")
        if now not in (undo["was"], undo["now"]):
            raise UndoConflict(f"{undo['name']} was changed since")
        write(host, undo["name"], undo["was"])

    def fingerprint(self, host, left):
        flags = host.recall("flags", lambda: look(host))
        found = [flags.get(one.path.removeprefix("flag:"), "") for one in left]
        return tuple(
            Left(one.path, "token", token=value) if value else Left(one.path, "absent")
            for one, value in zip(left, found, strict=True)
        )
'''


class Flags:
    def __init__(self, folder):
        self.folder = folder
        (folder / "flags").mkdir()
        self.root = str(folder / "root")
        self.runs = 0

    def run(self, verb, wanted=None, **fields):
        order = ""
        if wanted is not None:
            self.runs += 1
            place = self.folder / f"package{self.runs}"
            (self.folder / "root").mkdir(exist_ok=True)
            builder = OrderBuilder(place, self.folder / "root", serial=self.runs)
            for name, value in wanted.items():
                builder.node("flag.set", flag=name, value=value)
            order = builder.write()
        return ask(request(verb, self.folder / "state", order, **fields))

    def values(self):
        return {path.name: path.read_text().strip() for path in (self.folder / "flags").iterdir()}

    def asked(self):
        log = self.folder / "log"
        count = log.read_text().count("asked") if log.exists() else 0
        log.unlink(missing_ok=True)
        return count


@pytest.fixture
def flags(tmp_path, monkeypatch):
    site = tmp_path / "site"
    info = site / "flags_plugin-1.dist-info"
    info.mkdir(parents=True)
    (site / "flags_plugin.py").write_text(PLUGIN % str(tmp_path))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: flags-plugin\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[requisition.actions]\nflag.set = flags_plugin:Flag\n")
    monkeypatch.syspath_prepend(str(site))
    yield Flags(tmp_path)
    sys.modules.pop("flags_plugin", None)


MANY = {f"f{n}": "on" for n in range(30)}


def test_what_is_as_wanted_is_asked_once_for_all_nodes(flags):
    assert flags.run("apply", MANY).status == "done"
    flags.asked()
    again = flags.run("apply", MANY)
    assert again.result.summary == {"unchanged": 30}
    assert flags.asked() == 1


def test_a_dry_run_looks_and_tells(flags):
    (flags.folder / "flags" / "f1").write_text("on\n")
    found = flags.run("dry-run", {"f1": "on", "f2": "on"})
    assert found.result.summary == {"change": 1, "unchanged": 1, "unknown": 0}
    assert flags.values() == {"f1": "on"}


def test_an_answer_is_asked_anew_after_an_effect(flags):
    (flags.folder / "flags" / "f0").write_text("off\n")
    assert flags.run("apply", {"f0": "on", "f1": "on"}).status == "done"
    assert flags.run("apply", {"f0": "off", "f1": "on"}).status == "done"
    assert flags.values() == {"f0": "off", "f1": "on"}


def test_drift_of_what_is_no_file_is_told_in_one_look(flags):
    assert flags.run("apply", {"f1": "on", "f2": "on", "f3": "on"}).status == "done"
    (flags.folder / "flags" / "f1").write_text("off\n")
    (flags.folder / "flags" / "f2").unlink()
    flags.asked()
    found = flags.run("status", target_root=flags.root)
    assert found.result.summary == {"ok": 1, "changed": 1, "missing": 1, "extra": 0}
    told = {(event.status, event.text) for event in found.events if event.kind == "drift"}
    assert told == {("changed", "flag:f1: was on, is off"), ("missing", "flag:f2 is missing")}
    assert flags.asked() == 1


def test_status_after_a_rollback_speaks_of_the_earlier_run(flags):
    assert flags.run("apply", {"f1": "on"}).status == "done"
    assert flags.run("apply", {"f1": "off"}).status == "done"
    assert flags.run("rollback").status == "done"
    assert flags.values() == {"f1": "on"}
    assert flags.run("status", target_root=flags.root).result.summary == {
        "ok": 1,
        "changed": 0,
        "missing": 0,
        "extra": 0,
    }


def test_what_someone_else_changed_since_is_left_alone(flags):
    assert flags.run("apply", {"f1": "on"}).status == "done"
    (flags.folder / "flags" / "f1").write_text("mine\n")
    assert flags.run("rollback").status != "done"
    assert flags.values() == {"f1": "mine"}
