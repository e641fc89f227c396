"""Nodes that are done together, by a plug-in's action on flags: one effect, and intent, result and failure of each."""

import sys

import pytest

from requisition.schemas.document import Retry
from support.orders import OrderBuilder
from support.process import request
from support.session import ask

PLUGIN = r'''
import os
from typing import Annotated
from msgspec import Struct, structs
from requisition.stdlib.action import BaseAction, Change, Done, Quarrel, Satisfied, SomeFailed, UndoConflict, action
from requisition.stdlib.spec import Output, slot

PLACE = %r

class FlagSlots(Struct, frozen=True):
    flag: Annotated[str, slot("string", "which flag")]
    kind: Annotated[str, slot("string", "which key")] = "a"
    passing: Annotated[bool, slot("bool", "for a while")] = False

def note(*words):
    with open(f"{PLACE}/log", "a") as file:
        print(*words, file=file)

@action("flag.many", outputs=(Output("flag", "string", "it"),), effect="outside", batched=True, family="flag",
        ephemeral="passing", blocking=True)
class Many(BaseAction[FlagSlots]):
    """Set flags."""
    slots = FlagSlots

    def judge(self, asked):
        twice = [n for n, one in enumerate(asked) if one.slots.flag in [other.slots.flag for other in asked[:n]]]
        agreed = [structs.replace(one.slots, flag=one.slots.flag.lower()) for one in asked]
        return agreed, [Quarrel(n, f"{asked[n].slots.flag} is asked for twice", "ask once") for n in twice]

    def batch(self, slots):
        return slots.kind

    def observe(self, host, slots):
        if os.path.exists(f"{PLACE}/flags/{slots.flag}"):
            return Satisfied({"flag": slots.flag})
        return Change("not set")

    def join(self, host, work):
        note("join", *[slots.flag for slots, _ in work])
        return [structs.replace(change, undo=slots.flag) for slots, change in work]

    def do_many(self, host, work):
        note("do", *[slots.flag for slots, _ in work])
        assert [change.undo for _, change in work] == [slots.flag for slots, _ in work]
        bad = tuple(n for n, (slots, _) in enumerate(work) if slots.flag.startswith("bad"))
        for slots, _ in work:
            if not slots.flag.startswith("bad"):
                open(f"{PLACE}/flags/{slots.flag}", "w").close()
            if slots.flag == "flaky" and not os.path.exists(f"{PLACE}/tried"):
                open(f"{PLACE}/tried", "w").close()
                raise SomeFailed("not yet")
        if bad:
            raise SomeFailed("it will not do", "ask for another", bad)
        return [Done({"flag": slots.flag}) for slots, _ in work]

    def undo(self, host, undo):
        self.undo_many(host, [undo])

    def undo_many(self, host, undos):
        note("undo", *undos)
        if any(os.path.exists(f"{PLACE}/flags/{flag}") and os.path.getsize(f"{PLACE}/flags/{flag}") for flag in undos):
            raise UndoConflict("someone wrote into it")
        for flag in undos:
            if os.path.exists(f"{PLACE}/flags/{flag}"):
                os.unlink(f"{PLACE}/flags/{flag}")
'''


class Flags:
    def __init__(self, folder):
        self.folder = folder
        (folder / "flags").mkdir()
        (folder / "root").mkdir()
        self.orders = 0

    def order(self, *names, **fields):
        self.orders += 1
        order = OrderBuilder(self.folder / f"package{self.orders}", self.folder / "root", serial=self.orders)
        for name in names:
            order.node("flag.many", name=name, flag=name, **fields)
        return order

    def run(self, verb, order=None, **fields):
        return ask(request(verb, self.folder / "state", order.write() if order else "", **fields))

    def set(self):
        return sorted(path.name for path in (self.folder / "flags").iterdir())

    def log(self):
        log = self.folder / "log"
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return lines


@pytest.fixture
def flags(tmp_path, monkeypatch):
    site = tmp_path / "site"
    info = site / "many_plugin-1.dist-info"
    info.mkdir(parents=True)
    (site / "many_plugin.py").write_text(PLUGIN % str(tmp_path))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: many-plugin\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[requisition.actions]\nflag.many = many_plugin:Many\n")
    monkeypatch.syspath_prepend(str(site))
    yield Flags(tmp_path)
    sys.modules.pop("many_plugin", None)


def test_nodes_that_are_ready_are_done_at_once_and_taken_back_at_once(flags):
    answer = flags.run("apply", flags.order("x", "y", "z"))
    assert answer.status == "done", answer.text
    assert answer.result.summary == {"done": 3}
    assert flags.log() == ["join x y z", "do x y z"]
    assert flags.run("rollback").status == "done"
    assert flags.log() == ["undo z y x"]
    assert flags.set() == []


def test_those_with_another_key_go_by_themselves(flags):
    order = flags.order("x", "y")
    order.node("flag.many", name="z", flag="z", kind="b")
    assert flags.run("apply", order).status == "done"
    assert flags.log() == ["join x y", "do x y", "join z", "do z"]


def test_what_needs_another_of_them_waits(flags):
    order = flags.order("x", "y")
    order.node("flag.many", name="z", flag="z", needs=[order.nodes[0].id])
    assert flags.run("apply", order).status == "done"
    assert flags.log() == ["join x y", "do x y", "join z", "do z"]


def test_they_wait_for_those_that_become_ready_by_files(flags):
    order = flags.order("x")
    first = order.node("file.write", content="1", path="/first")
    second = order.node("file.write", content="2", path="/second", needs=[first])
    order.node("flag.many", name="y", flag="y", needs=[second])
    assert flags.run("apply", order).status == "done"
    assert flags.log() == ["join x y", "do x y"]


def test_what_is_there_already_takes_no_part(flags):
    flags.run("apply", flags.order("x"))
    flags.log()
    answer = flags.run("apply", flags.order("x", "y"))
    assert answer.result.summary == {"done": 1, "unchanged": 1}
    assert flags.log() == ["join y", "do y"]
    assert flags.run("apply", flags.order("x", "y")).result.summary == {"unchanged": 2}


def test_the_node_at_fault_is_named_and_all_are_taken_back(flags):
    answer = flags.run("apply", flags.order("x", "bad", "y"))
    assert answer.status == "failed"
    assert [found.where for found in answer.result.diagnostics] == ["package.star:2"]
    assert "demo/install/flag.many:bad: it will not do" in answer.text
    assert flags.log() == ["join x bad y", "do x bad y", "undo y bad x"]
    assert flags.set() == []


def test_a_failure_of_nobody_in_particular_names_all(flags):
    answer = flags.run("apply", flags.order("x", "flaky"))
    assert answer.status == "failed"
    (found,) = answer.result.diagnostics
    assert found.what == "demo/install/flag.many:x: not yet"
    assert found.why == "it was done together with demo/install/flag.many:flaky"
    assert flags.set() == []


def test_what_cannot_be_taken_back_together_is_taken_back_one_by_one(flags):
    assert flags.run("apply", flags.order("x", "y", "z")).status == "done"
    (flags.folder / "flags" / "y").write_text("mine")
    flags.log()
    back = flags.run("rollback")
    assert back.status == "failed"
    assert "demo/install/flag.many:y: someone wrote into it" in back.text
    assert flags.log() == ["undo z y x", "undo z", "undo y", "undo x"]
    assert flags.set() == ["y"]


def test_a_node_with_a_retry_policy_is_tried_by_itself(flags):
    order = flags.order("x")
    order.node("flag.many", name="flaky", flag="flaky", retry=Retry(2))
    answer = flags.run("apply", order)
    assert answer.status == "done", answer.text
    assert sorted(flags.log()) == ["do flaky", "do flaky", "do x", "join flaky", "join flaky", "join x", "undo flaky"]
    assert flags.set() == ["flaky", "x"]


def test_a_family_is_judged_before_anything_is_touched(flags):
    order = flags.order("x", "y")
    order.node("flag.many", name="again", flag="x")
    answer = flags.run("apply", order)
    assert answer.status == "bad_input"
    assert "package.star:3: demo/install/flag.many:again: x is asked for twice" in answer.text
    assert flags.log() == []


def test_what_the_family_agrees_on_is_done(flags):
    assert flags.run("apply", flags.order("UPPER")).status == "done"
    assert flags.set() == ["upper"]


def test_what_is_for_a_phase_only_is_taken_back_at_its_end_when_it_was_needed(flags):
    order = flags.order("x", "y", passing=True)
    order.node("file.write", content="1", path="/first", needs=[order.nodes[0].id])
    order.node("flag.many", name="z", flag="z", phase="verify")
    answer = flags.run("apply", order)
    assert answer.status == "done", answer.text
    assert flags.log() == ["join x", "do x", "undo x", "join z", "do z"]
    assert flags.set() == ["z"]
    again = flags.run("apply", order)
    assert again.result.summary == {"unchanged": 4}, again.text
    assert flags.log() == []


def test_when_its_phase_fails_it_is_taken_back_after_what_needed_it(flags):
    order = flags.order("x", passing=True)
    order.node("flag.many", name="z", flag="z", needs=[order.nodes[0].id])
    order.node("shell.exec", argv=["false"], needs=[order.nodes[1].id])
    answer = flags.run("apply", order)
    assert answer.status == "failed"
    assert flags.set() == []
    assert answer.result.data["state"] == "rolled_back"
