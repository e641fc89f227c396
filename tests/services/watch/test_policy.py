"""What a change of a ref means, what runs next, what becomes of a failure: laws over any course of events."""

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from requisition.services.watch import policy
from requisition.services.watch.config import MAX_WAIT, Watch
from requisition.services.watch.policy import Ref

COMMITS = st.sampled_from([letter * 40 for letter in "abcd"])
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("seen"), st.one_of(COMMITS, st.just(""))),
        st.tuples(st.just("start"), st.just("")),
        st.tuples(st.just("end"), st.sampled_from(["good", "failed", "refused"])),
        st.tuples(st.just("ask"), st.just("")),
    ),
    max_size=30,
)
RANDOM = random.Random(1)


def watch(**fields):
    return Watch(name="web", url="/srv/web.git", **fields)


def course(events, keep):
    """The row after each event, as the daemon would make them, time passing enough for every retry."""
    ref, now = Ref(watch="web", ref="refs/heads/main"), 0.0
    for kind, what in events:
        now += 2 * MAX_WAIT
        if kind == "seen":
            ref = policy.observed(ref, what, now)
        elif kind == "start" and policy.due([ref], now):
            ref = policy.started(ref)
        elif kind == "end" and ref.running:
            ref = policy.ended(ref, keep, what, "why", now, RANDOM)
        elif kind == "ask":
            ref = policy.requested(ref, now, forced=True)
        yield kind, what, ref


@given(EVENTS, st.integers(0, 3))
def test_only_success_moves_the_last_good_commit_and_what_runs_is_what_was_queued(events, retries):
    before = Ref(watch="web", ref="refs/heads/main")
    for kind, what, ref in course(events, watch(retries=retries)):
        if ref.good != before.good:
            assert (kind, what) == ("end", "good")
            assert ref.good == before.running
        if ref.running != before.running:
            assert ref.running in ("", before.queued)
        before = ref


@given(EVENTS, st.integers(0, 3))
def test_the_newest_commit_is_never_silently_skipped(events, retries):
    """What the remote has runs, waits, is good, or failed as often as it may: nothing else."""
    for _, _, ref in course(events, watch(retries=retries)):
        if ref.seen and not ref.gone:
            assert ref.seen in (ref.running, ref.queued, ref.good) or ref.failed == ref.seen


@given(EVENTS, st.integers(0, 3))
def test_a_commit_is_tried_no_more_often_than_policy_and_people_say(events, retries):
    tries: dict[str, int] = {}
    for kind, _, ref in course([event for event in events if event[0] != "ask"], watch(retries=retries)):
        if kind == "seen" and ref.queued == ref.seen and ref.attempts == 0:
            tries[ref.seen] = 0  # it is new, or came back
        if kind == "start" and ref.running:
            tries.setdefault(ref.running, 0)
        if kind == "end" and ref.failed and not ref.queued:
            assert ref.attempts <= retries + 1


@given(st.integers(1, 200), st.floats(0.01, 100), st.floats(0.01, MAX_WAIT))
def test_waits_double_up_to_a_limit_and_are_spread(failures, first, limit):
    assert 0 < policy.pause(first, failures, limit, RANDOM) <= limit * 1.1
    assert policy.pause(first, failures, limit, RANDOM) >= min(first, limit) * 0.9


def test_what_failed_least_runs_first_so_that_a_bad_branch_starves_no_other():
    bad = Ref(watch="web", ref="refs/heads/a", queued="a" * 40, attempts=3, next_at=1)
    good = Ref(watch="web", ref="refs/heads/b", queued="b" * 40, next_at=5)
    assert policy.due([bad, good], 10) == good
    assert policy.due([bad, good], 2) == bad
    assert policy.due([bad, msgspec.structs.replace(good, running="c" * 40)], 10) is None


def test_a_clock_that_was_set_back_does_not_put_a_retry_off_for_years():
    ref = Ref(watch="web", ref="refs/heads/a", queued="a" * 40, attempts=1, next_at=1_800_000_000)
    assert policy.due([ref], 1_799_999_990) is None
    assert policy.due([ref], 1_000_000_000) == ref
    assert policy.due_in([ref], 1_000_000_000) == 0


@pytest.mark.parametrize(("failures", "paused"), [(2, False), (3, True)])
def test_a_watch_is_paused_when_it_failed_often_enough_in_a_row(failures, paused):
    assert bool(policy.pausing(watch(on_failure="pause", pause_after=3), failures, "why")) is paused
    assert policy.pausing(watch(), 100, "why") == ""


@pytest.mark.parametrize(
    ("ref", "good", "commit", "follows", "expected"),
    [
        ("refs/heads/main", "", "a", False, False),
        ("refs/heads/main", "a", "b", True, False),
        ("refs/heads/main", "a", "b", False, True),
        ("refs/heads/main", "a", "a", False, False),
        ("refs/tags/v1", "a", "b", True, True),
        ("refs/tags/v1", "a", "a", True, False),
    ],
)
def test_a_branch_is_rewritten_when_it_does_not_follow_and_a_tag_when_it_moves(ref, good, commit, follows, expected):
    assert policy.rewritten(ref, good, commit, follows=follows) is expected
