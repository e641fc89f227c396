"""`@current`: what stands on a target root, read from real runs, against the order that would come next."""

import hashlib
import os
from pathlib import Path

import pytest

from requisition.review.current import standing_order
from requisition.review.difference import difference
from requisition.review.sides import current_side, open_side
from requisition.schemas.diagnostic import BadInput
from support.orders import OrderBuilder
from support.process import request
from support.session import ask


class World:
    """A target root, a state directory, and orders that are applied one after the other."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.root, self.state = folder / "root", folder / "state"
        self.root.mkdir()
        self.count = 0

    def order(self, files: dict[str, bytes], *, package: str = "demo", **extra) -> Path:
        """An order that copies files, and checks."""
        self.count += 1
        order = OrderBuilder(self.folder / f"package{self.count}", self.root, package=package, serial=self.count)
        for path, content in files.items():
            order.node("file.copy", source=order.input(path.strip("/"), content), path=path, **extra)
        order.node("shell.exec", argv=["true"], checks_only=True, phase="verify", name="true")
        return order.write()

    def apply(self, path: Path, **fields) -> str:
        answer = ask(request("apply", self.state, path, **fields))
        assert answer.result.status == "done", answer.result.diagnostics
        return answer.result.run_id

    def since(self, path: Path, packages=("demo",)):
        """What an order would change of what stands."""
        return difference(current_side(str(self.state), str(self.root), packages), open_side(str(path)))


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def test_after_an_order_was_applied_nothing_of_it_differs_checks_that_left_nothing_included(world):
    path = world.order({"/a": b"one\n", "/b": b"b\n"})
    world.apply(path)
    assert world.since(path).empty
    world.apply(path)  # and again, when all was unchanged
    assert world.since(path).empty


def test_the_next_order_is_compared_slot_by_slot_and_by_content(world):
    world.apply(world.order({"/a": b"one\n", "/b": b"b\n"}))
    found = world.since(world.order({"/a": b"two\n", "/c": b"c\n"}, mode=0o600))
    assert [node.id for node in found.added] == ["demo/install/file.copy:/c"]
    assert [node.id for node in found.removed] == ["demo/install/file.copy:/b"]
    (change,) = found.changed
    assert (change.inputs, [slot.name for slot in change.slots]) == (("a",), ["mode"])
    assert {one.path: one.diff for one in found.inputs}["a"] == "@@ -1 +1 @@\n-one\n+two\n"
    assert [(field.name, field.before, field.after) for field in found.order] == [("serial", "1", "2")]


def test_what_an_earlier_order_left_and_the_last_one_does_not_name_still_stands(world):
    world.apply(world.order({"/a": b"a\n", "/old": b"old\n"}))
    last = world.order({"/a": b"a\n"})
    world.apply(last)
    found = world.since(last)
    assert [node.id for node in found.removed] == ["demo/install/file.copy:/old"]
    assert (found.added, found.changed) == ((), ())
    (gone,) = found.inputs
    assert gone.diff == "@@ -1 +0,0 @@\n-old\n"


def test_a_run_that_was_taken_back_does_not_stand(world):
    first, second = world.order({"/a": b"one\n"}), world.order({"/a": b"two\n"})
    world.apply(first)
    taken = world.apply(second)
    assert ask(request("rollback", world.state, run_id=taken)).result.status == "done"
    assert world.since(first).empty
    assert not world.since(second).empty


def test_packages_of_others_on_the_same_root_are_left_out(world):
    first = world.order({"/a": b"a\n"})
    world.apply(first)
    world.apply(world.order({"/x": b"x\n"}, package="other"))
    assert world.since(first).empty
    order, runs = standing_order(str(world.state), str(world.root), ["demo", "other"])
    assert {node.id.partition("/")[0] for node in order.nodes} == {"demo", "other"}
    assert len(runs) == 2


def test_only_what_a_part_of_a_run_did_stands(world):
    path = world.order({"/a": b"a\n", "/b": b"b\n"})
    world.apply(path, only=("demo/install/file.copy:/a",))
    assert [node.id for node in world.since(path).added] == [
        "demo/install/file.copy:/b",
        "demo/verify/shell.exec:true",
    ]


def test_where_nothing_was_applied_that_is_told_and_no_state_is_made(world):
    with pytest.raises(BadInput, match="nothing of demo was applied"):
        current_side(str(world.state), str(world.root), ["demo"])
    assert not os.path.exists(world.state)


def test_contents_come_from_the_bundle_of_the_run_when_the_package_is_gone(world):
    from requisition.schemas import orderfile

    path = world.order({"/a": b"one\n"})
    sealed = orderfile.read(str(path))
    orderfile.write(str(path), sealed, {hashlib.sha256(b"one\n").hexdigest(): str(path.parent / "a")})
    os.remove(path.parent / "a")
    world.apply(path)
    os.remove(path)
    (change,) = world.since(world.order({"/a": b"two\n"})).inputs
    assert change.diff == "@@ -1 +1 @@\n-one\n+two\n"


def test_of_a_tree_each_package_stands_by_its_own_last_run(world):
    def tree(contents: dict[str, str]) -> Path:
        world.count += 1
        order = OrderBuilder(world.folder / f"package{world.count}", world.root, serial=world.count)
        for path, content in contents.items():
            order.member(path)
            order.node("file.write", path=f"/{path}", content=content)
        return order.write()

    world.apply(tree({"apps": "one\n", "tools": "one\n"}))
    world.apply(tree({"tools": "two\n"}))
    found = world.since(tree({"apps": "one\n", "tools": "three\n"}), ["apps", "tools"])
    assert (found.added, found.removed) == ((), ())
    (change,) = found.changed
    assert (change.id, change.slots[0].before) == ("tools/install/file.write:/tools", "'two\\n'")
