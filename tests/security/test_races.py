"""Somebody who may write below the target root swaps directories for links that lead out, all the time."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.orders import OrderBuilder
from support.process import request
from support.session import ask
from support.small_order import tar_bytes
from support.trees import build, snapshot

TESTS = Path(__file__).parents[1]
PLACES = ("/swap", "/deep/in")


def steps(order, place, action):
    """An order's nodes of one action below a place that is being swapped."""
    if action == "file.write":
        order.node(action, path=f"{place}/victim", content="stolen\n")
        order.node(action, path=f"{place}/new", content="stolen\n", mode=0o4755)
        order.node(action, path="/file", content="stolen\n", name="file")
    elif action == "file.mkdir":
        order.node(action, path=f"{place}/made", mode=0o2777)
        order.node(action, path=f"{place}/a/b", parents=True)
    elif action == "file.link":
        order.node(action, path=f"{place}/l", target="/etc/passwd")
        order.node(action, path=f"{place}/victim", target="/etc/passwd")
    elif action == "file.copy":
        order.node(action, source=order.input("data", b"stolen"), path=f"{place}/victim")
    elif action == "template.render":
        order.node(action, source=order.input("t", b"stolen"), data={}, path=f"{place}/victim")
    elif action == "file.chmod":
        order.node(action, path=f"{place}/victim", mode=0o4777)
        order.node(action, path=place, mode=0o777, name="itself")
        order.node(action, path="/file", mode=0o4777)
    elif action in ("file.unlink", "file.backup"):
        order.node(action, path=f"{place}/victim")
    elif action == "file.remove":
        order.node(action, path=place, recursive=True)
    elif action == "file.rename":
        order.node(action, source=f"{place}/victim", path=f"{place}/moved")
        order.node(action, source=f"{place}/tree", path="/got", name="out")
    elif action == "archive.extract":
        order.node(action, source=order.input("a.tar", tar_bytes()), path=f"{place}/x")


ACTIONS = [
    "file.write",
    "file.mkdir",
    "file.link",
    "file.copy",
    "template.render",
    "file.chmod",
    "file.unlink",
    "file.backup",
    "file.remove",
    "file.rename",
    "archive.extract",
]


@pytest.fixture
def field(tmp_path):
    """A root with what is swapped, and outside of it what must stay as it is."""
    shape = {"victim": (b"mine\n", 0o600), "tree": {"inner": b"1\n"}, "empty": {}}
    build(tmp_path / "outside", shape)
    build(tmp_path / "root", {"swap": shape, "deep": {"in": shape}, "file": b"f\n"})
    return tmp_path


def race(folder, action, rounds):
    """Applies and rolls back while the racer runs; how many runs there were."""
    root, outside = folder / "root", folder / "outside"
    before, times = snapshot(outside), os.stat(outside / "victim").st_ctime_ns
    command = [sys.executable, "-m", "support.racer", str(root), str(outside), str(rounds)]
    runs = 0
    with subprocess.Popen(command, cwd=TESTS) as racer:
        while not (folder / "go").exists() and racer.poll() is None:
            pass
        while racer.poll() is None:
            order = OrderBuilder(folder / f"package{runs}", root)
            steps(order, PLACES[runs % 2], action)
            answer = ask(request("apply", folder / "state", order.write(), on_conflict="overwrite"))
            assert "internal error" not in answer.text, answer.text
            ask(request("rollback", folder / "state", force=True))
            runs += 1
    assert racer.returncode == 0
    assert snapshot(outside) == before
    assert os.stat(outside / "victim").st_ctime_ns == times
    return runs


@pytest.mark.parametrize("action", ACTIONS)
def test_nothing_outside_of_the_root_is_touched_however_names_are_swapped(field, action):
    assert race(field, action, 60_000) > 0


@pytest.mark.long
@pytest.mark.parametrize("action", ACTIONS)
def test_nothing_outside_is_touched_for_long(field, action):
    assert race(field, action, 2_000_000) > 0
