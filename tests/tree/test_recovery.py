import fcntl
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from requisition.schemas.treeevent import to_line
from requisition.tree import installed, recovery
from requisition.tree.claims import Claim, Owner, claim, lock_path
from requisition.tree.events import Completed, EventLog, Halted, Started, Sync, log_path
from requisition.tree.installed import Installed
from support.orders import OrderBuilder
from support.process import command, encoded, request, run_runtime
from support.treelog import AT, known_events, noon
from support.trees import snapshot

ME = Owner.this_process("plan sync")
ONE = Installed("c" * 40, "sha256:1", "run")


class Root:
    """A tree's root folder, beside it the state of the runtime and the target root."""

    def __init__(self, folder: Path):
        self.folder = folder / "package"
        self.folder.mkdir()
        self.state = folder / "state"
        self.target = folder / "root"
        self.target.mkdir()

    def say(self, *events):
        with EventLog.open(str(self.folder), noon) as log:
            log.append_many(events)

    def put(self, path: str, content: bytes = b"half") -> Path:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return file

    def scan(self):
        before = snapshot(self.folder)
        found = recovery.scan(str(self.folder), state_dir=str(self.state))
        assert snapshot(self.folder) == before
        return found

    def kinds(self):
        return [(one.kind, one.path) for one in self.scan()]

    def mend(self, found=None):
        return recovery.mend(self.scan() if found is None else found, clock=noon)

    def apply(self, order, **fields):
        answer = run_runtime(request("apply", self.state, order.write(), **fields))
        assert answer.result is not None
        return answer.result


@pytest.fixture
def root(tmp_path):
    return Root(tmp_path)


def test_a_tree_that_nothing_happened_to_has_no_findings_and_is_not_touched(root):
    assert root.scan() == []
    assert list(root.folder.iterdir()) == []
    assert root.mend([]) == []


def test_a_sync_that_ended_leaves_nothing_to_find(root):
    root.say(Sync(step="begin"), Started(path="a"), Completed(path="a"), Sync(step="end", outcome="done"))
    installed.write(str(root.folder), {"a": ONE})
    with claim(str(root.folder), "a", ME):
        pass
    assert root.scan() == []


# the log -----------------------------------------------------------------------------------------


def test_a_sync_that_was_killed_is_told_with_each_start_once_and_ended_in_the_log(root):
    root.say(
        Sync(step="begin", order="sha256:1", packages=3),
        Started(path="a", commit="1"),
        Started(path="b"),
        Completed(path="a", commit="1"),
        Started(path="c", commit="2", hash="h"),
    )
    installed.write(str(root.folder), {"a": ONE, "c": ONE})
    assert root.kinds() == [("sync cut off", ""), ("start without an end", "b"), ("start without an end", "c")]
    found = root.scan()
    assert all(answer.done for answer in root.mend(found))
    assert root.scan() == []
    with EventLog.open(str(root.folder)) as log:
        *_, sync, _, halted = log.read()
    assert sync == Sync(at=AT, step="end", order="sha256:1", packages=3, outcome="cut off")
    assert halted == Halted(at=AT, path="c", commit="2", hash="h", why="the sync was cut off", next="plan sync")
    assert installed.read(str(root.folder)) == {"a": ONE}


def test_mending_twice_says_nothing_twice(root):
    root.say(Sync(step="begin"), Started(path="a"))
    root.put(".plan/clones/x/.git/HEAD")
    root.put(".plan/.events.jsonl.0123abcd")
    found = root.scan()
    root.mend(found)
    before = snapshot(root.folder)
    assert all(answer.done and answer.text == "it is gone already" for answer in root.mend(found))
    assert snapshot(root.folder) == before


def test_what_began_anew_since_is_not_ended_by_an_old_finding(root):
    root.say(Sync(step="begin"), Started(path="a"))
    found = root.scan()
    root.say(Completed(path="a"), Sync(step="end"))
    later = "2026-01-02T00:00:00Z"
    with open(log_path(str(root.folder)), "ab") as log:
        log.write(to_line(Sync(step="begin", at=later)) + to_line(Started(path="a", at=later)))
    assert {answer.text for answer in root.mend(found)} == {"it is gone already"}
    assert root.kinds() == [("sync cut off", ""), ("start without an end", "a")]


def test_a_torn_line_is_told_and_cut_off(root):
    root.say(Started(path="a"), Completed(path="a"))
    path = Path(log_path(str(root.folder)))
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"kind":"star')
    (found,) = root.scan()
    assert found.kind == "torn log"
    assert "13 bytes" in found.text
    (answer,) = root.mend([found])
    assert answer.done
    assert path.read_bytes() == whole
    assert root.scan() == []


def test_a_damaged_line_is_left_to_a_person_by_number_and_the_rest_is_mended(root):
    root.say(Started(path="a"))
    with open(log_path(str(root.folder)), "ab") as log:
        log.write(b"garbage\n" + to_line(Completed(path="a", at=AT)))
    root.put(".plan/clones/x")
    damaged, clone = root.mend()
    assert damaged.finding.path == ".plan/events.jsonl:2"
    assert not damaged.done
    assert "correct that line" in damaged.text
    assert clone.done


def test_a_damaged_record_of_what_is_installed_is_told_and_the_log_is_mended(root):
    root.say(Started(path="a"))
    file = root.put(".plan/installed.json", b"{")
    damaged, start = root.scan()
    assert (damaged.kind, damaged.path) == ("damaged record", ".plan/installed.json")
    assert [answer.done for answer in root.mend([damaged, start])] == [False, True]
    assert [one.kind for one in root.scan()] == ["damaged record"]
    assert file.read_bytes() == b"{"


@pytest.mark.parametrize("path", ["events.jsonl", "installed.json"])
@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: os.symlink("/dev/zero", path)])
def test_what_is_no_file_is_told_and_not_opened(root, path, make):
    root.say()
    (root.folder / ".plan/events.jsonl").unlink()
    make(root.folder / ".plan" / path)
    (found,) = recovery.scan(str(root.folder), state_dir=str(root.state))
    assert found.path == f".plan/{path}"
    assert not found.mend


def test_it_is_found_wherever_in_a_sync_the_kill_came(root):
    steps = [Sync(step="begin", packages=2)]
    for path in ("a", "b", ""):
        steps += [Started(path=path), Completed(path=path)]
    steps.append(Sync(step="end", outcome="done"))
    for position in range(len(steps) + 1):
        folder = root.folder / str(position)
        folder.mkdir()
        with EventLog.open(str(folder), noon) as log:
            log.append_many(steps[:position])
        found = recovery.scan(str(folder), state_dir=str(root.state))
        started = position > 1 and isinstance(steps[position - 1], Started)
        assert [one.kind for one in found] == (
            ["sync cut off"] * (0 < position < len(steps)) + ["start without an end"] * started
        )
        assert all(answer.done for answer in recovery.mend(found, clock=noon))
        assert recovery.scan(str(folder), state_dir=str(root.state)) == []


@given(said=st.lists(known_events(), max_size=20))
@settings(max_examples=40, deadline=None)
def test_whatever_a_log_tells_is_mended_at_once_and_not_found_again(tmp_path_factory, said):
    root = tmp_path_factory.mktemp("tree")
    with EventLog.open(str(root), noon) as log:
        log.append_many(said)
        before = log.fold()
        found = recovery.scan(str(root), state_dir=str(root))
        assert len(found) == len({(one.kind, one.path) for one in found}) == len(before.dangling) + before.cut_off
        assert all(answer.done for answer in recovery.mend(found, clock=noon))
        assert recovery.scan(str(root), state_dir=str(root)) == []
        after = log.fold()
    ended = {start.path for start in before.dangling}
    assert {path: one for path, one in after.packages.items() if path not in ended} == {
        path: one for path, one in before.packages.items() if path not in ended
    }


# files -------------------------------------------------------------------------------------------


def test_temporary_files_of_ours_are_removed_and_what_looks_alike_stays(root):
    ours = [".plan.lock.0123abcd", ".plan/.events.jsonl.0123abcd", ".plan/.installed.json.89abcdef"]
    others = [".plan.lock.old", "notes.0123abcd", ".plan/.notes.0123abcd", ".package.yaml.swp", "a/.plan.lock.0123abcd"]
    for path in ours + others:
        root.put(path)
    (root.folder / ".plan" / ".installed.json.00000000").symlink_to("/etc/passwd")
    (root.folder / ".plan.lock.ffffffff").mkdir()
    assert sorted(one.path for one in root.scan()) == sorted(ours)
    assert all(answer.done for answer in root.mend())
    assert root.scan() == []
    assert not any((root.folder / path).exists() for path in ours)
    assert all((root.folder / path).exists() for path in others)


def test_what_a_killed_write_really_leaves_is_known(root):
    code = """
import os, signal, sys
os.rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
from requisition.tree import installed
from requisition.tree.events import EventLog, Started
if sys.argv[2] == "installed":
    installed.write(sys.argv[1], {"a": installed.Installed("1")})
log = EventLog.open(sys.argv[1])
log.append_many([Started(path="a"), Started(path="a")])
log.compact()
"""
    root.say()  # so that .plan is there
    for what in ("installed", "log"):
        words = [sys.executable, "-c", code, str(root.folder), what]
        assert subprocess.run(words, check=False).returncode == -9
    found = root.scan()
    assert [one.kind for one in found] == ["start without an end", "temporary file", "temporary file"]
    root.mend(found)
    assert root.scan() == []


def test_half_made_clones_go_and_links_among_them_are_not_followed(root, tmp_path):
    root.put(".plan/clones/0a1b/.git/HEAD")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_bytes(b"1")
    (root.folder / ".plan/clones/link").symlink_to(outside)
    (root.folder / ".plan/clones/0a1b/inner").symlink_to(outside)
    assert [one.kind for one in root.scan()] == ["half-made clone"] * 2
    assert all(answer.done for answer in root.mend())
    assert root.scan() == []
    assert (outside / "precious").read_bytes() == b"1"


def test_a_clone_that_git_of_a_killed_walk_still_works_in_is_left(root):
    root.put(".plan/clones/0a1b/.git/HEAD")
    found = root.scan()
    file = root.put(".plan/locks/.walk", b"")
    fd = os.open(file, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    assert root.scan() == []
    (answer,) = root.mend(found)
    assert not answer.done
    os.close(fd)
    assert [one.kind for one in root.scan()] == ["half-made clone"]


def test_a_stale_lock_names_who_held_it_and_is_removed(root):
    gone = msgspec.structs.replace(ME, began=1)
    root.put(".plan/locks/a%2Fb", msgspec.json.encode(Claim("a/b", gone, AT)))
    root.put(".plan/locks/c", b"")
    (root.folder / ".plan/locks/folder").mkdir()
    (root.folder / ".plan/locks/link").symlink_to("c")
    told, silent = root.scan()
    assert (told.kind, told.path) == ("stale lock", ".plan/locks/a%2Fb")
    assert f"process {ME.pid}" in told.text
    assert AT in told.text
    assert all(answer.done for answer in root.mend([told, silent]))
    assert root.scan() == []
    assert sorted(os.listdir(root.folder / ".plan/locks")) == ["folder", "link"]


def test_a_stale_lock_that_was_taken_meanwhile_is_left(root):
    root.put(".plan/locks/a", b"")
    found = root.scan()
    with claim(str(root.folder), "a", ME):
        (answer,) = root.mend(found)
        assert not answer.done
        assert os.path.exists(lock_path(str(root.folder), "a"))


def test_looking_while_others_claim_release_and_compact_finds_only_what_is_so(root):
    code = """
import sys
from requisition.tree.claims import Owner, claim
from requisition.tree.events import Completed, EventLog, Started
me = Owner.this_process("plan tree run")
with EventLog.open(sys.argv[1]) as log:
    for number in range(150):
        with claim(sys.argv[1], "a", me):
            log.append_many([Started(path="a"), Completed(path="a")])
        log.compact()
"""
    with subprocess.Popen([sys.executable, "-c", code, str(root.folder)]) as other:
        while other.poll() is None:
            found = recovery.scan(str(root.folder), state_dir=str(root.state))
            assert {one.kind for one in found} <= {"in use", "temporary file", "stale lock", "start without an end"}
            recovery.mend([one for one in found if one.kind == "temporary file"], clock=noon)
    assert other.returncode == 0
    assert root.scan() == []


def test_while_another_process_works_on_the_tree_nothing_is_taken_for_cut_off(root):
    root.say(Sync(step="begin"), Started(path="a"))
    root.put(".plan/clones/0a1b/.git/HEAD")
    elsewhere = msgspec.structs.replace(ME, boot="another", host="elsewhere")
    file = root.put(".plan/locks/a", msgspec.json.encode(Claim("a", elsewhere, AT)))
    (found,) = root.scan()
    assert (found.kind, found.path) == ("in use", "a")
    (answer,) = root.mend([found])
    assert not answer.done
    assert str(file) in answer.text


def test_what_this_process_holds_itself_is_no_hindrance(root):
    root.say(Started(path="a"))
    with claim(str(root.folder), "", ME):
        assert root.kinds() == [("start without an end", "a")]


# runs --------------------------------------------------------------------------------------------


def backed_up(root):
    """A run of the tree that moved a person's file aside; (the run, the file, where it is now)."""
    file = root.target / "conf"
    file.write_bytes(b"a person's\n")
    order = OrderBuilder(root.folder, root.target)
    order.node("file.write", content="ours\n", path="/conf")
    result = root.apply(order, on_conflict="backup", source_root=str(root.folder))
    assert result.status == "done"
    (aside,) = root.target.glob("conf.before-*")
    return result, file, aside


def test_a_backup_of_something_of_ours_that_stands_is_no_finding(root):
    backed_up(root)
    assert root.scan() == []
    (root.target / "conf").unlink()  # drift: the next sync repairs it
    assert root.scan() == []


def test_a_backup_whose_successor_was_removed_is_moved_back_once(root):
    _, file, aside = backed_up(root)
    order = OrderBuilder(root.folder, root.target)
    order.node("file.remove", path="/conf")
    assert root.apply(order, source_root=str(root.folder)).status == "done"
    (found,) = root.scan()
    assert (found.kind, found.path) == ("backup left behind", str(aside))
    (answer,) = root.mend([found])
    assert answer.done
    assert file.read_bytes() == b"a person's\n"
    assert not aside.exists()
    assert root.scan() == []
    assert root.mend([found])[0].text == "it is gone already"


def test_a_backup_is_never_moved_over_something_that_came_later(root):
    _, file, aside = backed_up(root)
    order = OrderBuilder(root.folder, root.target)
    order.node("file.remove", path="/conf")
    root.apply(order, source_root=str(root.folder))
    free = root.scan()
    file.write_bytes(b"later\n")
    (found,) = root.scan()
    assert not found.mend
    for answer in (*root.mend([found]), *root.mend(free)):
        assert not answer.done
        assert "compare" in answer.text
    assert (file.read_bytes(), aside.read_bytes()) == (b"later\n", b"a person's\n")


def test_another_file_of_that_name_is_not_taken_for_the_backup(root):
    _, _, aside = backed_up(root)
    order = OrderBuilder(root.folder, root.target)
    order.node("file.remove", path="/conf")
    root.apply(order, source_root=str(root.folder))
    found = root.scan()
    content = aside.read_bytes()
    (root.target / "new").write_bytes(content)
    (root.target / "new").rename(aside)
    assert root.scan() == []
    (answer,) = root.mend(found)
    assert not answer.done


def cut_off(root):
    """A run of the tree that kills its own runtime after its first effect."""
    order = OrderBuilder(root.folder, root.target)
    wrote = order.node("file.write", content="x", path="/x")
    order.node("shell.exec", argv=["sh", "-c", "kill -9 $PPID"], needs=[wrote])
    path = order.write()
    answer = run_runtime(request("apply", root.state, path, source_root=str(root.folder)))
    assert answer.result is None
    (run_id,) = os.listdir(root.state / "runs")
    return run_id


def test_a_run_that_was_cut_off_is_told_with_both_ways_out(root):
    run_id = cut_off(root)
    (found,) = root.scan()
    assert (found.kind, found.path) == ("run cut off", run_id)
    (answer,) = root.mend([found])
    assert not answer.done
    assert f"plan resume {run_id}" in answer.text
    assert f"plan rollback {run_id}" in answer.text
    assert run_runtime(request("rollback", root.state, run_id=run_id)).status == "done"
    assert root.scan() == []


def test_a_run_of_another_package_is_not_of_this_tree(root, tmp_path):
    cut_off(root)
    assert recovery.scan(str(tmp_path / "other"), state_dir=str(root.state)) == []


def test_while_a_run_of_the_tree_goes_on_nothing_is_taken_for_cut_off(root, tmp_path):
    root.say(Sync(step="begin"), Started(path="a"))
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    order = OrderBuilder(root.folder, root.target)
    order.node("shell.exec", argv=["cat", str(gate)])
    path = order.write()
    asked = encoded(request("apply", root.state, path, source_root=str(root.folder)))
    with subprocess.Popen(command(), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as runtime:
        runtime.stdin.write(asked)
        runtime.stdin.flush()
        with open(gate, "wb"):  # waits until the command reads
            (found,) = root.scan()
            assert found.kind == "in use"
        runtime.stdin.close()
        runtime.wait()
    assert root.kinds() == [("sync cut off", ""), ("start without an end", "a")]


def test_a_run_that_was_cut_off_before_it_did_anything_is_no_finding(root):
    run_id = cut_off(root)
    (root.state / "runs" / run_id / "journal").unlink()
    assert root.scan() == []


def test_a_journal_that_nobody_can_read_is_told(root):
    run_id = cut_off(root)
    (root.state / "runs" / run_id / "journal").write_bytes(b"something else")
    (found,) = root.scan()
    assert (found.kind, found.path) == ("run cut off", run_id)
    assert "not a journal" in found.text
