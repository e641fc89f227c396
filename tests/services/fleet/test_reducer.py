"""What a report, an offer or a note makes of a host: every report after every state."""

import typing
from typing import Any

import pytest
from msgspec.structs import replace

from requisition.services.fleet import effects, events, reducer
from requisition.services.fleet.actions import DeferDispatch, MarkLost, QueueDispatch, WithdrawDispatch
from requisition.services.fleet.state import Dispatch, HostState, Phase
from support.fleets import MINUTE, OLD, START, Table, made, order_of

MADE = made([["a"]])
ORDER = order_of(1)
REPORTS: dict[type[Any], events.HostEvent] = {
    type(one): one
    for one in (
        events.Began(MADE.id, ORDER, OLD, 3),
        events.Refused(MADE.id, 3, START, "no"),
        events.Activated(MADE.id, ORDER),
        events.RestartNeeded(MADE.id, "kernel"),
        events.ActivationFailed(MADE.id, 1, "a node failed", OLD),
        events.Probed(MADE.id, "answers", passed=True),
        events.SoakFailed(MADE.id, "sick"),
        events.Converged(MADE.id, ORDER),
        events.RollbackBegan(MADE.id, OLD, "failed"),
        events.RolledBack(MADE.id, OLD),
        events.RollbackFailed(MADE.id, 1, "disk full", ORDER),
        events.Restated(Phase.FAILED, MADE.id, ORDER, OLD, ORDER, "", "sick", START, 3),
    )
}


def host(phase: Phase, **fields: Any) -> HostState:
    known = {"rollout": MADE.id, "order": ORDER, "prior": OLD, "standing": ORDER, "activated_at": START, **fields}
    return HostState(name="a", stream="s", seq=4, phase=phase, **known)


def told(state: HostState, event: events.HostEvent, seq: int = 5) -> tuple[HostState, tuple[effects.Effect, ...]]:
    return reducer.step(
        state, events.Report(host="a", stream="s", seq=seq, at=START + MINUTE, event=event), START, MADE
    )


def test_there_is_a_sample_of_every_report() -> None:
    assert set(REPORTS) == set(typing.get_args(events.HostEvent))


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("kind", list(REPORTS), ids=lambda kind: kind.__name__)
def test_every_report_after_every_state_leads_where_the_table_says(phase: Phase, kind: type[Any]) -> None:
    phases, leads_to = reducer.FOLLOWS[kind]
    before = host(phase)
    after, found = told(before, REPORTS[kind])
    assert after.seq == 5, "it is taken in"
    assert found[-1] == effects.Acknowledge("a", "s", 5)
    complained = any(isinstance(one, effects.Tell) and "cannot follow" in one.text for one in found)
    if phase in phases:
        assert not complained
        expected = Phase.FAILED if kind is events.Restated else leads_to or phase
        assert after.phase is expected
    else:
        assert complained
        assert replace(after, seq=4) == before


def test_a_report_about_another_rollout_than_the_hosts_changes_nothing_but_its_number() -> None:
    other = replace(REPORTS[events.Activated], rollout=made([["a"]], serial=2).id)
    before = host(Phase.ACTIVATING)
    after, found = told(before, other)
    assert replace(after, seq=4) == before
    assert any(isinstance(one, effects.Tell) for one in found)


def test_a_report_of_another_stream_is_not_taken_and_not_acknowledged() -> None:
    report = events.Report(host="a", stream="older", seq=5, at=START, event=REPORTS[events.Probed])
    after, found = reducer.step(host(Phase.SOAKING), report, START, MADE)
    assert after == host(Phase.SOAKING)
    assert not any(isinstance(one, effects.Acknowledge) for one in found)


def test_only_a_restatement_may_leave_numbers_out_and_that_is_told() -> None:
    after, found = told(host(Phase.SOAKING), REPORTS[events.Restated], seq=9)
    assert (after.seq, after.phase, after.reason) == (9, Phase.FAILED, "sick")
    assert any(isinstance(one, effects.Tell) and "reports 5 to 8 are gone" in one.text for one in found)


def test_an_activation_with_another_order_than_its_own_has_failed() -> None:
    after, _ = told(host(Phase.ACTIVATING), events.Activated(MADE.id, OLD))
    assert (after.phase, after.standing) == (Phase.FAILED, OLD)


def test_an_activation_forgets_what_probes_said_before_it() -> None:
    seen, _ = told(host(Phase.SOAKING), REPORTS[events.Probed])
    assert seen.probes
    after, _ = told(replace(seen, seq=4, phase=Phase.ACTIVATING), REPORTS[events.Activated])
    assert after.probes == ()
    assert after.activated_at == START + MINUTE, "by the host's own clock"


def test_a_beginning_answers_its_offer_and_older_ones_not_newer_ones() -> None:
    for number, left in ((2, True), (3, True), (4, False)):
        offer = Dispatch(number, MADE.id, ORDER, False, START, START + MINUTE)
        after, found = told(host(Phase.CONVERGED, dispatch=offer), REPORTS[events.Began])
        assert (after.dispatch is None) == left
        assert (effects.PurgeDispatch("a") in found) == left


def test_a_refusal_ends_the_offer_and_is_remembered() -> None:
    offer = Dispatch(3, MADE.id, ORDER, False, START, START + MINUTE)
    after, _ = told(host(Phase.CONVERGED, dispatch=offer), REPORTS[events.Refused])
    assert after.dispatch is None
    assert after.refusal is not None
    assert after.refusal.reason == "no"


# -- what the server does


def note(state: HostState, event: Any) -> tuple[HostState, tuple[effects.Effect, ...]]:
    return reducer.step(state, event, START, None)


def test_an_offer_is_numbered_and_put_out_once() -> None:
    action = QueueDispatch("a", MADE.id, ORDER, START + MINUTE)
    after, found = note(host(Phase.IDLE, dispatches=6), action)
    assert after.dispatch == Dispatch(7, MADE.id, ORDER, False, START, START + MINUTE)
    assert effects.PutDispatch("a", after.dispatch) in found
    assert note(after, action) == (after, ())


def test_an_offer_that_was_handed_out_is_withdrawn_but_still_counted() -> None:
    offer = Dispatch(7, MADE.id, ORDER, False, START, START + MINUTE)
    fresh, _ = note(host(Phase.IDLE, dispatch=offer), WithdrawDispatch("a", 7, "late"))
    assert fresh.dispatch is None
    handed, _ = note(host(Phase.IDLE, dispatch=offer), events.Handed("a", 7))
    kept, found = note(handed, WithdrawDispatch("a", 7, "late"))
    assert kept.changing
    assert kept.dispatch is not None
    assert kept.dispatch.withdrawn
    assert effects.PurgeDispatch("a") in found
    assert note(kept, WithdrawDispatch("a", 7, "late"))[0] == kept
    settled, _ = note(kept, WithdrawDispatch("a", 7, "never begun", settled=True))
    assert not settled.changing
    assert note(kept, WithdrawDispatch("a", 6, "another one")) == (kept, ())


def test_handing_out_is_noted_the_first_time() -> None:
    offer = Dispatch(7, MADE.id, ORDER, False, START, START + MINUTE)
    after, found = note(host(Phase.IDLE, dispatch=offer), events.Handed("a", 7))
    assert found
    assert note(after, events.Handed("a", 7)) == (after, ())
    assert note(after, events.Handed("a", 6)) == (after, ())


def test_the_same_deferral_again_changes_nothing_and_keeps_its_date() -> None:
    action = DeferDispatch("a", MADE.id, "quarantine", "bad")
    after, _ = note(host(Phase.IDLE), action)
    assert reducer.step(after, action, START + MINUTE, None) == (after, ())


def test_a_lost_host_is_counted_no_more_until_what_it_did_is_over() -> None:
    lost, _ = note(host(Phase.ACTIVATING), MarkLost("a", "silent"))
    assert (lost.lost, lost.changing) == (True, False)
    soaking, _ = told(lost, REPORTS[events.Activated])
    assert not soaking.changing
    failed, _ = reducer.step(
        soaking, events.Report(host="a", stream="s", seq=6, at=START, event=REPORTS[events.SoakFailed]), START, MADE
    )
    assert not failed.lost
    again, _ = note(failed, QueueDispatch("a", MADE.id, ORDER, START))
    assert again.changing


def test_a_host_that_is_enrolled_again_begins_a_new_stream_and_keeps_the_count_of_offers() -> None:
    before = host(Phase.CONVERGED, dispatches=6, dispatch=Dispatch(6, MADE.id, ORDER, False, START, START))
    after, found = note(before, events.Enrolled("a", "s2", "key"))
    assert (after.stream, after.seq, after.phase, after.dispatches) == ("s2", 0, Phase.IDLE, 6)
    assert effects.PurgeDispatch("a") in found
    assert note(after, events.Enrolled("a", "s2", "key")) == (after, ())


@pytest.mark.parametrize(
    ("before", "again"),
    [(host(Phase.FAILED), True), (host(Phase.STUCK), True), (host(Phase.REVERTED), True), (host(Phase.SOAKING, lost=True), True),
     (host(Phase.ROLLING_BACK), False), (host(Phase.SOAKING), False), (host(Phase.CONVERGED), False)],
)  # fmt: skip
def test_who_failed_or_was_lost_is_tried_again_and_nobody_else(before: HostState, again: bool) -> None:
    after, found = note(before, events.Retry("a"))
    assert (after.again, after.forgiven) == (again, again)
    assert bool(found) == again
    assert note(replace(before, forgiven=True), events.Retry("a"))[0].forgiven, "what was forgiven stays so"


def test_a_lost_host_keeps_an_offer_that_it_may_have_begun_and_is_given_it_no_more() -> None:
    offer = Dispatch(7, MADE.id, ORDER, False, START, START + MINUTE, handed_at=START)
    lost, found = note(host(Phase.CONVERGED, dispatch=offer), MarkLost("a", "silent"))
    assert lost.dispatch == replace(offer, withdrawn=True)
    assert effects.PurgeDispatch("a") in found
    found_again, _ = note(lost, WithdrawDispatch("a", 7, "it was not begun in time", settled=True))
    assert (found_again.lost, found_again.dispatch) == (False, None)


@pytest.mark.parametrize(("stream", "key"), [("s2", "key"), ("s", "key2")])
def test_another_stream_or_another_key_begins_anew(stream: str, key: str) -> None:
    before = host(Phase.CONVERGED, key="key")
    assert note(before, events.Enrolled("a", "s", "key")) == (before, ())
    after, _ = note(before, events.Enrolled("a", stream, key))
    assert (after.stream, after.key, after.seq) == (stream, key, 0)


def test_a_retry_forgives_and_offers_again() -> None:
    table = Table("a")
    rollout = table.publish(made([["a"]]))
    table.tick()
    table.fails("a")
    table.tick()
    table.verb(events.Resume(rollout, retry=True))
    table.tick()
    assert list(table.offers()) == ["a"]
    table.fails("a")
    table.tick()
    assert table.stage(rollout) == "halted", "a second failure counts again"


def test_a_resume_without_a_retry_leaves_failed_hosts_alone() -> None:
    table = Table("a", "b")
    rollout = table.publish(made([["a"], ["b"]], proven=0))
    table.tick()
    table.fails("a")
    table.tick()
    table.verb(events.Resume(rollout))
    table.tick()
    assert list(table.offers()) == ["b"]
