import itertools
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from requisition.schemas.diagnostic import BadInput, Conflicted
from requisition.services.delivery import overrides, verbs
from requisition.services.delivery.job import Finding
from requisition.services.delivery.queue import LEASE, Lost, Queue
from requisition.services.delivery.states import State
from support.queues import Hands

ROOM = {"nas": 1, "disk": 1}
TESTS = Path(__file__).parents[2]


@pytest.fixture
def hands():
    return Hands()


@pytest.fixture
def queue(hands, tmp_path):
    queue = hands.queue(tmp_path)
    yield queue
    queue.close()


def add(queue, name="a", to="nas"):
    return queue.enqueue(f"/data/{name}", to, name, "alice")[0]


def story(queue, job):
    return [(one.who, one.old, one.new) for one in queue.history(job.id)]


def test_every_step_says_who_when_from_what_to_what_and_why(queue, hands):
    job = add(queue)
    hands.pass_(1)
    held = queue.claim("w1", ROOM)
    held = queue.move(held, State.AWAITING_VERIFY, "pushed")
    queue.passed(held, State.VERIFIED, "compared", None, "read")
    assert [(one.who, one.at - hands.wall, one.old, one.new, one.why) for one in queue.history(job.id)] == [
        ("alice", -1, "", "queued", "enqueued"),
        ("w1", 0, "queued", "running", "taken up"),
        ("w1", 0, "running", "awaiting_verify", "pushed"),
        ("w1", 0, "awaiting_verify", "verified", "compared"),
    ]
    done = queue.job(job.id)
    assert (done.passes, done.verified_at, done.lease, done.owner, done.due) == (1, hands.wall, "", "", None)


def test_a_transition_that_the_table_does_not_know_changes_nothing(queue):
    job = add(queue)
    held = queue.claim("w1", ROOM)
    with pytest.raises(Conflicted, match="does not become cleaned"):
        queue.leave(held, State.CLEANED, "by mistake")
    assert queue.job(job.id) == held
    assert len(queue.history(job.id)) == 2


def test_the_database_itself_knows_no_other_state_and_no_override_without_reason(queue):
    job = add(queue)
    for statement in (
        "UPDATE jobs SET state = 'done'",
        f"INSERT INTO overrides (job, rule, reason, who, at) VALUES ('{job.id}', 'names', ' ', 'bob', 0)",
    ):
        with pytest.raises(sqlite3.IntegrityError), queue.transaction() as rows:
            rows.execute(statement)


def test_a_job_that_is_held_is_given_to_nobody_else_until_its_lease_ends(queue, hands):
    add(queue)
    first = queue.claim("w1", {"nas": 5})
    for _ in range(5):
        hands.pass_(LEASE - 1)
        assert queue.claim("w2", {"nas": 5}) is None
        first = queue.renew(first)
    hands.pass_(LEASE)
    second = queue.claim("w2", {"nas": 5})
    assert second.id == first.id
    for late in (
        lambda: queue.renew(first),
        lambda: queue.move(first, State.AWAITING_VERIFY, ""),
        lambda: queue.leave(first, State.FAILED, ""),
        lambda: queue.passed(first, State.VERIFIED, "", None, ""),
        lambda: queue.found(first, []),
    ):
        with pytest.raises(Lost):
            late()
    assert queue.job(first.id) == second
    assert story(queue, first)[-1] == ("w2", "running", "running")


@pytest.mark.parametrize("jump", [-1e9, -3600, 3600, 1e9])
def test_setting_the_clock_neither_ends_a_lease_nor_moves_an_attempt(queue, hands, jump):
    add(queue, "held", "disk")
    add(queue, "waits")
    held = queue.claim("w1", {"disk": 1})
    waits = queue.leave(queue.claim("w1", {"nas": 1}), State.QUEUED, "network", 30)
    hands.jump(jump)
    assert queue.claim("w2", {"disk": 2, "nas": 2}) is None
    queue.renew(held)
    hands.pass_(29)
    assert queue.claim("w2", {"nas": 2}) is None
    hands.pass_(1)
    assert queue.claim("w2", {"nas": 2}).id == waits.id


@pytest.mark.parametrize("off", [-1e9, 0, 1e9])
def test_after_a_reboot_nobody_works_and_no_wait_is_longer_than_it_was_meant(queue, hands, tmp_path, off):
    add(queue, "held", "disk")
    add(queue, "waits")
    held = queue.claim("w1", {"disk": 1})
    waits = queue.leave(queue.claim("w1", {"nas": 1}), State.QUEUED, "network", 3600)
    never = add(queue, "paused")
    verbs.pause(queue, never.id, "bob", "later")
    hands.reboot(60)
    hands.jump(off)
    again = hands.queue(tmp_path)
    assert again.claim("w2", {"disk": 1}).id == held.id
    with pytest.raises(Lost):
        queue.renew(held)
    hands.pass_(0 if off > 0 else 3600)
    assert again.claim("w2", {"nas": 1}).id == waits.id
    assert again.claim("w2", {"nas": 9}) is None
    again.close()


@pytest.mark.parametrize(
    "state", [State.RUNNING, State.AWAITING_VERIFY, State.VERIFIED, State.CLEANUP_ELIGIBLE, State.BLOCKED]
)
def test_every_state_that_is_not_an_end_is_taken_up_where_a_killed_worker_left_it(queue, hands, state):
    job = add(queue)
    held = queue.claim("killed", ROOM)
    way = {
        State.RUNNING: [],
        State.AWAITING_VERIFY: [State.AWAITING_VERIFY],
        State.VERIFIED: [State.AWAITING_VERIFY, State.VERIFIED],
        State.CLEANUP_ELIGIBLE: [State.AWAITING_VERIFY, State.VERIFIED, State.CLEANUP_ELIGIBLE],
        State.BLOCKED: [State.BLOCKED],
    }
    for step in way[state]:
        held = queue.move(held, step, "")
    assert queue.claim("w2", ROOM) is None
    assert queue.bury("killed") == 1
    taken = queue.claim("w2", ROOM)
    assert (taken.id, taken.state, taken.owner) == (job.id, state, "w2")


def test_destinations_take_turns_however_many_jobs_one_has(queue):
    for number in range(20):
        add(queue, f"n{number}")
    for number in range(3):
        add(queue, f"d{number}", "disk")
    served = [queue.claim("w", {"nas": 99, "disk": 99}).destination for _ in range(6)]
    assert Counter(served) == {"nas": 3, "disk": 3}
    assert all(one != two for one, two in itertools.pairwise(served))


def test_a_destination_has_no_more_workers_than_it_may_in_all_processes_together(queue, hands):
    for number in range(5):
        add(queue, f"n{number}")
    room = {"nas": 2}
    assert queue.claim("w1", room)
    assert queue.claim("w2", room)
    assert queue.claim("w3", room) is None
    hands.pass_(LEASE)  # both were killed
    assert queue.claim("w3", room)


def test_first_come_first_served(queue, hands):
    wanted = []
    for number in range(5):
        wanted.append(add(queue, f"n{number}").id)
        hands.pass_(1)
    assert [queue.claim("w", {"nas": 9}).id for _ in wanted] == wanted


def test_a_paused_destination_is_left_alone(queue):
    job = add(queue)
    verbs.pause_destination(queue, "nas", "bob", "moved to another room")
    assert queue.claim("w", ROOM) is None
    assert queue.next_due(ROOM) is None
    assert verbs.pauses(queue) == {"nas": "bob: moved to another room"}
    assert verbs.resume_destination(queue, "nas")
    assert not verbs.resume_destination(queue, "nas")
    assert queue.claim("w", ROOM).id == job.id


def test_what_is_under_way_is_not_enqueued_twice_and_a_target_has_one_source(queue):
    job = add(queue)
    assert queue.enqueue("/data/a", "nas", "a", "bob") == (job, False)
    with pytest.raises(Conflicted, match="/data/a is already to be at a"):
        queue.enqueue("/data/b", "nas", "a", "bob")
    assert queue.enqueue("/data/a", "disk", "a", "bob")[1]
    verbs.cancel(queue, job.id, "bob", "wrong one")
    assert queue.enqueue("/data/b", "nas", "a", "bob")[1]
    with pytest.raises(Conflicted):
        verbs.retry(queue, job.id, "bob", "after all")  # the target is taken now
    assert queue.job(job.id).state is State.CANCELLED


def test_a_job_in_a_workers_hands_is_asked_to_stop_one_that_is_not_stops_at_once(queue, hands):
    job = add(queue)
    held = queue.claim("w", ROOM)
    assert verbs.cancel(queue, job.id, "bob", "wrong").stop == "cancel"
    assert queue.job(job.id).state is State.RUNNING
    assert queue.renew(held).stop == "cancel"
    hands.pass_(LEASE)  # it was killed before it could
    assert verbs.cancel(queue, job.id, "bob", "wrong").state is State.CANCELLED
    assert queue.claim("w", ROOM) is None


def test_a_paused_job_goes_on_where_it_was(queue):
    job = add(queue)
    queue.leave(queue.claim("w", ROOM), State.QUEUED, "network", 30, attempts=2)
    assert verbs.pause(queue, job.id, "bob", "later").paused
    assert queue.claim("w", ROOM) is None
    verbs.resume(queue, job.id, "bob", "now")
    assert queue.claim("w", ROOM).attempts == 2
    with pytest.raises(Conflicted, match="not paused"):
        verbs.resume(queue, job.id, "bob", "again")


def test_retry_begins_anew_and_only_what_may(queue):
    job = add(queue)
    wrong = {"attempts": 6, "mismatches": 1, "error": "no route", "error_kind": "network"}
    queue.leave(queue.claim("w", ROOM), State.FAILED, "no route", **wrong)
    assert queue.claim("w", ROOM) is None
    again = verbs.retry(queue, job.id, "bob", "the cable is in")
    assert (again.state, again.attempts, again.mismatches) == (State.QUEUED, 0, 0)
    held = queue.claim("w", ROOM)
    with pytest.raises(Conflicted, match="being worked on"):
        verbs.retry(queue, job.id, "bob", "impatient")
    held = queue.move(held, State.AWAITING_VERIFY, "")
    done = queue.passed(held, State.VERIFIED, "", None, "read")
    assert (done.error, done.error_kind) == ("", "")
    with pytest.raises(Conflicted, match="nothing to try again"):
        verbs.retry(queue, job.id, "bob", "")
    assert verbs.look_again(queue, job.id, "bob", "to be sure").stop == "look"
    with pytest.raises(Conflicted):
        verbs.cancel(queue, job.id, "bob", "too late")


def test_ids_are_found_by_their_beginning(queue):
    jobs = [add(queue, f"n{number}") for number in range(20)]
    assert queue.job(jobs[3].id) == jobs[3]
    assert queue.job(jobs[3].id[:12]) == jobs[3]
    for wanted in ("", "x", "%", "zz"):
        with pytest.raises(BadInput, match="no job"):
            queue.job(wanted)
    first = Counter(one.id[0] for one in jobs).most_common(1)[0][0]
    with pytest.raises(BadInput, match="more than one"):
        queue.job(first)


# --- overrides


def blocked(queue, *rules):
    add(queue)
    held = queue.claim("w", ROOM)
    queue.found(held, [Finding(rule, True, "x", "bad") for rule in rules] + [Finding("empty", False, "y", "soft")])
    return queue.leave(held, State.BLOCKED, "gate", 300)


@pytest.mark.parametrize("reason", ["", " ", "\n\t"])
def test_an_override_wants_a_reason_and_something_hard(queue, reason):
    job = blocked(queue, "names")
    with pytest.raises(BadInput, match="reason"):
        overrides.override(queue, job.id, "names", "bob", reason)
    with pytest.raises(BadInput, match="nothing of class 'empty'"):
        overrides.override(queue, job.id, "empty", "bob", "soft ones block nothing")
    assert overrides.overrides(queue) == []
    assert queue.job(job.id).state is State.BLOCKED


def test_an_override_rearms_its_job_for_its_class_and_is_written_down(queue, hands):
    job = blocked(queue, "names", "secrets")
    other = queue.enqueue("/data/other", "disk", "other", "alice")[0]
    made = overrides.override(queue, job.id, "names", "bob", "the share is ext4")
    assert queue.job(job.id).state is State.QUEUED
    assert queue.claim("w", {"nas": 1}).id == job.id
    with queue.reading() as rows:
        assert overrides.active(rows, job.id) == {"names"}
        assert overrides.active(rows, other.id) == set()
    assert (made.who, made.reason, made.at) == ("bob", "the share is ext4", hands.wall)
    assert queue.history(job.id)[-2].why == "names overridden: the share is ext4"
    with pytest.raises(Conflicted, match="overridden already"):
        overrides.override(queue, job.id, "names", "eve", "me too")


@pytest.mark.parametrize("where", ["queued", "held", "killed"])
def test_a_revoked_override_blocks_again_and_stays_in_the_log(queue, hands, where):
    job = blocked(queue, "names")
    made = overrides.override(queue, job.id, "names", "bob", "fine")
    held = queue.claim("w", ROOM) if where != "queued" else None
    if where == "killed":
        hands.pass_(LEASE)
    overrides.revoke(queue, made.number, "carol", "not fine")
    if where == "held":
        assert queue.renew(held).stop == "block"
    else:
        assert queue.job(job.id).state is State.BLOCKED
    with pytest.raises(Conflicted, match="carol: not fine"):
        overrides.revoke(queue, made.number, "dave", "twice")
    (kept,) = overrides.overrides(queue, job.id)
    assert (kept.reason, kept.revoked_by, kept.revoked_why) == ("fine", "carol", "not fine")
    with queue.reading() as rows:
        assert overrides.revoked(rows, job.id) == {"names"}


def test_what_was_revoked_may_be_overridden_anew(queue):
    job = blocked(queue, "names")
    overrides.revoke(queue, overrides.override(queue, job.id, "names", "bob", "fine").number, "carol", "no")
    overrides.override(queue, job.id, "names", "carol", "checked: fine")
    with queue.reading() as rows:
        assert overrides.revoked(rows, job.id) == set()
    assert queue.job(job.id).state is State.QUEUED


# --- several processes


def test_several_processes_share_the_queue_and_take_each_job_once(tmp_path):
    queue = Queue(str(tmp_path / "queue.db"))
    jobs = {add(queue, f"n{number}").id for number in range(60)}
    taking = [sys.executable, "-m", "support.queues", queue.path]
    takers = [subprocess.Popen(taking, cwd=TESTS, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    taken = [one.communicate(timeout=60)[0].split() for one in takers]
    assert sorted(itertools.chain(*taken)) == sorted(jobs)
    queue.close()


@pytest.mark.parametrize(
    ("asked", "values", "answer"),
    [
        (
            "SELECT * FROM jobs WHERE destination = ? AND due <= ? ORDER BY due, number LIMIT 1", ("", 0),
            "SEARCH jobs USING INDEX jobs_due (destination=? AND due<?)",
        ),
        (
            "SELECT count(*) FROM jobs WHERE destination = ? AND lease <> '' AND due > ?", ("", 0),
            "SEARCH jobs USING INDEX jobs_leased (destination=? AND due>?)",
        ),
        (
            "SELECT min(due) FROM jobs WHERE destination = ? AND due IS NOT NULL", ("",),
            "SEARCH jobs USING COVERING INDEX jobs_due (destination=? AND due>?)",
        ),
        ("SELECT DISTINCT owner FROM jobs WHERE lease <> ''", (), "SCAN jobs USING INDEX jobs_leased"),
        ("SELECT id, stop FROM jobs WHERE lease <> ''", (), "SCAN jobs USING INDEX jobs_leased"),
    ],
)  # fmt: skip
def test_what_workers_ask_again_and_again_needs_no_look_at_the_other_jobs(queue, asked, values, answer):
    plan = queue._connection.execute(f"EXPLAIN QUERY PLAN {asked}", values).fetchall()
    assert plan[0][3] == answer
