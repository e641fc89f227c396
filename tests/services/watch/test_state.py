"""What the daemon knows: every change is whole, and checks what it assumed."""

import random

import pytest

from requisition.schemas.diagnostic import BadInput, Conflicted
from requisition.services.watch.config import Watch
from requisition.services.watch.state import State

A, B = "a" * 40, "b" * 40
MAIN = "refs/heads/main"
RANDOM = random.Random(1)


def watch(name="web", **fields):
    return Watch(**{"name": name, "url": f"/srv/{name}.git", **fields})


@pytest.fixture
def state(tmp_path):
    found = State(str(tmp_path / "state.db"))
    found.declare([watch()], 1)
    yield found
    found.close()


def run_once(state, commit, ending, now=10.0, run="r1"):
    state.observe("web", {MAIN: commit}, now)
    begun = state.begin("web", run, now)
    assert begun is not None
    state.step(run, "fetch", now)
    state.stepped(run, "" if ending == "good" else "why", now)
    return state.finish(run, ending, "" if ending == "good" else "why", now, RANDOM)


def test_what_does_not_change_is_not_written(state):
    assert state.observe("web", {MAIN: A}, 1) == [f"{MAIN} was created at {A[:12]}"]
    with state.reading() as db:
        before = db.execute("SELECT total_changes()").fetchone()[0]
    assert state.observe("web", {MAIN: A}, 2) == []
    with state.reading() as db:
        assert db.execute("SELECT total_changes()").fetchone()[0] == before


def test_a_second_run_of_a_watch_cannot_begin_and_one_that_was_cut_off_goes_on(state):
    state.observe("web", {MAIN: A, "refs/heads/x": B}, 1)
    first = state.begin("web", "r1", 1)
    assert state.begin("web", "r2", 2) == first
    assert state.due_in("web", 2) == 0
    state.finish("r1", "good", "", 3, RANDOM)
    assert state.begin("web", "r2", 4).hash == B


def test_a_run_ends_once(state):
    run_once(state, A, "good")
    assert state.finish("r1", "failed", "again", 20, RANDOM) == ""
    assert state.run("r1").status == "good"
    assert state.refs("web")[0].good == A


def test_a_paused_watch_begins_nothing_and_resume_tries_what_failed_anew(state):
    assert run_once(state, A, "refused") == ""
    state.pause("web", "holidays", 20)
    state.observe("web", {MAIN: B}, 21)
    assert state.due_in("web", 30) is None
    assert state.begin("web", "r2", 30) is None
    with pytest.raises(Conflicted, match="paused"):
        state.request("web", "", 30)
    state.resume("web", 40)
    assert state.begin("web", "r2", 40).hash == B
    assert [note.text for note in state.notes("web")][:2] == ["resumed", "moved from aaaaaaaaaaaa to bbbbbbbbbbbb"]


def test_failures_in_a_row_pause_and_a_success_begins_the_count_anew(tmp_path):
    state = State(str(tmp_path / "state.db"))
    state.declare([watch(on_failure="pause", pause_after=2, retries=0)], 1)
    assert run_once(state, A, "failed", 10, "r1") == ""
    assert run_once(state, B, "good", 20, "r2") == ""
    assert run_once(state, A, "failed", 30, "r3") == ""
    assert run_once(state, B[:-1] + "c", "failed", 40, "r4") == "2 failures in a row: why"
    assert state.watch("web").paused == "2 failures in a row: why"
    state.close()


def test_watches_of_the_file_come_and_go_with_it_and_those_of_the_socket_stay(state):
    state.add(watch("socket"), 2)
    run_once(state, A, "good")
    state.declare([watch(interval=5), watch("new")], 3)
    assert [(kept.watch.name, kept.origin) for kept in state.watches()] == [
        ("new", "file"), ("socket", "socket"), ("web", "file"),
    ]  # fmt: skip
    assert state.refs("web")[0].good == A, "what is known of a watch stays when its options change"
    state.declare([watch(url="/srv/elsewhere.git")], 4)
    assert state.refs("web") == [], "another repository is another history"
    with pytest.raises(Conflicted, match=r"watch\.yaml"):
        state.remove("web", 5)
    state.remove("socket", 5)
    with pytest.raises(BadInput, match="no watch"):
        state.watch("socket")


def test_a_removed_watch_leaves_no_run_that_seems_to_work(state):
    state.observe("web", {MAIN: A}, 1)
    state.begin("web", "r1", 1)
    state.declare([], 2)
    assert (state.run("r1").status, state.run("r1").reason) == ("failed", "the watch was removed")
    assert state.observe("web", {MAIN: B}, 3) == []
    assert state.finish("r1", "good", "", 4, RANDOM) == ""


def test_old_runs_go_by_count_and_age_but_never_those_that_stand(state):
    for number in range(6):
        run_once(state, f"{number}" * 40, "good" if number < 3 else "failed", 10.0 * number, f"r{number}")
    assert set(state.good_runs("web")) == {"r1", "r2"}
    assert set(state.drop_runs(2, 0)) == {"r1", "r2", "r4", "r5"}
    assert set(state.drop_runs(100, 1000)) == {"r1", "r2"}
    assert state.steps("r0") == []


def test_resume_does_not_accept_what_was_refused_and_a_person_who_asks_does(state):
    run_once(state, A, "refused")
    state.pause("web", "", 20)
    state.resume("web", 21)
    assert state.refs("web")[0].queued == A
    assert not state.refs("web")[0].forced
    state.request("web", MAIN, 22)
    assert state.begin("web", "r2", 23).forced


def test_a_deleted_branch_is_forgotten_with_its_last_run_and_the_newest_runs_of_a_watch_stand(state):
    for number, name in enumerate(("a", "b", "c", "d")):
        state.observe("web", {f"refs/heads/{name}": A}, number)
        state.begin("web", name, number)
        state.finish(name, "good", "", number, RANDOM)
    state.observe("web", {MAIN: A}, 10)
    assert set(state.good_runs("web")) == {"c", "d"}
    assert set(state.drop_runs(100, 1000)) == {"c", "d"}
    assert {row.ref for row in state.refs("web")} == {"refs/heads/c", "refs/heads/d", MAIN}


def test_steps_tell_which_was_cut_off(state):
    state.observe("web", {MAIN: A}, 1)
    state.begin("web", "r1", 1)
    state.step("r1", "fetch", 1)
    state.step("r1", "fetch", 2)
    state.stepped("r1", "", 3)
    state.step("r1", "check", 4)
    state.stepped("r1", "it is wrong", 5)
    assert [(one.step, one.status, one.reason) for one in state.steps("r1")] == [
        ("fetch", "cut off", ""), ("fetch", "done", ""), ("check", "failed", "it is wrong"),
    ]  # fmt: skip


def test_notes_of_a_watch_are_bounded(state):
    for number in range(500):
        state.observe("web", {MAIN: f"{number:040x}"}, number)
    assert len(state.notes("web")) == 200
    assert state.notes("web")[0].text.startswith("moved")
