"""A second apply of the same order: known to stand by one `lstat` a path, or looked at closely."""

import os

import pytest

from requisition.schemas.document import Secret
from support.orders import OrderBuilder
from support.process import request
from support.receipts import read_receipt
from support.session import ask
from support.trees import snapshot


class Applied:
    """An order of one directory, file and link that was applied."""

    def __init__(self, folder):
        self.folder, self.root = folder, folder / "root"
        self.root.mkdir()
        order = OrderBuilder(folder / "package", self.root)
        made = order.node("file.mkdir", path="/d", mode=0o755)
        order.node("file.write", content="text", path="/d/f", needs=[made])
        order.node("file.link", target="f", path="/d/l", needs=[made])
        self.path = order.write()
        assert self.apply().status == "done"

    def apply(self, verb="apply", **fields):
        return ask(request(verb, self.folder / "state", self.path, **fields))


@pytest.fixture
def applied(tmp_path, monkeypatch):
    monkeypatch.setattr("requisition.runtime.state.RACY_NS", 0)  # the files are as young as the test
    return Applied(tmp_path)


def test_the_receipt_of_an_order_that_stands_says_the_same_as_a_close_look(applied):
    short = read_receipt(applied.apply().result.receipt)
    (applied.root / "d").rename(applied.root / "away")
    (applied.root / "away").rename(applied.root / "d")
    os.utime(applied.root / "d" / "f")  # another signature, the same content
    long = read_receipt(applied.apply().result.receipt)
    assert [(run.node, run.status, run.left) for run in short.nodes] == [
        (run.node, run.status, run.left) for run in long.nodes
    ]
    assert short.order == long.order
    assert short.summary == {"unchanged": 3}


def test_only_files_are_looked_at_when_an_order_stands(applied, monkeypatch):
    monkeypatch.setattr("requisition.runtime.apply.hydrate", None)
    assert applied.apply().result.summary == {"unchanged": 3}
    assert applied.apply("dry-run").result.summary == {"change": 0, "unchanged": 3, "unknown": 0}


@pytest.mark.parametrize(
    "change",
    [
        lambda d: (d / "f").write_text("TEXT"),
        lambda d: (d / "f").chmod(0o600),
        lambda d: (d / "f").unlink(),
        lambda d: (d / "l").unlink() or (d / "l").symlink_to("g"),
        lambda d: d.chmod(0o700),
        lambda d: d.rename(d.with_name("e")) and d.mkdir(0o755),
    ],
    ids=["content", "mode", "absent", "link", "directory's mode", "another directory"],
)
def test_whatever_was_touched_is_put_right(applied, change):
    wanted = snapshot(applied.root)
    change(applied.root / "d")
    again = applied.apply(on_conflict="overwrite")
    assert again.status == "done", again.text
    found = snapshot(applied.root)
    assert {path: state for path, state in found.items() if not path.startswith("e")}.keys() == wanted.keys()
    assert (applied.root / "d" / "f").read_text() == "text"
    assert (applied.root / "d").stat().st_mode & 0o777 == 0o755


def test_a_file_that_someone_put_beside_ours_changes_nothing(applied, monkeypatch):
    (applied.root / "d" / "new").write_text("somebody's")
    monkeypatch.setattr("requisition.runtime.apply.hydrate", None)
    assert applied.apply().result.summary == {"unchanged": 3}


def test_a_secret_may_have_changed_though_no_file_has(tmp_path):
    (tmp_path / "root").mkdir()
    order = OrderBuilder(tmp_path / "package", tmp_path / "root")
    order.node("file.write", content={"$secret": "pw"}, path="/pw", mode=0o600)
    path = order.write(secrets=(Secret("pw"),))
    for value, status in (("one", "done"), ("one", "unchanged"), ("two", "done")):
        answer = ask(request("apply", tmp_path / "state", path, secrets={"pw": value}))
        assert answer.result.summary == {status: 1}
        assert (tmp_path / "root" / "pw").read_text() == value
