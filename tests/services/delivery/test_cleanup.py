import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from requisition.services.delivery.cleanup import Facts, decide, due_in, enough, separate
from requisition.services.delivery.config import Cleanup
from requisition.services.delivery.job import Job, Moment, Pass, surely_passed
from requisition.services.delivery.states import State

POLICY = Cleanup(enabled=True, passes=2, min_age=86400.0, interval=43200.0)
JOB = Job(
    number=1, id="j", source="/s", destination="d", target="t", state=State.CLEANUP_ELIGIBLE, enqueued_at=0,
    changed_at=0, manifest="m",
)  # fmt: skip


def at(seconds, boot="b"):
    return Moment(1e9 + seconds, 100 + seconds, boot)


def proved(*seconds):
    return tuple(Pass(at(one), "m", "read") for one in seconds)


GOOD = Facts(passes=proved(0, 43200), now=at(86400), unchanged="", reachable="", verified_now="")
SPOILED = {
    "enabled": (Cleanup(enabled=False, passes=2, min_age=86400.0, interval=43200.0), {}),
    "passes": (POLICY, {"passes": proved(0)}),
    "age": (POLICY, {"now": at(86399)}),
    "overrides": (POLICY, {"revoked": ("names",)}),
    "needed": (POLICY, {"needed_by": ("other",)}),
    "unchanged": (POLICY, {"unchanged": "'a' changed"}),
    "reachable": (POLICY, {"reachable": "no route"}),
    "verified": (POLICY, {"verified_now": "1 different: 'a'"}),
}


def holding(policy, facts):
    return {one.name: one.holds for one in decide(policy, JOB, facts)}


def test_the_source_may_go_when_every_interlock_holds():
    assert holding(POLICY, GOOD) == dict.fromkeys(SPOILED, True)


def test_clean_up_is_off_unless_configured():
    assert not Cleanup().enabled


@pytest.mark.parametrize("name", SPOILED)
def test_each_interlock_alone_keeps_the_source_and_says_why(name):
    policy, changed = SPOILED[name]
    found = decide(policy, JOB, msgspec.structs.replace(GOOD, **changed))
    assert [one.name for one in found if not one.holds] == [name]
    assert all(one.why for one in found)


@pytest.mark.parametrize("name", ["unchanged", "reachable", "verified_now"])
def test_what_was_not_looked_at_does_not_hold(name):
    facts = msgspec.structs.replace(GOOD, **{name: None})
    assert [one.why for one in decide(POLICY, JOB, facts) if not one.holds] == ["not looked at yet"]


def test_passes_close_together_or_of_another_manifest_count_as_one():
    assert len(separate(POLICY, JOB, proved(0, 1, 2, 43199, 43200, 50000, 86400))) == 3
    assert separate(POLICY, JOB, (Pass(at(0), "of before", "read"),)) == []


@pytest.mark.parametrize("jump", [1e9, -1e9])
def test_a_jump_of_the_clock_makes_nothing_old_and_no_passes_separate(jump):
    first = Pass(Moment(1e9, 100, "b"), "m", "read")
    second = Pass(Moment(1e9 + jump, 101, "b"), "m", "read")
    now = Moment(1e9 + jump, 102, "b")
    assert holding(POLICY, msgspec.structs.replace(GOOD, passes=(first, second), now=now))["age"] is False
    assert len(separate(POLICY, JOB, (first, second))) == 1


def test_across_a_reboot_the_wall_clock_counts():
    later = Moment(1e9 + 86400, 3, "another boot")
    assert surely_passed(at(0), later) == 86400
    assert holding(POLICY, msgspec.structs.replace(GOOD, passes=proved(0, 43200), now=later))["age"] is True


moments = st.builds(Moment, st.floats(0, 2e5), st.floats(0, 2e5), st.sampled_from(["b1", "b2"]))


@given(st.lists(moments, max_size=6), moments, st.sampled_from([POLICY, Cleanup(True, 1, 0.0, 0.0), Cleanup()]))
def test_what_is_due_now_can_be_done_now_and_what_may_go_was_proved(when, now, policy):
    passes = tuple(Pass(one, "m", "read") for one in when)
    wait = due_in(policy, JOB, passes, now)
    if enough(policy, JOB, passes, now):
        apart = separate(policy, JOB, passes)
        assert policy.enabled
        assert len(apart) >= policy.passes
        assert all(surely_passed(a.when, b.when) >= policy.interval for a, b in itertools.pairwise(apart))
        assert surely_passed(apart[0].when, now) >= policy.min_age
        assert wait == 0
    assert (wait is None) is not policy.enabled
    if wait is not None:
        assert 0 <= wait <= max(policy.interval, policy.min_age)
