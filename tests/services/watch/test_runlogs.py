"""Logs of runs: followed as they are written, bounded, readable, and gone when their run is."""

import asyncio

import pytest

from requisition.services.watch.runlogs import MAX_LINE, RunLog, RunLogs, readable
from support.stories import story


@pytest.fixture
def logs(tmp_path):
    return RunLogs(str(tmp_path / "runs"))


async def all_of(lines):
    return [line async for line in lines]


@story
async def test_who_follows_hears_what_was_said_what_is_said_and_the_end(logs):
    log = logs.open("r1")
    log.line("before")
    followers = [asyncio.create_task(all_of(logs.follow("r1", on=True))) for _ in range(3)]
    for number in range(5):
        await asyncio.sleep(0)
        log.line(f"line {number}")
    log.write(b"no newline at the end")
    logs.close("r1")
    expected = ["before", *(f"line {number}" for number in range(5)), "no newline at the end"]
    assert await asyncio.gather(*followers) == [expected] * 3
    assert await all_of(logs.follow("r1", on=True)) == expected, "it has ended: nobody waits"


@story
async def test_without_follow_it_is_what_is_there(logs):
    logs.open("r1").line("one")
    assert await all_of(logs.follow("r1", on=False)) == ["one"]
    assert await all_of(logs.follow("r2", on=True)) == []


@story
async def test_a_log_and_a_line_are_bounded(tmp_path, logs):
    log = RunLog(str(tmp_path / "small"), limit=10)
    for _ in range(5):
        log.write(b"123456")
    log.close()
    assert (tmp_path / "small").read_bytes() == b"1234561234\n(the rest is not kept: the log is full)\n"
    logs.open("r1").write(b"x" * (3 * MAX_LINE))
    logs.close("r1")
    lines = await all_of(logs.follow("r1", on=False))
    assert sum(map(len, lines)) == 3 * MAX_LINE
    assert max(map(len, lines)) <= 2 * MAX_LINE


def test_a_run_that_goes_on_goes_on_in_its_log(logs):
    logs.open("r1").line("one")
    logs.close("r1")
    logs.open("r1").line("two")
    logs.close("r1")
    with open(logs.path("r1"), "rb") as file:
        assert file.read() == b"one\ntwo\n"


def test_logs_of_runs_that_are_forgotten_go_and_nothing_else_does(tmp_path, logs):
    for run in ("r1", "r2", "r3"):
        logs.open(run).line(run)
        if run != "r3":
            logs.close(run)
    (tmp_path / "runs/notes.txt").touch()
    logs.keep_only(["r1"])
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["notes.txt", "r1.log", "r3.log"]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b'{"type":"event","kind":"node","node":"a:b","status":"done","text":"absent"}', b"node  done  a:b  absent"),
        (b'{"type":"diagnostic","what":"wrong","next":"mend it"}', b"error: wrong\n  next mend it"),
        (b'{"type":"result","status":"done","run_id":"r"}', b"result  done  r"),
        (b'{"type":"result","status":"failed","diagnostics":[{"what":"x"}]}', b"error: x\nresult  failed"),
        (b"plain text", b"plain text"),
        (b"[1]", b"[1]"),
        (b'{"type":"else"}', b'{"type":"else"}'),
        (b"\xff\xfe", b"\xff\xfe"),
    ],
)
def test_what_plan_says_in_json_is_logged_as_a_person_reads_it(line, text):
    assert readable(line) == text
