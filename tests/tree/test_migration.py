import json
import os
import subprocess
from pathlib import Path

import pytest

from requisition.runtime import linux
from requisition.tree import migration, pins
from requisition.tree.events import EventLog
from requisition.tree.migration import Attempt, migrate
from support.treelog import noon
from support.trees import snapshot

SHA = "0123456789abcdef0123456789abcdef01234567"
TS = "2026-05-16T10:00:00.123456789Z"
URL = "https://git.example.org/{}.git"


class Old:
    """A tree as grex left it."""

    def __init__(self, root: Path):
        self.root = root

    def pack(self, folder: str, name: str, children: dict[str, str], manifest: str = ".grex/pack.yaml") -> None:
        """A manifest; children by path, with the name in their address."""
        rows = [{"url": URL.format(name), "path": path} for path, name in children.items()]
        self.put(f"{folder}/{manifest}", f"name: {name}\nchildren: {json.dumps(rows)}\n")

    def put(self, path: str, text: str = "") -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def repository(self, path: str, name: str = "", url: str = "") -> None:
        """A repository with a file of a person's in it."""
        origin = url or URL.format(name or path.rpartition("/")[2])
        self.put(f"{path}/.git/config", f'[core]\n\tbare = false\n[remote "origin"]\n\turl = {origin}\n[branch "m"]\n')
        self.put(f"{path}/notes", f"mine, from {path}\n")

    def lines(self, path: str, *rows: dict) -> Path:
        return self.put(path, "".join(json.dumps(row) + "\n" for row in rows))

    def migrate(self) -> list[Attempt]:
        return migrate(str(self.root), clock=noon)

    def outcomes(self) -> list[tuple[str, str, str]]:
        return [(one.source, one.target, one.outcome) for one in self.migrate()]

    def notes(self) -> dict[str, str]:
        return {str(path.parent.relative_to(self.root)): path.read_text() for path in self.root.rglob("notes")}


@pytest.fixture
def old(tmp_path):
    return Old(tmp_path / "root")


def test_a_tree_that_grex_never_saw_is_not_touched(old):
    old.pack(".", "root", {"libs/a": "a"}, "package.yaml")
    old.repository("a")
    before = snapshot(old.root)
    assert old.migrate() == []
    assert snapshot(old.root) == before


# packages ----------------------------------------------------------------------------------------


def test_the_flat_workspace_becomes_the_nested_tree_parents_first(old):
    old.pack(".", "root", {"libs/a": "a", "b": "b"})
    for name in ("a", "b", "deep", "deeper"):
        old.repository(f".grex/workspace/{name}")
    old.pack(".grex/workspace/a", "a", {"inner/deep": "deep"})
    old.pack(".grex/workspace/deep", "deep", {"deeper": "deeper"}, "package.yaml")
    old.put(".grex/workspace/.grex.sync.lock")
    assert old.outcomes() == [
        (".grex/workspace/a", "libs/a", "migrated"),
        (".grex/workspace/b", "b", "migrated"),
        (".grex/workspace/deep", "libs/a/inner/deep", "migrated"),
        (".grex/workspace/deeper", "libs/a/inner/deep/deeper", "migrated"),
    ]
    assert old.notes()["libs/a/inner/deep/deeper"] == "mine, from .grex/workspace/deeper\n"
    assert not (old.root / ".grex/workspace").exists()
    assert old.migrate() == []


def test_a_flat_child_of_the_roots_folder_moves_only_when_its_remote_is_the_one_named(old):
    old.pack(".", "root", {"libs/a": "a", "libs/b": "b", "c": "c", "libs/d": "d"})
    old.repository("a")
    old.repository("b", url="https://git.example.org/somebody/b.git")
    old.repository("c")
    old.put("d/notes", "no repository")
    assert old.outcomes() == [("a", "libs/a", "migrated")]
    assert set(old.notes()) == {"libs/a", "b", "c", "d"}


def test_a_repository_without_a_remote_is_taken_for_a_child_in_the_old_workspace_only(old):
    old.pack(".", "root", {"libs/a": "a", "libs/b": "b"})
    for path in ("a", ".grex/workspace/b"):
        old.repository(path)
        old.put(f"{path}/.git/config", "[core]\n\tbare = false\n")
    assert old.outcomes() == [(".grex/workspace/b", "libs/b", "migrated")]
    assert set(old.notes()) == {"a", "libs/b"}


def test_what_lies_at_the_target_is_never_overwritten(old):
    old.pack(".", "root", {"a": "a", "b": "b", "c": "c", "d": "d", "e": "e"})
    for name in "abcde":
        old.repository(f".grex/workspace/{name}")
    old.repository("a")
    old.put("b/precious", "1")
    old.put("c", "2")
    (old.root / "d").symlink_to("nowhere")
    (old.root / "e").mkdir()
    before = snapshot(old.root)
    assert [one.outcome for one in old.migrate()] == ["skipped: both present", *["skipped: target exists"] * 4]
    assert snapshot(old.root) == before


def test_each_attempt_has_an_outcome_of_its_own_and_says_what_to_do(old):
    old.pack(".", "root", {"a": "a", "../b": "b", "c": "c"})
    for name in ("a", "b", "stray"):
        old.repository(f".grex/workspace/{name}")
    old.put(".grex/workspace/c/.git", "gitdir: ../../../.git/modules/c\n")
    old.put(".grex/workspace/plain/file")
    found = {one.source.rpartition("/")[2]: one for one in old.migrate()}
    assert {name: one.outcome for name, one in found.items()} == {
        "a": "migrated",
        "b": "failed",
        "c": "failed",
        "stray": "failed",
    }
    assert "is no bare name" in found["b"].why
    assert "submodule" in found["c"].why
    assert "no manifest names it" in found["stray"].why
    assert (old.root / ".grex/workspace/plain/file").exists()


def test_of_two_places_with_one_name_the_one_with_its_address_gets_it(old):
    old.pack(".", "root", {"x/a": "other", "y/a": "a"})
    old.repository(".grex/workspace/a")
    assert old.outcomes() == [(".grex/workspace/a", "y/a", "migrated")]


def test_nothing_moves_through_a_link(old, tmp_path):
    old.pack(".", "root", {"libs/a": "a"})
    old.repository(".grex/workspace/a")
    (tmp_path / "outside").mkdir()
    (old.root / "libs").symlink_to(tmp_path / "outside")
    (attempt,) = old.migrate()
    assert attempt.outcome == "failed"
    assert "is a link" in attempt.why
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_manifest_that_cannot_be_read_is_told_and_the_others_move(old):
    old.pack(".", "root", {"a": "a", "b": "b"})
    old.repository(".grex/workspace/a")
    old.repository(".grex/workspace/b")
    old.put(".grex/workspace/a/.grex/pack.yaml", "name: &x a\n")
    assert [(one.source, one.outcome) for one in old.migrate()] == [
        ("a", "failed"),
        (".grex/workspace/a", "migrated"),
        (".grex/workspace/b", "migrated"),
    ]


def whole(folder: Path) -> Old:
    """A tree with something of everything."""
    old = Old(folder)
    old.pack(".", "root", {"libs/a": "a", "b": "b"})
    for name in ("a", "deep"):
        old.repository(f".grex/workspace/{name}")
    old.pack(".grex/workspace/a", "a", {"inner/deep": "deep"})
    old.repository("b")
    old.lines(".grex/events.jsonl", *LOG)
    old.lines(".grex/grex.lock.jsonl", row("a", "a"))
    return old


def test_cut_off_at_any_rename_the_next_migration_ends_it_and_nothing_is_lost(tmp_path, monkeypatch):
    done = whole(tmp_path / "whole")
    done.migrate()
    real = linux.rename_noreplace
    for position in range(12):
        old = whole(tmp_path / str(position))
        left = [position]

        def dies(*words, left=left):
            if left[0] == 0:
                raise KeyboardInterrupt
            left[0] -= 1
            real(*words)
            if left[0] == 0:
                raise KeyboardInterrupt

        monkeypatch.setattr(migration, "rename_noreplace", dies)
        try:
            old.migrate()
        except KeyboardInterrupt:
            monkeypatch.setattr(migration, "rename_noreplace", real)
            assert {one.outcome for one in old.migrate()} <= {"migrated"}
            assert old.migrate() == []
        else:
            break
        assert old.notes() == done.notes()
        for file in ("plan.lock", ".plan/events.jsonl"):
            assert (old.root / file).read_bytes() == (done.root / file).read_bytes()
    assert 5 < position < 11


def test_a_real_repository_is_whole_after_the_move(old):
    old.pack(".", "root", {"libs/a": "a"})
    folder = old.root / ".grex/workspace/a"
    git = ["git", "-c", "user.name=A", "-c", "user.email=a@example.org", "-C", str(folder)]
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    (folder / "file").write_text("1\n")
    for words in (["remote", "add", "origin", URL.format("a")], ["add", "file"], ["commit", "-qm", "one"]):
        subprocess.run([*git, *words], check=True)
    (folder / "file").write_text("changed\n")
    assert [one.outcome for one in old.migrate()] == ["migrated"]
    git[-1] = str(old.root / "libs/a")
    assert subprocess.run([*git, "status", "--short"], check=True, capture_output=True).stdout == b" M file\n"


# log and lock file -------------------------------------------------------------------------------

LOG = [
    {"op": "add", "ts": TS, "id": "a", "url": URL.format("a"), "path": "libs/a", "type": "meta", "schema_version": "2"},
    {"op": "add", "ts": TS, "id": "gone", "url": "u", "path": "gone"},
    {"op": "action_started", "ts": TS, "id": "a", "action_idx": 0, "action_name": "mkdir"},
    {"op": "action_completed", "ts": TS, "id": "a", "action_idx": 0, "action_name": "mkdir", "result_summary": "x"},
    {"op": "sync", "ts": TS, "id": "a", "sha": "mkdir:PerformedChange"},
    {"op": "update", "ts": TS, "id": "a", "field": "ref", "value": SHA},
    {"op": "rm", "ts": TS, "id": "gone"},
    {"op": "action_started", "ts": TS, "id": "b", "action_idx": 0, "action_name": "exec"},
    {"op": "action_halted", "ts": TS, "id": "b", "action_name": "exec", "error_summary": "exit 1"},
    {"op": "action_started", "ts": TS, "pack": "root", "action_idx": 0, "action_name": "symlink"},
    {"op": "quarantine_gc_swept", "ts": TS, "entry": "x", "age_days": 91},
]


def test_the_log_is_read_into_ours_with_the_state_that_it_implied(old):
    old.pack(".", "root", {"libs/a": "a", "libs/b": "b"})
    before = old.lines(".grex/events.jsonl", *LOG).read_bytes()
    assert old.outcomes() == [(".grex/events.jsonl", ".plan/events.jsonl", "migrated")]
    with EventLog.open(str(old.root)) as log:
        state = log.fold()
    assert set(state.packages) == {"libs/a", "libs/b", ""}
    a, b = state.packages["libs/a"], state.packages["libs/b"]
    assert (a.added.url, a.pinned.to, a.step.at) == (URL.format("a"), SHA, "2026-05-16T10:00:00Z")
    assert (b.step.action, b.step.why) == ("exec", "exit 1")
    assert [start.path for start in state.dangling] == [""]
    assert (old.root / ".plan/trash/grex-events.jsonl").read_bytes() == before
    assert old.migrate() == []


def test_an_empty_log_of_ours_is_no_hindrance_and_one_with_events_is_never_mixed_with(old):
    old.lines(".grex/grex.jsonl", *LOG)
    EventLog.open(str(old.root)).close()
    assert old.outcomes() == [(".grex/grex.jsonl", ".plan/events.jsonl", "migrated")]
    log = (old.root / ".plan/events.jsonl").read_bytes()
    file = old.lines("grex.jsonl", *LOG[:2])
    assert old.outcomes() == [("grex.jsonl", ".plan/events.jsonl", "skipped: both present")]
    assert (old.root / ".plan/events.jsonl").read_bytes() == log
    assert file.exists()


@pytest.mark.parametrize("line", ["{", '{"op":"rm","ts":"yesterday","id":"a"}', '{"op":1}', "\x00"])
def test_a_damaged_line_is_named_and_nothing_is_taken_over(old, line):
    file = old.lines(".grex/events.jsonl", *LOG[:2])
    file.write_text(file.read_text() + line + "\n" + json.dumps(LOG[6]) + "\n")
    (attempt,) = old.migrate()
    assert attempt.outcome == "failed"
    assert ".grex/events.jsonl:3" in attempt.why
    assert file.exists()
    assert not (old.root / ".plan/events.jsonl").exists()


def test_a_last_line_that_was_cut_off_is_no_damage(old):
    file = old.lines(".grex/events.jsonl", *LOG)
    file.write_text(file.read_text() + '{"op":"add","ts"')
    assert [one.outcome for one in old.migrate()] == ["migrated"]


def row(name, path, sha=SHA, **more):
    return {"id": name, "path": path, "sha": sha, "installed_at": TS, "actions_hash": "0" * 64, **more}


def test_the_lock_file_becomes_pins_of_the_packages_that_are_named(old):
    old.pack(".", "root", {"libs/a": "a", "b": "b", "x/c": "c", "y/c": "c"})
    old.lines(
        ".grex/grex.lock.jsonl",
        row("a", "a", branch="main"),
        row("b", "b"),
        row("c", "c"),
        row("root", ".", sha=""),
        row("stray", "stray"),
    )
    (attempt,) = old.migrate()
    assert (attempt.target, attempt.outcome) == ("plan.lock", "migrated")
    assert attempt.why == "no pin for c, root, stray"
    found = pins.read(str(old.root / "plan.lock")).packages
    assert {path: (pin.url, pin.commit, pin.ref) for path, pin in found.items()} == {
        "libs/a": (URL.format("a"), SHA, "main"),
        "b": (URL.format("b"), SHA, ""),
    }
    assert old.migrate() == []
    assert sorted(os.listdir(old.root)) == [".grex", ".plan", "plan.lock"]


def test_pins_of_ours_are_never_replaced(old):
    old.pack(".", "root", {"a": "a"})
    old.lines(".grex/grex.lock.jsonl", row("a", "a"))
    file = old.put("plan.lock", 'version: "1"\npackages: {}\n')
    before = file.read_bytes()
    assert old.outcomes() == [(".grex/grex.lock.jsonl", "plan.lock", "skipped: both present")]
    assert file.read_bytes() == before


def test_a_pin_that_git_must_not_see_is_refused(old):
    old.pack(".", "root", {})
    old.put(".grex/pack.yaml", 'name: root\nchildren: [{url: "--upload-pack=x", path: a}]\n')
    file = old.lines(".grex/grex.lock.jsonl", row("a", "a"))
    (attempt,) = old.migrate()
    assert attempt.outcome == "failed"
    assert file.exists()
    assert not (old.root / "plan.lock").exists()
