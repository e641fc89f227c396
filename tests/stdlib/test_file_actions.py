import os

import pytest

from requisition.stdlib.action import ActionError, Change, Raced, Satisfied, UndoConflict
from requisition.stdlib.providers.file import Copy, Link, Mkdir, Write
from requisition.stdlib.providers.file_changes import Chmod, Read, Remove, Unlink
from requisition.stdlib.providers.file_moves import Backup, Rename
from support.hosts import Bench
from support.trees import build, snapshot

TREE = {
    "file": (b"old", 0o640),
    "dir": {"inner": b"x", "empty": {}, "link": ("link", "inner")},
    "link": ("link", "file"),
    "setuid": (b"s", 0o4755),
}
CASES = [
    (Mkdir(), {"path": "/new"}),
    (Mkdir(), {"path": "/a/b/c", "mode": 0o700}),
    (Mkdir(), {"path": "/dir", "mode": 0o711}),
    (Mkdir(), {"path": "/a/kept", "keep": True}),
    (Copy(), {"source": "input", "path": "/new"}),
    (Copy(), {"source": "input", "path": "/file", "mode": 0o600}),
    (Copy(), {"source": "large", "path": "/new", "mode": 0o4755}),
    (Link(), {"target": "file", "path": "/new"}),
    (Link(), {"target": "elsewhere", "path": "/link"}),
    (Link(), {"target": "elsewhere", "path": "/file"}),
    (Write(), {"content": "text\n", "path": "/new", "mode": 0o604}),
    (Write(), {"content": b"bytes", "path": "/file"}),
    (Write(), {"content": "over a link", "path": "/link"}),
    (Write(), {"content": "s", "path": "/setuid", "mode": 0o4755}),
    (Chmod(), {"path": "/file", "mode": 0o777}),
    (Chmod(), {"path": "/dir", "mode": 0o700}),
    (Remove(), {"path": "/file"}),
    (Remove(), {"path": "/link"}),
    (Remove(), {"path": "/dir", "recursive": True}),
    (Remove(), {"path": "/dir", "kind": "dir", "aside": ".bak"}),
    (Unlink(), {"path": "/link"}),
    (Rename(), {"source": "/dir", "path": "/moved"}),
    (Backup(), {"path": "/file"}),
]
IDS = [f"{action.spec.name}{number}" for number, (action, _) in enumerate(CASES)]
INPUTS = {"input": b"from the package", "large": os.urandom(3 << 20)}


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path, INPUTS)
    build(made.root, TREE)
    return made


@pytest.mark.parametrize(("action", "slots"), CASES, ids=IDS)
def test_what_was_done_needs_nothing_more_and_is_undone_exactly(bench, action, slots):
    before = snapshot(bench.root)
    already = isinstance(bench.observe(action, **slots), Satisfied)
    if already:
        return
    change = bench.do(action, **slots)
    assert isinstance(bench.observe(action, **slots), Satisfied)
    assert snapshot(bench.root) != before
    bench.undo(action, change)
    assert snapshot(bench.root) == before


@pytest.mark.parametrize(("action", "slots"), CASES, ids=IDS)
def test_observing_changes_nothing(bench, action, slots):
    before = snapshot(bench.root)
    bench.observe(action, **slots)
    assert snapshot(bench.root) == before


@pytest.mark.parametrize(("action", "slots"), CASES, ids=IDS)
def test_an_undo_of_what_was_never_done_does_nothing(bench, action, slots):
    before = snapshot(bench.root)
    change = bench.observe(action, **slots)
    if isinstance(change, Change):
        bench.undo(action, change)
    assert snapshot(bench.root) == before


def test_the_mode_is_exact_whatever_the_umask(bench):
    before = os.umask(0o077)
    try:
        os.umask(0)  # as the runtime does for its whole life
        bench.do(Write(), content="x", path="/x", mode=0o666)
    finally:
        os.umask(before)
    assert (bench.root / "x").stat().st_mode & 0o7777 == 0o666


def test_an_undo_leaves_what_someone_changed_since(bench):
    change = bench.do(Write(), content="ours", path="/file")
    (bench.root / "file").write_text("theirs")
    with pytest.raises(UndoConflict, match="changed since"):
        bench.undo(Write(), change)
    assert (bench.root / "file").read_text() == "theirs"


def test_what_appears_between_look_and_effect_is_not_replaced(bench):
    action, slots = Write(), {"content": "ours", "path": "/new"}
    change = bench.observe(action, **slots)
    (bench.root / "new").write_text("theirs")
    with pytest.raises(Raced, match="appeared meanwhile"):
        action.do(bench.host, action.slots(**slots), change)
    assert (bench.root / "new").read_text() == "theirs"
    assert sorted(os.listdir(bench.root)) == ["dir", "file", "link", "new", "setuid"]


def test_a_parent_that_becomes_a_link_is_not_followed_out(bench, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (bench.root / "sub").mkdir()
    action, slots = Write(), {"content": "ours", "path": "/sub/new"}
    change = bench.observe(action, **slots)
    bench.host.root.forget()
    (bench.root / "sub").rmdir()
    (bench.root / "sub").symlink_to(outside)
    with pytest.raises((ActionError, OSError)):
        action.do(bench.host, action.slots(**slots), change)
    assert not list(outside.iterdir())


@pytest.mark.parametrize(
    ("action", "slots", "words"),
    [
        (Remove(), {"path": "/dir"}, "not empty"),
        (Unlink(), {"path": "/dir"}, "is a directory"),
        (Chmod(), {"path": "/nothing", "mode": 0o600}, "not a file or directory"),
        (Rename(), {"source": "/nothing", "path": "/x"}, "does not exist"),
        (Rename(), {"source": "/file", "path": "/link"}, "exists already"),
        (Write(), {"content": 5, "path": "/x"}, "must be text"),
        (Write(), {"content": "", "path": "/x", "owner": "nobody-of-that-name"}, "no user"),
        (Link(), {"target": "", "path": "/x"}, "needs a target"),
        (Mkdir(), {"path": "/p/q", "parents": False}, "parent does not exist"),
        (Backup(), {"path": "/dir"}, "not a regular file"),
        (Backup(), {"path": "/file", "suffix": "/x"}, "cannot be used"),
        (Read(), {"path": "/nothing"}, "cannot be read"),
    ],
)
def test_what_cannot_be_done_says_why(bench, action, slots, words):
    with pytest.raises(ActionError, match=words):
        bench.observe(action, **slots)


def test_a_file_can_be_read_for_other_nodes(bench):
    assert bench.observe(Read(), path="/file").outputs["content"] == b"old"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_an_owner_is_set_and_given_back(bench):
    before = snapshot(bench.root)
    change = bench.do(Write(), content="x", path="/file", owner="nobody", group="12345")
    found = (bench.root / "file").stat()
    assert (found.st_uid, found.st_gid) == (65534, 12345)
    bench.undo(Write(), change)
    assert snapshot(bench.root) == before


def test_a_directory_that_is_there_keeps_its_mode_when_asked_to(bench):
    os.chmod(bench.root / "dir", 0o701)
    assert isinstance(bench.observe(Mkdir(), path="/dir", mode=0o755, keep=True), Satisfied)
    with pytest.raises(ActionError):
        bench.do(Mkdir(), path="/file/x", keep=True)


@pytest.mark.parametrize(
    ("slots", "words"),
    [
        ({"path": "/file", "kind": "dir"}, "is a file, not a dir"),
        ({"path": "/link", "kind": "dir", "aside": ".bak"}, "is a link, not a dir"),
        ({"path": "/dir", "aside": "/x"}, "cannot be added to a name"),
        ({"path": "/dir", "kind": "dir"}, "is not empty"),
    ],
)
def test_a_removal_that_is_not_as_meant_touches_nothing(bench, slots, words):
    before = snapshot(bench.root)
    with pytest.raises(ActionError, match=words):
        bench.observe(Remove(), **slots)
    assert snapshot(bench.root) == before


def test_what_was_moved_aside_before_is_not_replaced(bench):
    (bench.root / "dir.bak").mkdir()
    with pytest.raises(ActionError, match="exists already"):
        bench.observe(Remove(), path="/dir", aside=".bak")


def test_what_is_not_there_need_not_be_moved_aside(bench):
    assert isinstance(bench.observe(Remove(), path="/nothing", kind="dir", aside=".bak"), Satisfied)
