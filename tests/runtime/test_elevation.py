"""Nodes that need root, through real sudo: done, taken back, cut off; and what a hostile user is refused."""

import os

import pytest

from support import elevated

pytestmark = elevated.skip_without()


@pytest.fixture
def world(tmp_path):
    return elevated.World(tmp_path)


def both(world, **fields):
    """User's and root's nodes in turns, values passed from one to the other both ways."""
    order = world.order(**fields)
    name = order.node("shell.exec", argv=["printf", "from the user"], name="say", checks_only=True)
    first = order.node(
        "file.write", content={"$ref": name, "output": "stdout"}, path="/by-root", needs=[name], elevate=True
    )
    who = order.node("shell.exec", argv=["id", "-un"], name="who", checks_only=True, needs=[first], elevate=True)
    mine = order.node("file.write", content={"$ref": who, "output": "stdout"}, path="/home/who", needs=[who])
    source = order.input("data", b"input\n")
    order.node("file.copy", source=source, path="/copied", mode=0o600, needs=[mine], elevate=True)
    return order


def owners(world):
    found = {}
    for path in sorted(world.root.rglob("*")):
        if path.is_file():
            found[str(path.relative_to(world.root))] = (path.read_text(), path.stat().st_uid)
    return found


DONE = {"by-root": ("from the user", 0), "home/who": ("root\n", elevated.UID), "copied": ("input\n", 0)}


def test_nodes_of_both_kinds_run_in_one_order_each_as_who_they_need(world):
    path = world.signed(both(world))
    looked = world.ask("dry-run", path)
    assert looked.status == "changes", looked.text
    assert owners(world) == {}
    answer = world.ask("apply", path)
    assert answer.status == "done", answer.text + answer.stderr
    assert owners(world) == DONE
    again = world.ask("apply", path)
    assert again.result.summary.get("done", 0) <= 2, again.text  # the two commands, which only look
    back = world.ask("rollback")
    assert back.status == "done", back.text
