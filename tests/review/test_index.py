"""The index is whole whoever was killed, asked at once or tampered with; it is thrown away rather than believed."""

import fcntl
import os
import resource
import signal
import sqlite3
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from requisition.review.history import filling, index
from requisition.schemas.diagnostic import BadInput, Failed
from requisition.schemas.receipt import NodeRun
from support import pasts
from support.histories import ask, rebuilt, told
from support.receipts import read_receipt

# --- killed, or many at once ----------------------------------------------------------------------


@pytest.fixture
def long_past(tmp_path):
    state = tmp_path / "state"
    for minute in range(30):
        ordered = pasts.order([f"/{number}" for number in range(minute % 3, 8)], version=str(minute % 4))
        nodes = tuple(
            NodeRun(
                number,
                "done" if (minute + number) % 3 else "unchanged",
                left=(pasts.left(f"/{number}", minute % 2 + 1),),
            )
            for number in range(len(ordered.nodes))
        )
        first = pasts.receipt(minute, ordered, nodes)
        pasts.save(state, first)
        if minute % 7 == 3:
            pasts.save(state, pasts.taken_back(first, minute + 2))
    return state


def in_a_child(work) -> int:
    """What a forked process ends with."""
    child = os.fork()
    if not child:
        try:
            work()
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1]


def statements_until_killed(patch, limit):
    """Kill this process by its own hand at the statement of that number. Pages go to the file before the commit."""
    opened, seen = index._opened, [0]

    def counted(_statement):
        seen[0] += 1
        if seen[0] == limit:
            os.kill(os.getpid(), signal.SIGKILL)

    def traced(path, **fields):
        connection = opened(path, **fields)
        connection.set_trace_callback(counted)
        return connection

    patch.setattr(index, "_CACHE_KIB", 1)
    patch.setattr(index, "_opened", traced)
    return seen


def test_an_index_whose_maker_was_killed_at_any_statement_is_whole_at_the_next_question(long_past, monkeypatch):
    expected = rebuilt(long_past)
    whole = (long_past / "index.db").read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        seen = statements_until_killed(patch, -1)
        rebuilt(long_past)
    assert seen[0] > 300
    killed = 0
    for limit in range(1, seen[0], 23):
        for name in ("index.db", "index.db-journal"):
            (long_past / name).unlink(missing_ok=True)
        if limit % 2:  # not from nothing, but with half of the receipts to be taken up again
            (long_past / "index.db").write_bytes(whole)
            forget_half(long_past)

        def work(limit=limit):
            with pytest.MonkeyPatch.context() as patch:
                statements_until_killed(patch, limit)
                ask(long_past)

        killed += os.WIFSIGNALED(in_a_child(work))
        assert ask(long_past) == expected
        with sqlite3.connect(long_past / "index.db") as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        connection.close()
    assert killed > 10


def forget_half(state):
    with sqlite3.connect(state / "index.db") as connection:
        connection.execute("UPDATE runs SET stamp = 'another' WHERE id % 2")
    connection.close()


def test_commands_that_index_at_once_all_answer_the_same(long_past):
    expected = rebuilt(long_past)
    (long_past / "index.db").write_bytes(b"not an index")
    answers = long_past.parent

    def work(number):
        (answers / f"answer{number}").write_text(repr(ask(long_past)))

    children = []
    for number in range(4):
        child = os.fork()
        if not child:
            try:
                work(number)
            finally:
                os._exit(0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0, 0]
    assert {(answers / f"answer{number}").read_text() for number in range(4)} == {repr(expected)}


def test_who_has_to_wait_for_another_command_is_told(long_past):
    expected = rebuilt(long_past)
    with open(long_past / "index.lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        heard = []

        def hear(text):
            heard.append(text)
            fcntl.flock(lock, fcntl.LOCK_UN)

        assert index.ask(str(long_past), told, say=hear) == expected
    assert heard == ["another command is reading receipts; waiting for it"]


# --- not to be trusted ----------------------------------------------------------------------------


def foreign(path):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE runs (id)")
    connection.close()


def newer(path):
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version={index.VERSION + 1}")
    connection.close()


def without_a_table(path):
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE touches")
    connection.close()


def with_other_words(path):
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE lefts SET mark = 'file' || id")
    connection.close()


def zeroed(path):
    content = bytearray(path.read_bytes())
    content[4096:] = bytes(len(content) - 4096)
    path.write_bytes(content)


SPOILS = {
    "noise": lambda path: path.write_bytes(b"noise" * 999),
    "cut short": lambda path: os.truncate(path, path.stat().st_size // 2),
    "zeroed": zeroed,
    "of somebody else": lambda path: (path.unlink(), foreign(path)),
    "newer": newer,
    "without a table": without_a_table,
    "with other words": with_other_words,
    "a link": lambda path: (path.rename(path.with_name("elsewhere")), path.symlink_to("elsewhere")),
    "a dangling link": lambda path: (path.unlink(), path.symlink_to("/nonexistent")),
}


@pytest.mark.parametrize("spoil", SPOILS.values(), ids=SPOILS)
def test_an_index_that_is_none_is_thrown_away_and_made_anew_and_that_is_said(long_past, spoil):
    expected = rebuilt(long_past)
    spoil(long_past / "index.db")
    heard = []
    assert index.ask(str(long_past), told, say=heard.append) == expected
    assert len(heard) == 1
    assert "made anew" in heard[0]
    assert index.ask(str(long_past), told, say=heard.append) == expected
    assert len(heard) == 1
    assert not (long_past / "index.db").is_symlink()


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_happened_to_its_bytes_a_question_is_answered(long_past, data):
    """What SQLite itself does not notice in a page is believed: docs/decisions/history.md."""
    rebuilt(long_past)
    path = long_past / "index.db"
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 20))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    assert len(ask(long_past)) == 4


def test_an_index_that_is_missing_or_empty_is_made_without_a_word(long_past):
    expected = rebuilt(long_past)
    heard = []
    (long_past / "index.db").write_bytes(b"")
    assert index.ask(str(long_past), told, say=heard.append) == expected
    (long_past / "index.db").unlink()
    assert index.ask(str(long_past), told, say=heard.append) == expected
    assert heard == []


def test_a_folder_in_its_place_is_named_and_left(long_past):
    (long_past / "index.db").mkdir()
    with pytest.raises(BadInput) as found:
        ask(long_past)
    assert found.value.diagnostics[0].where == str(long_past / "index.db")


def test_a_mistake_in_a_question_does_not_cost_the_index(long_past):
    rebuilt(long_past)
    before = (long_past / "index.db").stat().st_ino
    with pytest.raises(sqlite3.ProgrammingError):
        ask(long_past, lambda connection: connection.execute("SELECT ?", ()).fetchall())
    assert (long_past / "index.db").stat().st_ino == before


def test_on_a_full_disk_that_is_said_and_the_index_is_none_the_worse(long_past):
    expected = rebuilt(long_past)
    forget_half(long_past)
    before = (long_past / "index.db").read_bytes()
    heard = long_past.parent / "heard"

    def work():
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))  # write(2) fails beyond
        try:
            index.ask(str(long_past), told, say=lambda text: heard.write_text(text))
        except Failed as failure:
            heard.write_text(failure.diagnostics[0].what)

    assert in_a_child(work) == 0
    assert heard.read_text() == "the index of receipts cannot be kept"
    assert (long_past / "index.db").read_bytes() == before
    assert ask(long_past) == expected


def test_an_index_that_another_program_keeps_is_left_to_it(long_past, monkeypatch):
    rebuilt(long_past)
    forget_half(long_past)
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, timeout=0))
    other = sqlite3.connect(long_past / "index.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(Failed) as found:
        ask(long_past)
    other.close()
    assert "keeps it open" in found.value.diagnostics[0].next


def test_the_index_belongs_to_its_owner_alone(long_past):
    ask(long_past)
    for name in ("index.db", "index.lock"):
        assert (long_past / name).stat().st_mode & 0o777 == 0o600


def test_where_there_is_no_state_directory_none_is_made(tmp_path):
    assert ask(tmp_path / "state") == ([], [], [[] for _ in range(5)], [])
    assert not (tmp_path / "state").exists()


def test_a_state_directory_that_others_may_write_to_is_refused(long_past):
    long_past.chmod(0o777)
    with pytest.raises(BadInput):
        ask(long_past)


def test_nothing_is_read_again_that_did_not_change(long_past, monkeypatch):
    ask(long_past)

    def nothing(*_):
        raise AssertionError("a receipt was read")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(filling.Reader, "read", nothing)
        ask(long_past)
    newer_one = pasts.receipt(99, pasts.order(["/new"]), (NodeRun(0, "done", left=(pasts.left("/new"),)),))
    path = pasts.save(long_past, newer_one)
    assert read_receipt(str(path)) == newer_one
    seen = []
    read = filling.Reader.read
    monkeypatch.setattr(filling.Reader, "read", lambda self, key, paths: seen.append(key) or read(self, key, paths))
    ask(long_past)
    assert seen == [("", pasts.run_id(99))]
