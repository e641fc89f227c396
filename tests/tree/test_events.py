import json
import os
import subprocess
import sys
import threading

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from requisition.schemas.diagnostic import BadInput, Failed
from requisition.schemas.jsonschema import schema
from requisition.schemas.treeevent import MAX_LINE, MAX_TEXT, clip, from_line, to_line
from requisition.tree import events
from requisition.tree.events import (
    Added,
    Completed,
    EventLog,
    Halted,
    Later,
    Removed,
    Started,
    Sync,
    Updated,
    read_events,
    torn_bytes,
)
from requisition.tree.history import compacted, fold
from support.treelog import AT, known_events, later_events, noon

SCHEMA = Draft202012Validator(json.loads(schema("tree-event")))
NEWER = b'{"kind":"moon","version":2,"phase":"full"}'


def open_log(root):
    return EventLog.open(str(root), noon)


def log_of(root, *said):
    with open_log(root) as log:
        log.append_many(said)
    return root / ".plan" / "events.jsonl"


def appending(root, name, count, *more):
    words = [sys.executable, "-m", "support.treelog", str(root), name, str(count), *map(str, more)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": "tests"})


# what is written ---------------------------------------------------------------------------------


def test_what_was_appended_is_read_back_with_the_time_of_the_clock(tmp_path):
    said = [
        Sync(step="begin", order="sha256:1", packages=2),
        Started(path="a/b", commit="c" * 40, hash="sha256:2"),
        Halted(path="a/b", action="file.write", why="no room", next="make room"),
        Added(path="a", url="u", ref="main"),
        Updated(path="a", was="1", to="2"),
        Removed(path="a"),
        Completed(path=""),
    ]
    with open_log(tmp_path) as log:
        returned = log.append_many(said)
        assert list(log.read()) == returned == [msgspec.structs.replace(event, at=AT) for event in said]


def test_a_line_says_kind_version_and_time_first(tmp_path):
    path = log_of(tmp_path, Updated(path="a", was="1", to="2"))
    assert path.read_bytes() == (
        b'{"kind":"update","version":1,"at":"2026-01-01T12:00:00Z","path":"a","from":"1","to":"2"}\n'
    )


@given(known_events(st.text(max_size=3000)))
@settings(max_examples=200, deadline=None)
def test_every_event_is_one_line_that_its_schema_allows_and_that_is_read_back(event):
    line = to_line(event)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert len(line) <= MAX_LINE
    SCHEMA.validate(json.loads(line))
    assert to_line(from_line(line[:-1])) == line


@given(st.text(st.characters()) | st.text("äß€😀\ud800", min_size=2000, max_size=4000), st.integers(8, MAX_TEXT))
@settings(deadline=None)
def test_a_clipped_text_is_utf8_of_bounded_size_and_keeps_its_beginning(text, limit):
    found = clip(text, limit)
    assert len(found.encode()) <= limit
    whole = text.encode("utf-8", "replace").decode()
    assert found == whole or (found.endswith("…") and whole.startswith(found[:-1]))


def test_what_a_tool_printed_may_be_endless(tmp_path):
    log_of(tmp_path, Halted(path="a", why="\x00" * 10_000_000, next="ä" * 1_000_000, action="\udcff"))
    (found,) = read_events(events.log_path(str(tmp_path)))
    assert len(found.why) < MAX_TEXT
    assert found.action == "?"


def test_an_event_that_cannot_be_a_line_is_refused_and_the_log_stays(tmp_path):
    path = log_of(tmp_path, Started(path="a"))
    before = path.read_bytes()
    with open_log(tmp_path) as log:
        for path_of_package in ("x" * MAX_LINE, "\udcff"):
            with pytest.raises(BadInput):
                log.append_many([Started(path="b"), Started(path=path_of_package)])
    assert path.read_bytes() == before


# durability --------------------------------------------------------------------------------------


def test_nothing_returns_before_it_is_durable(tmp_path):
    synced = []
    path = tmp_path / ".plan" / "events.jsonl"
    with EventLog.open(str(tmp_path), noon, sync=lambda fd: synced.append(path.read_bytes())) as log:
        log.append(Started(path="a"))
        assert synced == [path.read_bytes()]
        log.append_many(Started(path=str(n)) for n in range(10))
        assert synced[1:] == [path.read_bytes()]
        log.append_many([])
        assert len(synced) == 2


def test_the_name_of_a_new_log_is_made_durable_too(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(events, "sync_directory", synced.append)
    for _ in range(2):
        log_of(tmp_path, Started(path="a"))
    assert synced == [str(tmp_path / ".plan")]


def test_an_append_that_fails_leaves_the_log_as_it_was_and_says_so(tmp_path):
    path = log_of(tmp_path, Started(path="a"))
    before = path.read_bytes()

    def fails(fd):
        raise OSError(5, "Input/output error")

    with EventLog.open(str(tmp_path), noon, sync=fails) as log, pytest.raises(Failed, match="Input/output"):
        log.append(Started(path="b"))
    assert path.read_bytes() == before


def test_a_full_disk_leaves_whole_lines_only(tmp_path):
    path = log_of(tmp_path, *[Started(path=str(n)) for n in range(50)])
    size = path.stat().st_size
    code = (
        "import resource, sys, signal\n"
        "from requisition.tree.events import EventLog, Started\n"
        "from requisition.schemas.diagnostic import Failed\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({size + 20}, {size + 20}))\n"
        "log = EventLog.open(sys.argv[1])\n"
        "try: log.append(Started(path='z'))\n"
        "except Failed as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "cannot be written" in done.stdout
    assert path.stat().st_size == size


def test_the_log_is_in_no_commit(tmp_path):
    log_of(tmp_path, Started(path="a"))
    assert (tmp_path / ".plan" / ".gitignore").read_text() == "*\n"


# damage ------------------------------------------------------------------------------------------


def test_cut_at_every_byte_the_whole_lines_stand_and_the_cut_is_told(tmp_path):
    path = log_of(tmp_path, Started(path="a"), Completed(path="a"), Halted(path="ä", why="€"))
    whole = path.read_bytes()
    said = list(read_events(str(path)))
    for end in range(len(whole) + 1):
        path.write_bytes(whole[:end])
        complete = whole[:end].count(b"\n")
        torn = end - (whole[:end].rfind(b"\n") + 1)
        assert list(read_events(str(path))) == said[:complete]
        assert torn_bytes(str(path)) == torn
        with open_log(tmp_path) as log:
            assert len(log.healed) == (torn > 0)
            assert all(f"{torn} bytes" in one.what for one in log.healed)
            log.append(Removed(path="z"))
            assert [*log.read()][:-1] == said[:complete]
        with open_log(tmp_path) as log:
            assert log.healed == []


def test_a_torn_line_of_any_length_is_healed(tmp_path):
    path = log_of(tmp_path, Started(path="a"))
    size = path.stat().st_size
    for length in (1, MAX_LINE - 1, MAX_LINE, 3 * MAX_LINE + 7):
        with path.open("ab") as file:
            file.write(b"\0" * length)
        with open_log(tmp_path) as log:
            assert f"{length} bytes" in log.healed[0].what
        assert path.stat().st_size == size


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"\xff\xfe",
        b"\0" * 30,
        b'{"kind":"started","version":1}',
        b'{"kind":"moon","version":1}',
        b'{"kind":"started","version":0,"path":"a"}',
        b'{"kind":"started","version":true,"path":"a"}',
        b"[" * 20_000,
        b"x" * MAX_LINE,
    ],
)
def test_a_damaged_line_is_named_and_never_dropped(tmp_path, line):
    path = log_of(tmp_path, Started(path="a"))
    with path.open("ab") as file:
        file.write(line + b"\n" + to_line(Completed(path="a")))
    whole = path.read_bytes()
    with open_log(tmp_path) as log:
        for use in (log.fold, log.compact, lambda: list(log.read())):
            with pytest.raises(BadInput) as caught:
                use()
            assert caught.value.diagnostics[0].where == f"{path}:2"
    assert path.read_bytes() == whole


def test_a_log_of_no_end_is_refused_before_it_is_read(tmp_path):
    path = log_of(tmp_path)
    os.truncate(path, events.MAX_LOG + 1)
    with pytest.raises(BadInput, match="larger"):
        list(read_events(str(path)))


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / ".plan").mkdir()
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / ".plan" / "events.jsonl").symlink_to("../victim")
    with pytest.raises(BadInput):
        log_of(tmp_path, Started(path="a"))
    assert (tmp_path / "victim").read_bytes() == b"precious"


# the state it implies ----------------------------------------------------------------------------


def test_the_state_is_the_last_step_of_each_package(tmp_path):
    log_of(
        tmp_path,
        Sync(step="begin"),
        Added(path="a", url="u"),
        Updated(path="a", to="1"),
        Started(path="a", commit="1"),
        Completed(path="a", commit="1", hash="h"),
        Started(path="b"),
        Started(path="c"),
        Halted(path="c", why="no"),
        Started(path="d"),
        Removed(path="d"),
    )
    with open_log(tmp_path) as log:
        state = log.fold()
    assert state.cut_off
    assert [start.path for start in state.dangling] == ["b"]
    assert state.packages["a"].step == Completed(at=AT, path="a", commit="1", hash="h")
    assert (state.packages["a"].added.url, state.packages["a"].pinned.to) == ("u", "1")
    assert state.packages["c"].step.why == "no"
    assert "d" not in state.packages


def test_a_package_that_is_added_anew_has_no_pin_of_before():
    state = fold([Added(path="a", url="u"), Updated(path="a", to="1"), Added(path="a", url="v")])
    assert (state.packages["a"].added.url, state.packages["a"].pinned) == ("v", None)


@given(st.lists(known_events() | later_events(), max_size=40))
@settings(max_examples=400, deadline=None)
def test_compaction_keeps_the_state_and_is_idempotent(said):
    kept = compacted(said)
    assert fold(kept) == fold(said)
    assert compacted(kept) == kept
    assert [event for event in said if isinstance(event, Later)] == [e for e in kept if isinstance(e, Later)]


@given(st.lists(known_events(), max_size=40))
@settings(deadline=None)
def test_a_compacted_log_holds_no_event_that_says_nothing(said):
    kept = compacted(said)
    state = fold(kept)
    assert all(fold(kept[:at] + kept[at + 1 :]) != state for at in range(len(kept)))


@given(st.lists(known_events(), max_size=20), st.lists(known_events(), max_size=20))
@settings(deadline=None)
def test_what_comes_after_a_compaction_means_the_same(before, after):
    assert fold([*compacted(before), *after]) == fold([*before, *after])


def test_compaction_on_disk_keeps_what_newer_versions_wrote_byte_for_byte(tmp_path):
    path = log_of(tmp_path, *[Started(path="a") for _ in range(10)])
    with path.open("ab") as file:
        file.write(NEWER + b"\n")
    with open_log(tmp_path) as log:
        log.append(Completed(path="a"))
        before, size = log.fold(), path.stat().st_size
        assert log.compact(above=size) == 0
        assert log.compact() == size - path.stat().st_size > 0
        assert log.fold() == before
        assert log.compact() == 0
        log.append(Started(path="b"))
    lines = path.read_bytes().splitlines()
    assert lines[0] == NEWER
    assert len(lines) == 3


def test_a_known_kind_of_a_newer_version_is_not_misread(tmp_path):
    path = log_of(tmp_path, Started(path="a"))
    newer = b'{"kind":"completed","version":2,"path":"a","how":"half"}'
    with path.open("ab") as file:
        file.write(newer + b"\n")
    with open_log(tmp_path) as log:
        state = log.fold()
        assert state.packages["a"].dangling
        assert state.later == (Later(newer),)


def test_a_log_that_was_compacted_by_another_is_appended_to_under_its_new_name(tmp_path):
    with open_log(tmp_path) as one, open_log(tmp_path) as other:
        one.append_many([Started(path="a"), Completed(path="a")])
        other.compact()
        one.append(Started(path="b"))
        assert [event.path for event in other.read()] == ["a", "b"]


# many writers, and kills -------------------------------------------------------------------------


def test_two_processes_that_append_at_once_lose_nothing_and_mix_no_lines(tmp_path):
    writers = [appending(tmp_path, name, 150) for name in ("one", "two")]
    with open_log(tmp_path) as log:
        while any(writer.poll() is None for writer in writers):
            log.compact(above=4096)
        assert [writer.wait() for writer in writers] == [0, 0]
        paths = [event.path for event in log.read()]
    for writer in writers:
        writer.stdout.close()
    for name in ("one", "two"):
        assert [path for path in paths if path.startswith(name)] == [f"{name}/{number}" for number in range(150)]


def test_threads_share_a_log(tmp_path):
    with open_log(tmp_path) as log:
        threads = [
            threading.Thread(target=lambda name=name: [log.append(Started(path=f"{name}{n}")) for n in range(20)])
            for name in "abcd"
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(event.path for event in log.read()) == sorted(f"{name}{n}" for name in "abcd" for n in range(20))


def test_killed_at_any_byte_what_was_announced_is_there_and_nothing_else_in_half(tmp_path):
    line = len(to_line(Started(path="x/0", at=AT)))
    with appending(tmp_path, "x", 5, line + 8) as driver:
        announced = [int(count) for count in driver.stdout.read().split()]
        assert driver.wait() == 0
    assert len(announced) == line + 8
    for at, count in enumerate(announced):
        with open_log(tmp_path / str(at)) as log:
            found = [event.path for event in log.read()]
            assert len(log.healed) == (at % line > 0)
        assert found == [f"x/{number}" for number in range(at // line)]
        assert count == len(found)


def test_a_compaction_that_is_cut_off_leaves_the_old_log(tmp_path, monkeypatch):
    path = log_of(tmp_path, Started(path="a"), Completed(path="a"))
    before = path.read_bytes()

    def dies(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "rename", dies)
    with open_log(tmp_path) as log, pytest.raises(KeyboardInterrupt):
        log.compact()
    assert path.read_bytes() == before
