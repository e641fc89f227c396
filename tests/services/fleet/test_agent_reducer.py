"""What a host decides by itself, and what it does not let a server decide."""

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from requisition.services.fleet import effects, events
from requisition.services.fleet.agent_reducer import step
from requisition.services.fleet.agent_state import (
    AgentState,
    Heard,
    Joined,
    Missing,
    Offered,
    ProbeSeen,
    RollbackEnded,
    RunDeferred,
    RunEnded,
    Said,
    Started,
    Tick,
    terms_of,
)
from requisition.services.fleet.rollout import SKEW
from requisition.services.fleet.state import Phase
from support.fleets import DAY, MINUTE, OLD, SECOND, START, made, order_of

HALT = made([["a"]], serial=5, soak=2 * MINUTE, probes=["answers"])
BACK = made([["a"]], serial=5, soak=2 * MINUTE, probes=["answers"], on_failure="rollback-and-halt")
ORDER = order_of(5)
IDLE = AgentState(host="a", stream="s", good=OLD, standing=OLD)
OFFER = Offered(1, False, terms_of(BACK, "a"), START, START)


def after(agent: AgentState, *said: Said, at: int = START) -> AgentState:
    for one in said:
        agent, _ = step(agent, one, at)
    return agent


def reports(found: tuple[effects.Effect, ...]) -> list[Any]:
    return [one.event for one in found if isinstance(one, effects.EmitEvent)]


ACTIVATING = after(IDLE, OFFER)
SOAKING = after(ACTIVATING, RunEnded(ok=True, standing=ORDER))
CONFIRMED = after(SOAKING, Heard(SOAKING.seq))
CONVERGED = after(after(CONFIRMED, ProbeSeen("answers", passed=True)), Tick(), at=START + 2 * MINUTE)


def test_an_offer_is_begun_with_its_report_before_its_run() -> None:
    agent, found = step(IDLE, OFFER, START)
    began = events.Began(BACK.id, ORDER, OLD, 1)
    assert found[0] == effects.EmitEvent(1, START, began)
    assert effects.RunOrder(BACK.id, ORDER) in found[1:]
    assert (agent.phase, agent.serial, agent.deadline) == (Phase.ACTIVATING, 5, START + 10 * MINUTE)


@pytest.mark.parametrize(
    ("offer", "why"),
    [
        (OFFER._replace(objection="it is not signed"), "it is not signed"),
        (
            OFFER._replace(terms=terms_of(made([["a"]], serial=4), "a")),
            "its serial 4 is lower than 5, begun here before",
        ),
        (OFFER._replace(tip=START - DAY - SKEW - 1), "what was signed for its channel is too old"),
        (OFFER._replace(tip=START + SKEW + 1), "what was signed for its channel is of the future"),
        (
            OFFER._replace(recall=True, terms=terms_of(HALT, "a")),
            "its policy is to halt, and no operator signed that it goes back",
        ),
    ],
)
def test_an_offer_that_must_not_be_taken_is_refused_and_that_is_reported(offer: Offered, why: str) -> None:
    agent, found = step(replace(IDLE, serial=5), offer, START)
    assert reports(found) == [events.Refused(offer.terms.rollout, 1, offer.tip, why)]
    assert (agent.phase, agent.dispatches) == (Phase.IDLE, 1)
    assert not any(isinstance(one, (effects.RunOrder, effects.TakeBack)) for one in found)


@pytest.mark.parametrize(
    "offer",
    [OFFER._replace(tip=START - DAY - SKEW), OFFER._replace(tip=START + SKEW), OFFER._replace(asked_at=START - MINUTE)],
)
def test_an_offer_at_the_edge_of_what_is_permitted_is_taken(offer: Offered) -> None:
    assert after(replace(IDLE, serial=5), offer).phase is Phase.ACTIVATING


def test_an_offer_that_comes_again_too_late_or_in_between_changes_nothing() -> None:
    for agent, offer in (
        (CONVERGED, OFFER),
        (IDLE, OFFER._replace(asked_at=START - MINUTE - 1)),
        (ACTIVATING, OFFER._replace(number=2)),
    ):
        assert step(agent, offer, START)[0] == agent
        assert reports(step(agent, offer, START)[1]) == []


def test_an_acknowledgement_from_before_the_activation_confirms_nothing() -> None:
    agent = after(ACTIVATING, Heard(ACTIVATING.seq))
    assert agent.deadline == START + 10 * MINUTE
    soaking = after(agent, RunEnded(ok=True, standing=ORDER))
    assert after(soaking, Heard(soaking.seq - 1)).deadline
    assert after(soaking, Heard(soaking.seq)).deadline == 0


def test_what_an_earlier_rollout_left_in_the_record_is_forgotten_when_another_begins() -> None:
    newer = OFFER._replace(number=2, terms=terms_of(made([["a"]], serial=6), "a"))
    agent = after(CONVERGED, newer)
    assert (agent.confirm, agent.activated_at, agent.probes, agent.cause, agent.reason) == (0, 0, (), "", "")


def test_it_converges_when_it_soaked_was_seen_passes_and_is_confirmed() -> None:
    assert CONVERGED.phase is Phase.CONVERGED
    assert CONVERGED.good == ORDER
    late = START + 3 * MINUTE
    assert after(CONFIRMED, Tick(), at=late).phase is Phase.SOAKING, "no probe was seen"
    unconfirmed = after(SOAKING, ProbeSeen("answers", passed=True))
    assert after(unconfirmed, Tick(), at=late).phase is Phase.SOAKING
    assert after(unconfirmed, Heard(unconfirmed.seq), at=late).phase is Phase.CONVERGED


def test_a_run_that_is_not_over_at_the_deadline_is_stopped_and_taken_back() -> None:
    agent, found = step(ACTIVATING, Tick(), START + 10 * MINUTE)
    assert effects.StopRun() in found
    assert found.index(effects.StopRun()) < found.index(effects.TakeBack(BACK.id, ORDER, OLD))
    assert (agent.phase, agent.cause) == (Phase.ROLLING_BACK, "unconfirmed")
    assert after(agent, RunEnded(ok=True, standing=ORDER)).phase is Phase.ROLLING_BACK, "its end comes too late"


def test_it_asks_to_be_woken_for_its_deadline_its_soak_and_a_probe_that_fails() -> None:
    assert effects.WakeAt(START + 10 * MINUTE) in step(IDLE, OFFER, START)[1]
    assert effects.WakeAt(START + 2 * MINUTE) in step(SOAKING, Heard(SOAKING.seq), START)[1]
    failing = step(CONFIRMED, ProbeSeen("answers", passed=False), START + SECOND)[1]
    assert effects.WakeAt(START + SECOND + MINUTE) in failing
    assert not any(isinstance(one, effects.WakeAt) for one in step(CONVERGED, Tick(), START + DAY)[1])


def test_a_failed_run_that_left_nothing_behind_is_told_and_nothing_is_taken_back() -> None:
    agent, found = step(ACTIVATING, RunEnded(ok=False, standing=OLD, exit_code=1, reason="a node failed"), START)
    assert reports(found) == [events.ActivationFailed(BACK.id, 1, "a node failed", OLD)]
    assert (agent.phase, agent.deadline) == (Phase.FAILED, 0)


def test_a_failed_run_that_left_something_behind_is_taken_back_where_policy_says_so() -> None:
    end = RunEnded(ok=False, standing="", exit_code=1, reason="a node failed")
    assert after(ACTIVATING, end).phase is Phase.ROLLING_BACK
    halting = after(IDLE, OFFER._replace(terms=terms_of(HALT, "a")), end)
    assert (halting.phase, halting.standing) == (Phase.FAILED, "")


def test_a_run_after_which_another_order_stands_is_a_failure() -> None:
    agent, found = step(ACTIVATING, RunEnded(ok=True, standing=order_of(9)), START)
    assert agent.phase is Phase.ROLLING_BACK
    assert "another order stands" in reports(found)[0].reason


@pytest.mark.parametrize(("made_by", "phase"), [(BACK, Phase.ROLLING_BACK), (HALT, Phase.FAILED)])
def test_probes_that_fail_for_too_long_are_followed_by_what_policy_says(made_by: Any, phase: Phase) -> None:
    agent = after(IDLE, OFFER._replace(terms=terms_of(made_by, "a")), RunEnded(ok=True, standing=ORDER))
    agent = after(agent, Heard(agent.seq), ProbeSeen("answers", passed=False))
    assert after(agent, Tick(), at=START + MINUTE - 1).phase is Phase.SOAKING
    assert after(agent, Tick(), at=START + MINUTE).phase is phase


def test_a_probe_that_fails_after_it_converged_is_told_and_nothing_more() -> None:
    agent, found = step(CONVERGED, ProbeSeen("answers", passed=False, reason="no answer"), START + DAY)
    assert reports(found) == [events.Probed(BACK.id, "answers", passed=False, reason="no answer")]
    assert after(agent, Tick(), at=START + 2 * DAY).phase is Phase.CONVERGED
    assert step(agent, ProbeSeen("answers", passed=False), START + DAY)[1] == (), "the same again is not told"


def test_it_goes_back_when_it_is_called_back() -> None:
    agent, found = step(CONVERGED, OFFER._replace(number=2, recall=True), START)
    assert reports(found) == [events.RollbackBegan(BACK.id, OLD, "recalled", "the rollout is taken back", 2)]
    agent, found = step(agent, RollbackEnded(ok=True, standing=OLD), START)
    assert reports(found) == [events.RolledBack(BACK.id, OLD)]
    newer = OFFER._replace(number=3, terms=terms_of(made([["a"]], serial=6), "a"))
    assert after(agent, newer).prior == OLD, "what was taken back is nothing to go back to"


def test_a_policy_to_halt_goes_back_by_the_word_of_an_operator_alone() -> None:
    agent = replace(CONVERGED, terms=terms_of(HALT, "a"))
    offer = OFFER._replace(number=2, recall=True, terms=terms_of(HALT, "a"))
    assert after(agent, offer).phase is Phase.CONVERGED
    assert after(agent, offer._replace(authority="operator")).phase is Phase.ROLLING_BACK


@pytest.mark.parametrize(
    ("authority", "phase"), [("", Phase.CONVERGED), ("proof", Phase.ROLLING_BACK), ("operator", Phase.ROLLING_BACK)]
)
def test_where_keys_are_known_a_server_must_prove_that_others_failed(authority: Any, phase: Phase) -> None:
    terms = replace(terms_of(BACK, "a"), keyed=True)
    offer = OFFER._replace(number=2, recall=True, terms=terms, authority=authority)
    agent, found = step(replace(CONVERGED, terms=terms), offer, START)
    assert agent.phase is phase
    if not authority:
        assert "nothing proves that enough hosts failed" in reports(found)[0].reason


def test_a_recall_with_nothing_to_go_back_from_is_answered_with_how_it_stands() -> None:
    for agent in (IDLE, replace(CONVERGED, terms=terms_of(made([["a"]], serial=6), "a"))):
        new, found = step(agent, OFFER._replace(number=2, recall=True), START)
        assert [type(one) for one in reports(found)] == [events.Restated]
        assert new.phase is agent.phase


def test_what_failed_and_left_nothing_behind_is_not_gone_back_from_but_what_waits_for_a_restart_is() -> None:
    recall = OFFER._replace(number=2, recall=True)
    failed = after(ACTIVATING, RunEnded(ok=False, standing=OLD, exit_code=1))
    assert after(failed, recall).phase is Phase.FAILED
    waiting = after(ACTIVATING, RunDeferred("kernel"))
    assert waiting.standing == waiting.prior == OLD
    assert after(waiting, recall).phase is Phase.ROLLING_BACK
    reverted = after(after(CONVERGED, recall), RollbackEnded(ok=True, standing=OLD))
    assert after(reverted, recall._replace(number=3)).phase is Phase.REVERTED


@pytest.mark.parametrize(
    ("said", "reason"),
    [("a disk is full", "a disk is full"), ("", "another order stands there than the one it went back to")],
)
def test_a_failed_rollback_says_why(said: str, reason: str) -> None:
    back = after(ACTIVATING, Tick(), at=START + 10 * MINUTE)
    _, found = step(back, RollbackEnded(ok=False, standing=ORDER, exit_code=4, reason=said), START)
    assert reports(found) == [events.RollbackFailed(BACK.id, 4, reason, ORDER)]


def test_after_a_restart_it_goes_on_where_it_was() -> None:
    agent, found = step(ACTIVATING, Started(OLD), START + MINUTE)
    assert (agent, found[0]) == (ACTIVATING, effects.RunOrder(BACK.id, ORDER))
    assert after(ACTIVATING, Started(ORDER)).phase is Phase.SOAKING
    back = after(ACTIVATING, Tick(), at=START + 10 * MINUTE)
    assert effects.TakeBack(BACK.id, ORDER, OLD) in step(back, Started(ORDER), START)[1]
    assert effects.StartProbes(BACK.id, BACK.rollout.probes) in step(CONVERGED, Started(ORDER), START)[1]
    assert step(IDLE, Started(""), START) == (IDLE, ())


def test_after_a_restart_a_deadline_that_passed_meanwhile_counts() -> None:
    agent, found = step(SOAKING, Started(ORDER), START + DAY)
    assert (agent.phase, agent.cause) == (Phase.ROLLING_BACK, "unconfirmed")
    assert effects.TakeBack(BACK.id, ORDER, OLD) in found


def test_an_order_that_needs_a_restart_takes_hold_after_it_and_is_confirmed_from_then_on() -> None:
    waiting, found = step(ACTIVATING, RunDeferred("kernel"), START)
    assert reports(found) == [events.RestartNeeded(BACK.id, "kernel")]
    assert after(waiting, Tick(), at=START + DAY).phase is Phase.RESTART, "nobody knows when it is restarted"
    up = after(waiting, Started(ORDER), at=START + DAY)
    assert (up.phase, up.deadline) == (Phase.SOAKING, START + DAY + 10 * MINUTE)
    assert after(waiting, Started(OLD), at=START + DAY).phase is Phase.FAILED
    assert after(waiting, Started(""), at=START + DAY).phase is Phase.ROLLING_BACK


def test_what_the_server_lost_is_told_anew_as_it_stands() -> None:
    agent, found = step(CONVERGED, Missing(), START + DAY)
    restated = reports(found)[0]
    assert (restated.phase, restated.rollout, restated.standing) == (Phase.CONVERGED, BACK.id, ORDER)
    assert agent.seq == CONVERGED.seq + 1


def test_a_host_that_is_enrolled_again_says_how_it_stands_first() -> None:
    agent, found = step(CONVERGED, Joined("t"), START + DAY)
    assert [(one.seq, type(one.event)) for one in found if isinstance(one, effects.EmitEvent)] == [(1, events.Restated)]
    assert (agent.stream, agent.seq, agent.dispatches, agent.serial) == ("t", 1, 0, 5), "what was begun stays begun"
    unconfirmed, _ = step(SOAKING, Joined("t"), START + SECOND)
    assert after(unconfirmed, Heard(1)).deadline == 0, "its restatement is what confirms it now"
    assert after(unconfirmed, Heard(0)).deadline
    joined, _ = step(ACTIVATING, Joined("t"), START + SECOND)
    assert after(joined, Heard(1)).deadline, "nothing is activated that could be confirmed"


def test_a_newer_offer_goes_back_to_the_order_that_converged() -> None:
    newer = OFFER._replace(number=2, terms=terms_of(made([["a"]], serial=6), "a"))
    assert after(CONVERGED, newer).prior == ORDER
    assert after(SOAKING, newer).prior == OLD


def test_what_a_tool_printed_at_length_is_told_in_a_report_that_can_be_read() -> None:
    _, found = step(ACTIVATING, RunEnded(ok=False, standing=OLD, exit_code=1, reason="x" * 100_000), START)
    told = reports(found)[0]
    assert told.reason == "x" * 2047 + "…"
    report = events.Report(host="a", stream="s", seq=2, at=START, event=told)
    assert msgspec.json.decode(msgspec.json.encode(report), type=events.Report) == report


@pytest.mark.parametrize("agent", [IDLE, ACTIVATING, SOAKING, CONVERGED], ids=lambda agent: agent.phase)
def test_the_state_of_a_host_is_read_as_it_was_saved(agent: AgentState) -> None:
    assert msgspec.json.decode(msgspec.json.encode(agent), type=AgentState) == agent
