"""Walks that are killed, and what the next one makes of what they left."""

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from requisition.tree import pins
from requisition.tree.checkout import Mark, look
from requisition.tree.walk import Walked, WalkOptions, walk
from support import walk_driver
from support.forest import BareRemote, manifest
from support.trees import snapshot


def driven(root: Path, cache: Path, update: str, at: int) -> int:
    """How many effects the walk had; 0 when it was killed."""
    command = [sys.executable, walk_driver.__file__, str(root), str(cache), update, str(at)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return int(done.stdout) if done.returncode == 0 else 0


def finished(root: Path, cache: Path, *update: str) -> Walked:
    walked = walk(str(root), WalkOptions(cache=str(cache), update=update), say=lambda _: None)
    assert [str(one) for one in walked.problems] == []
    return walked


def planted(folder: Path) -> tuple[Path, BareRemote]:
    leaf, middle = BareRemote(folder / "leaf.git"), BareRemote(folder / "middle.git")
    leaf.commit({"package.yaml": manifest("leaf"), "x": "1", "old": "1"})
    middle.commit({"package.yaml": manifest("middle", {"leaf": leaf.url})})
    root = folder / "root"
    root.mkdir()
    (root / "package.yaml").write_text(manifest("root", {"m": middle.url}))
    return root, leaf


def content(root: Path) -> dict:
    """What people see of a tree, and what its pins are; not git's own files, nor ours."""
    found = snapshot(root, times=False)
    return {path: value for path, value in found.items() if ".git" not in path.split("/") and path[:5] != ".plan"}


def left_over(root: Path, cache: Path) -> list[str]:
    clones = root / ".plan/clones"
    left = [str(one) for one in clones.iterdir()] if clones.exists() else []
    left += [str(one) for one in cache.rglob("*") if one.name.startswith("tmp_") or one.suffix == ".new"]
    return left + [str(one) for one in [*root.rglob(".git/**/*.lock"), *cache.glob("*.git/**/*.lock")]]


def killed_everywhere(folder: Path, update: str, step: int) -> None:
    """Kill a walk at every `step`-th of its effects, each time in a tree of its own; the next one mends."""
    root, leaf = planted(folder)
    cache = folder / "cache"
    cache.mkdir(mode=0o700)
    if update:
        finished(root, cache)
        leaf.commit({"x": "2", "new": "2"})
    for one in (root, cache):
        subprocess.run(["cp", "-a", str(one), f"{one}.before"], check=True)

    def again() -> None:
        for one in (root, cache):
            subprocess.run(["rm", "-rf", str(one)], check=True)
            subprocess.run(["cp", "-a", f"{one}.before", str(one)], check=True)

    effects = driven(root, cache, update, 0)
    wanted = content(root)
    assert effects > 20
    for at in range(1, effects + 1, step):
        again()
        assert driven(root, cache, update, at) == 0
        finished(root, cache, *filter(None, [update]))
        assert content(root) == wanted, at
        assert left_over(root, cache) == [], at
        for path in ("m", "m/leaf"):
            command = ["git", "-C", str(root / path), "status", "--porcelain", "--untracked-files=no"]
            assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "", at


@pytest.mark.parametrize("update", ["", "leaf"])
def test_a_walk_killed_at_some_of_its_effects_is_mended_by_the_next(tmp_path, update):
    killed_everywhere(tmp_path, update, 13)


@pytest.mark.long
@pytest.mark.parametrize("update", ["", "leaf"])
def test_a_walk_killed_at_any_of_its_effects_is_mended_by_the_next(tmp_path, update):
    killed_everywhere(tmp_path, update, 1)


def test_a_fetch_that_was_killed_leaves_nothing_that_stops_the_next(tmp_path):
    root, leaf = planted(tmp_path)
    cache = tmp_path / "cache"
    finished(root, cache)
    mine = hashlib.sha256(leaf.url.encode()).hexdigest()
    for bare in cache.glob(f"{mine}.git"):
        for name in ("shallow.lock", "objects/pack/tmp_pack_x", "refs/known/refs%2Fheads%2Fmain.lock", "HEAD.lock"):
            (bare / name).write_text("half")
        (cache / f"{bare.name}.new/objects").mkdir(parents=True)
    new = leaf.commit({"x": "2"})
    assert finished(root, cache, "leaf").tree.member("m/leaf").commit == new
    assert not list(cache.glob("*.git/**/*.lock"))


def half_moved(tmp_path: Path) -> tuple[Path, Path, str]:
    """A tree whose leaf was being moved when git was killed: one file new, one half written, one not yet touched."""
    root, leaf = planted(tmp_path)
    cache = tmp_path / "cache"
    finished(root, cache)
    place = root / "m/leaf"
    old = look(str(place)).commit
    new = leaf.commit({"x": "second", "new": "entirely new", "package.yaml": manifest("leaf", version="2")})
    walk(str(root), WalkOptions(cache=str(cache), change=False, scratch=str(tmp_path / "s"), update=("leaf",)), say=str)
    for bare in cache.glob("*.git"):
        for pack in (bare / "objects/pack").iterdir():
            target = place / ".git/objects/pack" / pack.name
            if (bare / "kept" / new).exists() and not target.exists():
                os.link(pack, target)
        if (bare / "kept" / new).exists():
            (place / ".git/shallow").write_bytes((bare / "shallow").read_bytes())
    (place / ".git/requisition").write_text(f'{{"url":"{leaf.url}","commit":"{old}","moving":"{new}"}}')
    (place / ".git/index.lock").write_text("half")
    (place / "new").write_text("entirely")
    (place / "x").unlink()
    return root, cache, new


def test_a_move_that_was_cut_off_in_the_middle_is_ended(tmp_path):
    root, cache, new = half_moved(tmp_path)
    assert finished(root, cache, "leaf").tree.member("m/leaf").commit == new
    place = root / "m/leaf"
    assert (place / "new").read_text() == "entirely new"
    assert (place / "x").read_text() == "second"
    assert (place / "old").read_text() == "1"
    assert look(str(place)).mark == Mark((tmp_path / "leaf.git").as_uri(), new)


@pytest.mark.parametrize("name", ["x", "old", "new"])
def test_what_a_person_wrote_since_a_move_was_cut_off_is_kept_and_named(tmp_path, name):
    root, cache, new = half_moved(tmp_path)
    (root / "m/leaf" / name).write_text("by hand")
    walked = walk(str(root), WalkOptions(cache=str(cache), update=("leaf",)), say=lambda _: None)
    found = "\n".join(str(one) for one in walked.problems)
    assert f"has changes in {name}" in found
    assert f"reset --hard {new}" in found
    assert (root / "m/leaf" / name).read_text() == "by hand"


def test_pins_are_whole_after_any_kill(tmp_path):
    root, leaf = planted(tmp_path)
    cache = tmp_path / "cache"
    effects = driven(root, cache, "", 0)
    before = (root / "plan.lock").read_bytes()
    leaf.commit({"x": "2"})
    for at in range(effects - 8, effects, 3):
        driven(root, cache, "leaf", at)
        pins.read(f"{root}/plan.lock")
    finished(root, cache, "leaf")
    assert (root / "plan.lock").read_bytes() != before
