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
