"""What fleets of this kind get wrong elsewhere, part two: reports, offline hosts, budgets, the log."""

from requisition.services.fleet import actions, effects, events
from requisition.services.fleet.agent_reducer import step
from requisition.services.fleet.agent_state import (
    AgentState,
    Heard,
    Offered,
    ProbeSeen,
    RunEnded,
    terms_of,
)
from requisition.services.fleet.fold import fold, heard
from requisition.services.fleet.rollout import Budget, Health
from requisition.services.fleet.state import FleetState, Phase, Presence, Stage
from support.fleets import MINUTE, OLD, SECOND, START, Table, made, order_of

WEB = ("a", "b", "c", "d")
_LOGGED = [field for field in FleetState.__struct_fields__ if field not in ("presence", "up_since")]


# -- delivery of reports


def test_a_report_is_acknowledged_with_what_has_to_be_written_and_after_it() -> None:
    table = Table("a")
    table.publish(made([["a"]]))
    table.tick()
    table.begins("a")
    names = [type(one).__name__ for one in table.last]
    assert names[0] == "AppendLog"
    assert names[-1] == "Acknowledge"
    assert "SaveHost" in names


def test_a_report_that_is_told_again_is_acknowledged_and_changes_nothing() -> None:
    table = Table("a")
    rollout = table.publish(made([["a"]]))
    table.tick()
    table.begins("a")
    before, rows = table.fleet, len(table.log)
    found = table.report("a", events.Began(rollout, order_of(1), OLD, 1), seq=1)
    assert effects.Acknowledge("a", "a-1", 1) in found
    assert (table.fleet, len(table.log)) == (before, rows)


def test_a_gap_in_a_hosts_reports_is_noticed_and_the_missing_ones_are_asked_for() -> None:
    table = Table("a")
    rollout = table.publish(made([["a"]]))
    table.tick()
    before = table.fleet
    found = table.report("a", events.Activated(rollout, order_of(1)), seq=2)
    assert effects.AskAgain("a", "a-1", 1) in found
    assert not any(isinstance(one, effects.Acknowledge) for one in found)
    assert table.fleet == before


def test_a_report_that_cannot_follow_is_taken_in_told_and_holds_nothing_up() -> None:
    table = Table("a")
    rollout = table.publish(made([["a"]]))
    found = table.report("a", events.RolledBack(rollout, OLD))
    assert effects.Acknowledge("a", "a-1", 1) in found
    assert any(isinstance(one, effects.Tell) for one in found)
    assert (table.host("a").phase, table.host("a").seq) == (Phase.IDLE, 1)


def test_a_host_never_gives_a_number_twice_whatever_it_is_told() -> None:
    agent = AgentState(host="a", stream="s", good=OLD, standing=OLD)
    agent, _ = step(agent, Offered(1, False, terms_of(made([["a"]], probes=["answers"]), "a"), START, START), START)
    numbers = [agent.seq]
    for said in (Heard(0), Heard(99), RunEnded(ok=True, standing=order_of(1)), ProbeSeen("answers", passed=True)):
        agent, found = step(agent, said, START + MINUTE)
        numbers += [one.seq for one in found if isinstance(one, effects.EmitEvent)]
    assert numbers == sorted(set(numbers)) == list(range(1, agent.seq + 1))


def test_a_heartbeat_overwrites_nothing_and_an_old_one_does_not_come_true_again() -> None:
    table = Table("a")
    table.publish(made([["a"]]))
    table.tick()
    table.activates("a")
    table.wait(MINUTE)
    hosts, rows = table.fleet.hosts, len(table.log)
    stale = events.Heartbeat(host="a", stream="a-1", seq=0, heard=START)
    table.fleet, found = heard(table.fleet, stale, table.now)
    assert table.fleet.hosts == hosts
    assert table.fleet.presence["a"] == Presence(table.now, 2, table.now)
    assert (found, len(table.log)) == ((), rows)


def test_a_heartbeat_that_knows_of_more_reports_makes_the_server_ask_for_them() -> None:
    table = Table("a")
    word = events.Heartbeat(host="a", stream="a-1", seq=3)
    assert heard(table.fleet, word, table.now)[1] == (effects.AskAgain("a", "a-1", 1),)


# -- offline, superseded


def test_a_host_that_is_offline_is_skipped_and_later_given_only_the_present_target() -> None:
    table = Table(*WEB)
    table.away = {"b"}
    table.wait(10 * MINUTE)
    first = table.publish(made([["a", "b"], ["c", "d"]]))
    table.tick()
    assert list(table.offers()) == ["a"]
    table.converges("a")
    table.tick()
    assert sorted(table.offers()) == ["c", "d"], "its wave went on without it"
    table.converges("c", "d")
    table.tick()
    assert table.stage(first) == Stage.COMPLETED
    second = table.publish(made([["a", "b"], ["c", "d"]], serial=2))
    table.tick()
    table.away = set()
    table.wait(MINUTE)
    table.tick()
    assert table.offers()["b"].rollout == second
    table.converges("b")
    assert table.host("b").standing == order_of(2)


def test_the_offer_of_a_superseded_rollout_is_purged() -> None:
    table = Table("a")
    table.publish(made([["a"]]))
    table.tick()
    second = table.publish(made([["a"]], serial=2))
    table.note(events.Planned(actions.OpenRollout(second, "web", 2)))
    assert table.offers() == {}, "not even before the next tick"
    table.tick()
    assert table.offers()["a"].rollout == second


def test_an_offer_that_was_handed_out_is_not_replaced_before_it_is_certain_that_it_was_not_begun() -> None:
    table = Table("a")
    table.publish(made([["a"]]))
    table.tick()
    table.note(events.Handed("a", 1))
    table.publish(made([["a"]], serial=2))
    table.tick()
    assert table.offers() == {}
    assert table.host("a").changing, "it may have begun: budgets count it"
    table.now += 7 * MINUTE
    table.tick()
    assert table.offers() == {}, "nothing was heard since"
    table.beat()
    table.tick()
    assert table.offers()["a"].order == order_of(2)


# -- budgets, health


def test_a_budget_by_percent_is_enforced() -> None:
    hosts = [f"h{number:02d}" for number in range(20)]
    table = Table(*hosts)
    table.publish(made([hosts], budgets=[Budget("tenth", tuple(hosts), percent=10)]))
    table.tick()
    assert sorted(table.offers()) == ["h00", "h01"]
    table.begins("h00")
    table.tick()
    assert sorted(table.offers()) == ["h01"]
    table.converges("h01")
    table.tick()
    assert sorted(table.offers()) == ["h02"]


def test_a_budget_counts_hosts_that_still_change_for_a_superseded_rollout_and_for_other_channels() -> None:
    budget = Budget("both", ("a", "b"), max=1)
    table = Table("a", "b")
    table.publish(made([["a"]], budgets=[budget]))
    table.tick()
    table.begins("a")
    table.publish(made([["a"]], serial=2, budgets=[budget]))
    table.publish(made([["b"]], channel="db", serial=3, budgets=[budget]))
    table.tick()
    assert table.offers() == {}
    assert table.host("b").deferral.gate == "disruption-budgets"  # type: ignore[union-attr]


def test_a_host_that_changes_already_keeps_its_place_but_takes_none_of_a_budget_that_became_smaller() -> None:
    for limit, given in ((2, ["a", "b"]), (1, [])):
        table = Table("a", "b")
        table.publish(made([["a", "b"]], soak=MINUTE, budgets=[Budget("both", ("a", "b"), max=2)]))
        table.tick()
        table.activates("a")
        table.activates("b")
        table.publish(made([["a", "b"]], serial=2, budgets=[Budget("both", ("a", "b"), max=limit)]))
        table.tick()
        assert sorted(table.offers()) == given


def test_health_thresholds_by_count_and_percent_are_enforced() -> None:
    hosts = [f"h{number}" for number in range(10)]
    for health, may in ((Health(max_failures=2), 2), (Health(max_percent=30), 3), (Health(4, 10), 1), (Health(), 0)):
        table = Table(*hosts)
        rollout = table.publish(made([hosts], health=health))
        table.tick()
        for failures, name in enumerate(hosts[: may + 1], 1):
            table.fails(name)
            table.tick()
            assert table.stage(rollout) == (Stage.HALTED if failures > may else Stage.ACTIVE), (health, failures)


def test_policy_is_read_from_the_frozen_rollout_never_from_a_newer_one() -> None:
    table = Table(*WEB)
    first = table.publish(made([WEB], on_failure="halt"))
    table.tick()
    table.fleet = FleetState(
        **{field: getattr(table.fleet, field) for field in FleetState.__struct_fields__ if field != "layouts"},
        layouts={**table.fleet.layouts, "x": made([WEB], serial=9, on_failure="rollback-and-halt")},
    )
    table.fails("a")
    table.tick()
    assert table.stage(first) == Stage.HALTED


# -- the log


def test_a_repeated_deferral_is_one_row_not_one_a_tick() -> None:
    table = Table(*WEB)
    table.publish(made([["a"], ["b", "c", "d"]]))
    table.tick()
    rows = len(table.log)
    for _ in range(50):
        table.wait(5 * SECOND)
        table.tick(1)
    assert len(table.log) == rows
    assert table.host("b").deferral.since == START  # type: ignore[union-attr]


def test_the_state_is_what_the_log_adds_up_to() -> None:
    table = Table(*WEB)
    first = table.publish(made([["a", "b"], ["c", "d"]], on_failure="rollback-and-halt"))
    table.tick()
    table.converges("a", "b")
    table.tick()
    table.fails("c")
    table.tick()
    table.verb(events.Cancel(first, "enough"))
    table.publish(made([WEB], serial=2))
    table.tick()
    rebuilt = fold(FleetState(layouts=table.fleet.layouts), table.log)
    assert {f: getattr(rebuilt, f) for f in _LOGGED} == {f: getattr(table.fleet, f) for f in _LOGGED}


def test_rows_of_the_log_and_old_rollouts_are_kept_for_a_while_and_then_go() -> None:
    table = Table("a")
    first = table.publish(made([["a"]]))
    table.tick()
    table.converges("a")
    table.publish(made([["a"]], serial=2))
    table.tick()
    table.converges("a")
    table.wait(89 * 86_400_000)
    assert not [one for one in table.plan() if isinstance(one, (actions.PruneLog, actions.PruneRollout))]
    table.wait(15 * 86_400_000)
    assert actions.PruneLog(table.now - 90 * 86_400_000) in table.tick()
    assert first in table.fleet.rollouts
    table.wait(90 * 86_400_000)
    table.tick()
    assert first not in table.fleet.rollouts
    assert first not in table.fleet.layouts
    assert not [one for one in table.plan() if isinstance(one, (actions.PruneLog, actions.PruneRollout))]


def test_everything_is_planned_in_one_order_whatever_order_it_came_in() -> None:
    hosts = ["b", "d", "a", "c"]
    plans = []
    for names in (hosts, sorted(hosts), sorted(hosts, reverse=True)):
        table = Table(*names)
        table.publish(made([["a", "b", "c", "d"]], budgets=[Budget("two", WEB, max=2)]))
        table.publish(made([[]], channel="db", serial=2))
        plans.append([table.plan(), *[table.tick(1) for _ in range(4)]])
    assert plans[0] == plans[1] == plans[2]


# -- a newer rollout


def test_a_target_that_was_rolled_out_before_can_be_rolled_out_again() -> None:
    table = Table("a")
    for serial, order in ((1, order_of(1)), (2, order_of(2)), (3, order_of(1))):
        table.publish(made([["a"]], serial=serial, order=order))
        table.tick()
        table.converges("a")
    assert table.host("a").standing == order_of(1)


def test_a_tip_of_a_lower_serial_changes_nothing() -> None:
    table = Table("a")
    newer = table.publish(made([["a"]], serial=2))
    table.publish(made([["a"]], serial=1), signed_at=table.now + 5)
    table.tick()
    assert table.fleet.channels["web"].present == newer


def test_a_channel_that_waits_goes_on_when_the_one_before_it_failed_and_was_cancelled() -> None:
    table = Table("a", "b")
    first = table.publish(made([["a"]], channel="db"))
    table.publish(made([["b"]], serial=2, after=["db"]))
    table.tick()
    table.fails("a")
    table.tick()
    assert table.host("b").deferral.gate == "channel-edges"  # type: ignore[union-attr]
    table.verb(events.Cancel(first, "we know"))
    table.tick()
    assert list(table.offers()) == ["b"]
