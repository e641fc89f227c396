"""What an event makes of a rollout: every event after every state; verbs are good once."""

from typing import Any

import pytest

from requisition.services.fleet import actions, effects, events, rollout_reducer
from requisition.services.fleet.fold import COMMAND_WINDOW
from requisition.services.fleet.state import RolloutState, Stage
from support.fleets import START, Table, made, order_of

ID = made([["a"]]).id
EVENTS: list[Any] = [
    actions.OpenRollout("other", "web", 2),
    actions.PromoteWave(ID, 1),
    actions.CompleteRollout(ID),
    actions.HaltRollout(ID, "sick"),
    actions.RollBackRollout(ID, "sick"),
    actions.CloseRollback(ID, "sick"),
    events.Halt(ID, "sick"),
    events.Pause(ID),
    events.Resume(ID),
    events.Cancel(ID, "enough"),
    events.RollBack(ID, "enough"),
    events.Promote(ID, 1, "now"),
]


def test_there_is_a_sample_of_every_event() -> None:
    assert {type(one) for one in EVENTS} == set(rollout_reducer.FOLLOWS)


@pytest.mark.parametrize("stage", list(Stage))
@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_every_event_after_every_state_leads_where_the_table_says(stage: Stage, event: Any) -> None:
    stages, leads_to = rollout_reducer.FOLLOWS[type(event)]
    before = RolloutState(id=ID, channel="web", serial=1, stage=stage)
    after, found = rollout_reducer.step(before, event, START, "ada", 2)
    if stage in stages:
        assert after.stage is leads_to
        assert found == (effects.SaveRollout(after),)
        if leads_to is not stage:
            assert (after.since, after.by) == (START, "ada")
    else:
        assert after is before
        by_operator = type(event).__module__ == events.__name__
        assert [type(one) for one in found] == ([effects.RefuseVerb] if by_operator else [])


@pytest.mark.parametrize(
    ("wave", "why"),
    [(0, "0 is the last open one; 1 would be the next"), (2, "0 is the last open one; 1 would be the next"), (1, "")],
)
def test_waves_open_one_after_the_other_and_never_again(wave: int, why: str) -> None:
    before = RolloutState(id=ID, channel="web", serial=1)
    assert why in rollout_reducer.objection(before, events.Promote(ID, wave, "x"), 2)
    assert bool(why) == bool(rollout_reducer.objection(before, events.Promote(ID, wave, "x"), 2))


def test_the_last_wave_has_none_after_it() -> None:
    before = RolloutState(id=ID, channel="web", serial=1, wave=1)
    assert rollout_reducer.objection(before, actions.PromoteWave(ID, 2), 2) == "the last wave is open already"


def test_a_verb_is_in_the_log_with_who_said_it_and_is_good_once() -> None:
    table = Table("a")
    rollout = table.publish(made([["a"]]))
    table.tick()
    table.verb(events.Halt(rollout, "smoke"), nonce="n" * 16)
    assert table.log[-1].event.by == "ada"  # type: ignore[union-attr]
    assert table.fleet.rollouts[rollout].by == "ada"
    table.verb(events.Resume(rollout))
    found = table.verb(events.Halt(rollout, "smoke"), nonce="n" * 16)
    assert found == (effects.RefuseVerb("this was used before"),)
    assert table.stage(rollout) == "active"
    table.now += 3 * COMMAND_WINDOW
    table.verb(events.Pause(rollout))
    assert "n" * 16 not in table.fleet.nonces, "it is too old to be used again anyway"


@pytest.mark.parametrize(
    ("verb", "why"),
    [
        (events.Halt("sha256:" + "0" * 64, "x"), "there is no such rollout"),
        (events.Retry("nobody"), "there is no such host"),
        (events.Retry("a"), "there is nothing to try again"),
        (events.Retire("nobody"), "there is no such host"),
        (events.LiftQuarantine("web", order_of(1)), "it is not in quarantine"),
    ],
)
def test_a_verb_that_does_not_apply_is_refused_in_words_and_not_logged(verb: events.Verb, why: str) -> None:
    table = Table("a")
    rows = len(table.log)
    found = table.verb(verb)
    assert len(table.log) == rows
    assert found == (effects.RefuseVerb(why),)


def test_a_quarantine_stops_an_order_and_can_be_lifted() -> None:
    table = Table("a")
    table.publish(made([["a"]]))
    table.tick()
    table.verb(events.Quarantine("web", order_of(1), "bad"))
    assert table.offers() == {}
    assert table.verb(events.Quarantine("web", order_of(1), "bad")) == (
        effects.RefuseVerb("it is in quarantine already"),
    )
    table.tick()
    assert table.host("a").deferral.reason == "its order is in quarantine: bad"  # type: ignore[union-attr]
    table.verb(events.LiftQuarantine("web", order_of(1)))
    table.tick()
    assert list(table.offers()) == ["a"]


def test_a_retired_host_is_gone_and_nobody_waits_for_it() -> None:
    table = Table("a", "b")
    rollout = table.publish(made([["a", "b"]]))
    table.tick()
    table.converges("a")
    table.verb(events.Retire("b", "scrapped"))
    table.tick()
    assert table.stage(rollout) == "completed"
    assert "b" not in table.fleet.presence
