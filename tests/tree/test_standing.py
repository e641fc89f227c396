"""Recovery's look at plan.lock and checkouts, on real ones."""

import os
import subprocess
import sys

import pytest

from requisition.tree import checkout, pins, recovery
from requisition.tree.pins import Pin, Pins
from requisition.tree.walk import WalkOptions, walk
from support.forest import BareRemote, manifest
from support.trees import snapshot


class Wood:
    """A tree of a root and two children, walked once."""

    def __init__(self, folder):
        self.folder, self.cache = folder / "root", str(folder / "cache")
        self.folder.mkdir()
        self.remotes = {}
        for name in ("a", "b"):
            self.remotes[name] = BareRemote(folder / f"{name}.git")
            self.remotes[name].commit({"package.yaml": manifest(name), "file": "one\n"})
        children = {name: remote.url for name, remote in self.remotes.items()}
        (self.folder / "package.yaml").write_text(manifest("root", children))
        self.tree = self.walk().tree

    def walk(self, **options):
        return walk(str(self.folder), WalkOptions(cache=self.cache, **options), say=lambda _: None)

    def scan(self, tree=None):
        before = snapshot(self.folder)
        found = recovery.scan(str(self.folder), tree, state_dir=str(self.folder / "no-state"))
        assert snapshot(self.folder) == before
        return found

    @property
    def pins(self):
        return pins.read(str(self.folder / "plan.lock"))

    def pin(self, **commits):
        moved = {name: Pin(pin.url, commits.get(name, pin.commit), pin.ref) for name, pin in self.pins.packages.items()}
        pins.write(str(self.folder / "plan.lock"), Pins(moved))

    def git(self, child, *words):
        words = ["git", "-C", str(self.folder / child), "-c", "user.name=A", "-c", "user.email=a@example.org", *words]
        subprocess.run(words, check=True, capture_output=True)


@pytest.fixture
def wood(tmp_path):
    return Wood(tmp_path)


def test_a_tree_at_its_pins_has_no_findings(wood):
    assert wood.scan() == []
    assert wood.scan(wood.tree) == []


def test_pins_that_were_pulled_are_one_finding_that_names_the_packages(wood):
    before = wood.pins.packages["a"].commit
    commit = wood.remotes["a"].commit({"file": "two\n"})
    wood.pin(a=commit)
    subprocess.run(["rm", "-r", str(wood.folder / "b")], check=True)
    (found,) = wood.scan()
    assert (found.kind, found.path) == ("plan.lock is newer", "plan.lock")
    assert found.text == f"a is at {before[:12]}, not {commit[:12]}, b is not there"
    wood.walk()
    assert wood.scan() == []


def test_what_a_person_moved_is_told_with_the_way_back(wood):
    (wood.folder / "b" / "file").write_text("mine\n")
    wood.git("b", "commit", "-qam", "mine")
    (found,) = wood.scan()
    assert (found.kind, found.path) == ("plan.lock is older", "b")
    (answer,) = recovery.mend([found])
    assert not answer.done
    wood.git("b", *answer.text.partition(f"git -C {wood.folder}/b ")[2].split())
    assert wood.scan() == []


def test_something_else_at_a_packages_place_is_told(wood):
    subprocess.run(["rm", "-r", str(wood.folder / "b")], check=True)
    (wood.folder / "b").mkdir()
    (wood.folder / "b" / "notes").write_text("mine\n")
    (found,) = wood.scan()
    assert (found.kind, found.path) == ("not checked out", "b")
    assert "move it away" in found.next


def test_pins_that_no_manifest_names_and_packages_without_a_pin_are_told(wood):
    a = wood.pins.packages["a"]
    pins.write(str(wood.folder / "plan.lock"), Pins({"a": a}))
    (found,) = wood.scan(wood.tree)
    assert (found.path, found.text) == ("b", "it is not pinned")


def test_a_damaged_lock_file_is_named_by_line_and_does_not_hide_the_rest(wood):
    path = wood.folder / "plan.lock"
    path.write_text(path.read_text().replace("commit: ", "commit: z", 1))
    (wood.folder / ".plan" / "clones" / "x").mkdir(parents=True)
    clone, damaged = wood.scan()
    assert (clone.kind, damaged.kind) == ("half-made clone", "pins unreadable")
    assert damaged.path.startswith(f"{path}:")


def cut_off(wood, monkeypatch):
    """A walk that is killed after it moved the files of `a`, before it said so; the commit it led to."""
    commit = wood.remotes["a"].commit({"file": "two\n"})
    real = checkout._replace_mark

    def dies_second(folder, mark):
        if not mark.moving:
            raise KeyboardInterrupt
        real(folder, mark)

    monkeypatch.setattr(checkout, "_replace_mark", dies_second)
    with pytest.raises(KeyboardInterrupt):
        wood.walk(update=("a",))
    monkeypatch.undo()
    return commit


def test_a_move_that_was_cut_off_is_ended_once(wood, monkeypatch):
    commit = cut_off(wood, monkeypatch)
    (found,) = [one for one in wood.scan() if one.path == "a"]
    assert found.kind == "checkout cut off"
    (answer,) = recovery.mend([found])
    assert answer.done
    assert (wood.folder / "a" / "file").read_text() == "two\n"
    state = checkout.look(str(wood.folder / "a"))
    assert (state.commit, state.moving, state.mark.commit) == (commit, "", commit)
    assert recovery.mend([found])[0].text == "it is gone already"
    assert "checkout cut off" not in [one.kind for one in wood.scan()]


def test_a_move_that_was_cut_off_over_a_persons_file_is_left_with_its_name(wood, monkeypatch):
    cut_off(wood, monkeypatch)
    (wood.folder / "a" / "file").write_text("mine\n")
    (answer,) = recovery.mend([one for one in wood.scan() if one.path == "a"])
    assert not answer.done
    assert "file" in answer.text
    assert "save what you need" in answer.text
    assert (wood.folder / "a" / "file").read_text() == "mine\n"


def test_a_walk_killed_anywhere_in_a_clone_leaves_what_recovery_takes_away(tmp_path):
    wood = Wood(tmp_path)
    subprocess.run(["rm", "-r", str(wood.folder / "a")], check=True)
    code = """
import os, signal, sys
real = os.rename
def rename(source, target, **more):
    if "/clones/" in source:
        os.kill(os.getpid(), signal.SIGKILL)
    real(source, target, **more)
os.rename = rename
from requisition.tree.walk import WalkOptions, walk
walk(sys.argv[1], WalkOptions(cache=sys.argv[2], jobs=1), say=print)
"""
    done = subprocess.run([sys.executable, "-c", code, str(wood.folder), wood.cache], check=False, capture_output=True)
    assert done.returncode == -9, done.stderr
    clone, newer = wood.scan()
    assert (clone.kind, newer.kind) == ("half-made clone", "plan.lock is newer")
    assert recovery.mend([clone])[0].done
    assert os.listdir(wood.folder / ".plan" / "clones") == []
    wood.walk()
    assert wood.scan(wood.tree) == []
