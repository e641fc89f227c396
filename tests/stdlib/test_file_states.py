"""Each file action meets each state of its path: what it sees, what it keeps for undo, what it leaves."""

import os
import stat

import pytest

from requisition.stdlib.action import Change, Satisfied, UndoConflict
from requisition.stdlib.host import ABSENT
from requisition.stdlib.providers.file import Copy, Link, Mkdir, Write
from requisition.stdlib.providers.file_changes import Chmod, Remove, Unlink
from support.hosts import Bench
from support.trees import build, snapshot

OLD = 1_600_000_000_123_456_789
"""A modification time that no test could make by accident."""

STATES = {
    "absent": {},
    "as wanted": {"x": (b"wanted", 0o640)},
    "content differs": {"x": (b"other!", 0o640)},
    "length differs": {"x": (b"longer than wanted", 0o640)},
    "empty": {"x": (b"", 0o640)},
    "mode differs": {"x": (b"wanted", 0o644)},
    "set-id bit": {"x": (b"wanted", 0o4640)},
    "link": {"x": ("link", "elsewhere")},
    "link to what is wanted": {"x": ("link", "y"), "y": (b"wanted", 0o640)},
    "dangling link": {"x": ("link", "nowhere")},
}
PUTTING = {
    "write": (Write(), {"content": "wanted", "path": "/x", "mode": 0o640}),
    "copy": (Copy(), {"source": "input", "path": "/x", "mode": 0o640}),
}
PRIOR = {"absent": "absent", "link": "link", "link to what is wanted": "link", "dangling link": "link"}


def bench_with(tmp_path, tree) -> Bench:
    made = Bench(tmp_path, {"input": b"wanted"})
    build(made.root, tree)
    for name in tree:
        os.utime(made.root / name, ns=(OLD, OLD), follow_symlinks=False)
    return made


def content_and_mode(path):
    info = os.lstat(path)
    return path.read_bytes() if stat.S_ISREG(info.st_mode) else None, stat.S_IMODE(info.st_mode)


@pytest.mark.parametrize("verb", PUTTING)
@pytest.mark.parametrize("state", STATES)
def test_a_file_is_put_over_whatever_stands_there_and_taken_back(tmp_path, verb, state):
    action, slots = PUTTING[verb]
    bench = bench_with(tmp_path, STATES[state])
    before = snapshot(bench.root)
    found = bench.observe(action, **slots)
    assert isinstance(found, Satisfied) == (state == "as wanted")
    if isinstance(found, Satisfied):
        return
    change = bench.do(action, **slots)
    assert change.reason == ("absent" if state == "absent" else "differs")
    assert change.files[0].prior.kind == PRIOR.get(state, "file")
    assert content_and_mode(bench.root / "x") == (b"wanted", 0o640)
    assert isinstance(bench.observe(action, **slots), Satisfied)
    bench.undo(action, change)
    assert snapshot(bench.root) == before
    if state != "absent":
        assert os.lstat(bench.root / "x").st_mtime_ns == OLD
    assert not [name for name in os.listdir(bench.root) if name.startswith(".rq-")]


@pytest.mark.parametrize("verb", PUTTING)
def test_a_directory_in_the_place_of_a_file_is_reported_and_survives(tmp_path, verb):
    action, slots = PUTTING[verb]
    bench = bench_with(tmp_path, {"x": {"keep": b"k"}})
    found = bench.observe(action, **slots)
    assert found.files[0].prior.kind == "dir"
    with pytest.raises(OSError, match="directory"):
        action.do(bench.host, action.slots(**slots), found)
    assert (bench.root / "x/keep").read_bytes() == b"k"
    assert os.listdir(bench.root) == ["x"]


@pytest.mark.parametrize("state", STATES)
def test_a_link_replaces_files_and_links_and_is_taken_back(tmp_path, state):
    bench = bench_with(tmp_path, STATES[state])
    before = snapshot(bench.root)
    change = bench.do(Link(), target="../over/there", path="/x")
    assert os.readlink(bench.root / "x") == "../over/there"
    assert isinstance(bench.observe(Link(), target="../over/there", path="/x"), Satisfied)
    bench.undo(Link(), change)
    assert snapshot(bench.root) == before


def test_a_link_that_is_right_is_left_alone(tmp_path):
    bench = bench_with(tmp_path, STATES["link"])
    assert isinstance(bench.observe(Link(), target="elsewhere", path="/x"), Satisfied)


def test_a_directory_is_made_with_its_parents_and_only_what_was_made_is_taken_back(tmp_path):
    bench = bench_with(tmp_path, {"a": {}})
    before = snapshot(bench.root)
    change = bench.do(Mkdir(), path="/a/b/c/d", mode=0o2750)
    assert [(one.path, one.prior) for one in change.files] == [(p, ABSENT) for p in ("/a/b", "/a/b/c", "/a/b/c/d")]
    assert [oct(stat.S_IMODE((bench.root / p).stat().st_mode)) for p in ("a/b", "a/b/c/d")] == ["0o755", "0o2750"]
    bench.undo(Mkdir(), change)
    assert snapshot(bench.root) == before


def test_a_made_directory_that_someone_uses_now_is_left(tmp_path):
    bench = bench_with(tmp_path, {})
    change = bench.do(Mkdir(), path="/a/b")
    (bench.root / "a/b/theirs").write_bytes(b"t")
    with pytest.raises(UndoConflict, match="/a/b is not empty"):
        bench.undo(Mkdir(), change)
    assert (bench.root / "a/b/theirs").read_bytes() == b"t"


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_a_changed_mode_is_given_back_and_the_content_never_touched(tmp_path, kind):
    bench = bench_with(tmp_path, {"x": (b"c", 0o640)} if kind == "file" else {"x": {}})
    before, inode = snapshot(bench.root), (bench.root / "x").stat().st_ino
    change = bench.do(Chmod(), path="/x", mode=0o1711)
    assert stat.S_IMODE((bench.root / "x").stat().st_mode) == 0o1711
    assert change.files[0].prior.blob == ""
    bench.undo(Chmod(), change)
    assert snapshot(bench.root) == before
    assert (bench.root / "x").stat().st_ino == inode


def test_a_whole_tree_is_removed_and_put_back_with_links_modes_and_empty_directories(tmp_path):
    tree = {
        "f": (b"f", 0o4711),
        "e": {},
        "d": {"g": (b"", 0o000), "l": ("link", "../f"), "out": ("link", "/etc/passwd"), "deep": {"er": {"h": b"h"}}},
    }
    bench = bench_with(tmp_path, {"x": tree})
    (bench.root / "x/e").chmod(0o1777)
    before = snapshot(bench.root)
    change = bench.do(Remove(), path="/x", recursive=True)
    assert os.listdir(bench.root) == []
    assert isinstance(bench.observe(Remove(), path="/x", recursive=True), Satisfied)
    bench.undo(Remove(), change)
    assert snapshot(bench.root) == before


def test_what_was_put_into_a_removed_place_is_not_replaced_by_undo(tmp_path):
    bench = bench_with(tmp_path, {"x": {"a": b"a", "b": b"b"}})
    change = bench.do(Remove(), path="/x", recursive=True)
    (bench.root / "x").write_bytes(b"theirs")
    with pytest.raises((UndoConflict, OSError)):
        bench.undo(Remove(), change)
    assert (bench.root / "x").read_bytes() == b"theirs"


def test_a_name_appearing_below_while_a_tree_is_removed_stops_the_removal(tmp_path):
    bench = bench_with(tmp_path, {"x": {"a": b"a"}})
    slots = Remove.slots(path="/x", recursive=True)
    change = Remove().observe(bench.host, slots)
    (bench.root / "x/late").write_bytes(b"late")
    with pytest.raises(OSError, match="not empty"):
        Remove().do(bench.host, slots, change)
    assert (bench.root / "x/late").read_bytes() == b"late"
    bench.undo(Remove(), change)
    assert (bench.root / "x/a").read_bytes() == b"a"


@pytest.mark.parametrize("state", ["content differs", "link", "dangling link", "set-id bit"])
def test_a_file_or_link_is_unlinked_and_put_back(tmp_path, state):
    bench = bench_with(tmp_path, STATES[state])
    before = snapshot(bench.root)
    change = bench.do(Unlink(), path="/x")
    assert not os.path.lexists(bench.root / "x")
    assert isinstance(bench.observe(Unlink(), path="/x"), Satisfied)
    bench.undo(Unlink(), change)
    assert snapshot(bench.root) == before


@pytest.mark.parametrize("verb", PUTTING)
def test_undo_twice_is_undo_once(tmp_path, verb):
    action, slots = PUTTING[verb]
    bench = bench_with(tmp_path, STATES["content differs"])
    before = snapshot(bench.root)
    change = bench.do(action, **slots)
    bench.undo(action, change)
    bench.undo(action, change)
    assert snapshot(bench.root) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize(
    ("action", "slots", "tree"),
    [
        (Write(), {"content": "wanted", "path": "/x"}, {"x": (b"wanted", 0o644)}),
        (Copy(), {"source": "input", "path": "/x"}, {"x": (b"wanted", 0o644)}),
        (Mkdir(), {"path": "/x"}, {"x": {}}),
        (Mkdir(), {"path": "/x"}, {}),
        (Link(), {"target": "t", "path": "/x"}, {"x": ("link", "t")}),
        (Chmod(), {"path": "/x", "mode": 0o4755}, {"x": (b"c", 0o4755)}),
    ],
    ids=lambda value: type(value).__name__ if hasattr(value, "spec") else "",
)
def test_an_owner_that_differs_is_set_exactly_and_given_back(tmp_path, action, slots, tree):
    bench = bench_with(tmp_path, tree)
    before = snapshot(bench.root)
    change = bench.do(action, owner="12345", group="54321", **slots)
    info = os.lstat(bench.root / "x")
    assert (info.st_uid, info.st_gid) == (12345, 54321)
    if isinstance(action, Chmod):
        assert stat.S_IMODE(info.st_mode) == 0o4755  # chown drops the set-id bit: it is set again
    assert isinstance(bench.observe(action, owner="12345", group="54321", **slots), Satisfied)
    bench.undo(action, change)
    assert snapshot(bench.root) == before


def test_a_device_or_pipe_in_the_way_is_named(tmp_path):
    bench = bench_with(tmp_path, {})
    os.mkfifo(bench.root / "x")
    for action, slots in ((Write(), {"content": ""}), (Link(), {"target": "t"}), (Unlink(), {}), (Remove(), {})):
        with pytest.raises(Exception, match="/x is a device, socket or pipe") as refused:
            bench.observe(action, path="/x", **slots)
        assert refused.value.hint


def test_a_large_file_is_kept_out_of_memory_between_look_and_effect(tmp_path):
    bench = bench_with(tmp_path, {})
    found = bench.observe(Write(), content="x" * (1 << 20) + "y", path="/x")
    assert isinstance(found, Change)
    assert found.contents == (None,)
