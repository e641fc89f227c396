"""Before a rollback touches anything: what the run displaced is not mistaken for somebody's change."""

import pytest

from support.orders import OrderBuilder
from support.process import request
from support.session import ask
from support.trees import build, snapshot

TREE = {"a": {"a": b"other"}, "b": {"a": b"mine"}}


class Root:
    def __init__(self, folder):
        self.folder, self.root = folder, folder / "root"
        build(self.root, TREE)
        self.order = OrderBuilder(folder / "package", self.root)

    def run(self, verb, **fields):
        path = "" if verb == "rollback" else self.order.write()
        return ask(request(verb, self.folder / "state", path, **fields))

    def link_over(self, policy, *before):
        """Write into /b, then put a link in its place that leads to a directory with the same names."""
        written = [self.order.node("file.write", content=text, path=path, needs=()) for path, text in before]
        self.order.node("file.link", target="a", path="/b", needs=written, on_conflict=policy)
        applied = self.run("apply", on_conflict="overwrite")
        assert applied.status == "done", applied.text
        assert (self.root / "b" / "a").read_bytes() == b"other"


@pytest.fixture
def root(tmp_path):
    return Root(tmp_path)


@pytest.mark.parametrize("policy", ["overwrite", "backup"])
@pytest.mark.parametrize("before", [(), (("/b/a", "new"), ("/b/c", "new"))], ids=["as it was", "written before"])
def test_what_is_seen_through_our_own_link_is_no_change_of_somebody(root, policy, before):
    first = snapshot(root.root)
    root.link_over(policy, *before)
    undone = root.run("rollback")
    assert undone.status == "done", undone.text
    assert snapshot(root.root) == first


def test_a_change_in_a_directory_that_was_moved_aside_is_found_there(root):
    root.link_over("backup", ("/b/c", "new"))
    aside = next(path for path in root.root.iterdir() if path.name.startswith("b.before-"))
    (aside / "c").write_text("somebody's")
    after = snapshot(root.root)
    refused = root.run("rollback")
    assert refused.status == "conflict", refused.text
    assert "/b/c cannot be taken back" in refused.text
    assert snapshot(root.root) == after
    assert root.run("rollback", force=True).status == "failed"
    assert (root.root / "b" / "c").read_text() == "somebody's"


def test_a_file_put_in_the_place_of_our_link_is_somebodys(root):
    root.link_over("overwrite")
    (root.root / "b").unlink()
    (root.root / "b").write_text("somebody's")
    assert root.run("rollback").status == "conflict"
    assert (root.root / "b").read_text() == "somebody's"


def test_what_was_renamed_twice_is_judged_where_it_is_now(root):
    first = snapshot(root.root)
    write = root.order.node("file.write", content="new", path="/b/c")
    one = root.order.node("file.rename", source="/b", path="/c", needs=[write])
    two = root.order.node("file.rename", source="/c", path="/d", needs=[one])
    again = root.order.node("file.mkdir", path="/b", needs=[two])
    root.order.node("file.write", content="other", path="/b/c", name="again", needs=[again])
    applied = root.run("apply")
    assert applied.status == "done", applied.text
    (root.root / "d" / "c").write_text("somebody's")
    refused = root.run("rollback")
    assert refused.status == "conflict", refused.text
    assert "/b/c cannot be taken back" in refused.text
    (root.root / "d" / "c").write_text("new")
    undone = root.run("rollback")
    assert undone.status == "done", undone.text
    assert snapshot(root.root) == first


def test_a_directory_that_came_to_the_place_of_a_removed_file_goes_back(root):
    (root.root / "f").write_text("was here")
    first = snapshot(root.root)
    gone = root.order.node("file.remove", path="/f")
    root.order.node("file.rename", source="/b", path="/f", needs=[gone])
    applied = root.run("apply")
    assert applied.status == "done", applied.text
    undone = root.run("rollback")
    assert undone.status == "done", undone.text
    assert snapshot(root.root) == first


def test_a_renamed_thing_that_was_replaced_stops_the_rollback(root):
    root.order.node("file.rename", source="/b/a", path="/b/z")
    applied = root.run("apply")
    assert applied.status == "done", applied.text
    (root.root / "b" / "new").write_text("somebody's")
    (root.root / "b" / "new").rename(root.root / "b" / "z")
    refused = root.run("rollback")
    assert refused.status == "conflict", refused.text
    assert "/b/z cannot be taken back" in refused.text


def test_a_directory_that_was_moved_and_then_removed_goes_back_to_where_it_was(root):
    (root.root / "f").write_text("was here")
    first = snapshot(root.root)
    gone = root.order.node("file.remove", path="/f")
    moved = root.order.node("file.rename", source="/b", path="/f", needs=[gone])
    root.order.node("file.remove", path="/f", recursive=True, name="again", needs=[moved])
    applied = root.run("apply")
    assert applied.status == "done", applied.text
    undone = root.run("rollback")
    assert undone.status == "done", undone.text
    assert snapshot(root.root) == first


def test_a_directory_that_was_changed_and_then_replaced_by_a_file_comes_back(root):
    first = snapshot(root.root)
    changed = root.order.node("file.chmod", path="/b", mode=0o700)
    root.order.node("file.write", content="", path="/b", needs=[changed])
    assert root.run("apply", on_conflict="overwrite").status == "done"
    undone = root.run("rollback")
    assert undone.status == "done", undone.text
    assert snapshot(root.root) == first
