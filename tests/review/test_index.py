"""The index says what the receipts say, however it came about, whoever was killed on the way."""

import os
import resource
import shutil
import signal
import sqlite3
from functools import partial
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from requisition.review.history import filling, index, questions
from requisition.review.history.questions import ANY_HOST, Filter
from requisition.runtime.state import advance, fold
from requisition.schemas.diagnostic import BadInput, Failed
from requisition.schemas.receipt import NodeRun
from support import pasts
from support.receipts import read_receipt

EVERYTHING = Filter(host=ANY_HOST)
PATHS = ("/a", "/b", "/d/c", "apt:nginx")


def told(connection):
    """All that an index has to say."""
    return (
        questions.runs(connection, EVERYTHING),
        questions.standing(connection, EVERYTHING),
        [questions.events_below(connection, EVERYTHING, path) for path in ("", *PATHS)],
        questions.problems(connection),
    )


def ask(state: Path, question=told):
    return index.ask(str(state), question)


def rebuilt(state: Path):
    (state / "index.db").unlink(missing_ok=True)
    return ask(state)


def entries(state: Path, host: str = "") -> dict[tuple[str, str], tuple[str, str, object]]:
    """(root, path) to (run, node, how it was left), as the index has it."""
    found = ask(state, lambda connection: questions.standing(connection, Filter(host=host)))
    return {(one.ran.root, one.path): (one.ran.run, one.node, one.left) for one in found}


# --- generated pasts ------------------------------------------------------------------------------


@st.composite
def runs(draw, minute, *, late):
    """One run as its receipts: the first, and maybe that of its rollback, up to `late` minutes after it."""
    mine = draw(st.lists(st.sampled_from(PATHS), min_size=1, max_size=3, unique=True))
    package = draw(st.sampled_from(["demo", "other"]))
    whose = {path: draw(st.sampled_from(["left", "right"])) for path in mine}
    tree = draw(st.booleans())
    root = draw(st.sampled_from(["/root", "/home"]))
    ordered = pasts.order(whose if tree else mine, package=package, root=root)
    nodes = []
    for number, path in enumerate(mine):
        status = draw(st.sampled_from(["done", "done", "unchanged", "unchanged", "failed", "skipped", "pending"]))
        leaves = status in ("done", "unchanged")
        nodes.append(NodeRun(number, status, left=(pasts.left(path, draw(st.integers(0, 2))),) if leaves else ()))
    state = draw(st.sampled_from(["executed", "executed", "executed", "failed"]))
    first = pasts.receipt(minute, ordered, tuple(nodes), state=state)
    if not draw(st.booleans()):
        return [first]
    names = draw(st.sampled_from([None, frozenset({"left"})])) if tree and state == "executed" else None
    return [first, pasts.taken_back(first, minute + draw(st.integers(1, late)) - 0.25, names)]


@st.composite
def some_pasts(draw, *, late):
    return [draw(runs(minute, late=late)) for minute in range(draw(st.integers(1, 6)))]


def write(state: Path, past, host=""):
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir(mode=0o700)
    for receipts in past:
        for one in receipts:
            pasts.save(state, one, host=host)


def naive(past, root):
    """What stands by nothing but receipts, each read whole: those of runs that were taken back are left out, and so is
    who only found what they had made."""
    standing, lost = [], {}
    for receipts in past:
        first, last = receipts[0], receipts[-1]
        if last.target_root != root:
            continue
        kept = []
        for before, after in zip(first.nodes, last.nodes, strict=True):
            if after.status == "rolled_back":
                lost |= {one.path: (one, last.finished) for one in before.left}
            elif last.state == "executed" and after.left:
                (one,) = after.left
                gone, until = lost.get(one.path, (None, ""))
                if after.status == "unchanged" and one == gone and first.started <= until:
                    continue
                lost.pop(one.path, None)
                kept.append(after)
        if last.state == "executed":
            standing.append(msgspec.structs.replace(last, nodes=tuple(kept)))
    return fold(standing)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(past=some_pasts(late=4), host=st.sampled_from(["", "far"]))
def test_the_index_says_what_a_naive_fold_over_the_receipts_says(tmp_path, past, host):
    write(tmp_path / "state", past, host)
    expected = {
        (root, path): (entry.run_id, entry.node, entry.left)
        for root in ("/root", "/home")
        for path, entry in naive(past, root).items()
    }
    assert entries(tmp_path / "state", host) == expected


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(past=some_pasts(late=1))
def test_where_each_run_was_taken_back_before_the_next_began_the_index_is_the_state_views_own_fold(tmp_path, past):
    write(tmp_path / "state", past)
    for root in ("/root", "/home"):
        view = {}
        for receipts in past:
            if receipts[-1].state == "executed" and receipts[-1].target_root == root:
                after = advance(view, receipts[-1], {})
                view = view if after is None else after
        found = {path: one for (where, path), one in entries(tmp_path / "state").items() if where == root}
        assert found == {path: (one.run_id, one.node, one.left) for path, one in view.items()}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), many=st.sampled_from([1, filling.MANY]))
def test_an_index_that_grew_with_its_receipts_is_the_one_made_from_them_at_once(tmp_path, data, many):
    state = tmp_path / "state"
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir(mode=0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(filling, "MANY", many)
        for _ in range(data.draw(st.integers(1, 4), "changes before each question")):
            for _ in range(data.draw(st.integers(0, 4))):
                minute, host = data.draw(st.integers(0, 5)), data.draw(st.sampled_from(["", "", "far"]))
                change(state, minute, host, data)
            grown = ask(state)
            assert grown == ask(state)
        assert grown == rebuilt(state)


def change(state, minute, host, data):
    """A run is recorded, or another one in its place, is gone, or can no longer be read."""
    path = pasts.place(state, pasts.run_id(minute), host=host)
    what = data.draw(st.sampled_from(["record", "record", "remove", "damage"]))
    if what == "record":
        pasts.place(state, pasts.run_id(minute), host=host, rollback=True).unlink(missing_ok=True)
        for one in data.draw(runs(minute, late=4)):
            pasts.save(state, one, host=host)
    elif what == "remove":
        path.unlink(missing_ok=True)
    elif path.exists():
        with open(path, "ab") as file:  # in place: neither name nor inode change
            file.write(b"x")


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
