"""What is planned: once, for whom it is meant, and nothing beside it."""

import pytest
from msgspec.structs import replace

from requisition.services.fleet import events
from requisition.services.fleet.actions import (
    CloseRollback,
    DeferDispatch,
    OpenRollout,
    PruneLog,
    PruneRollout,
    QueueDispatch,
    WithdrawDispatch,
)
from requisition.services.fleet.rollout import Budget, Edge, Health
from requisition.services.fleet.state import Settings, Stage
from support.fleets import DAY, MINUTE, OLD, START, Table, made, order_of

HOSTS = ("a", "b", "c", "d")


def of(table: Table, kind: type) -> list[str]:
    return [getattr(one, "host", "") for one in table.plan() if isinstance(one, kind)]


def test_nothing_of_a_rollout_is_given_out_in_the_tick_in_which_its_successor_opens() -> None:
    table = Table(*HOSTS)
    table.publish(made([HOSTS]))
    table.note(events.Planned(table.plan()[0]))
    assert of(table, QueueDispatch) == list(HOSTS)
    table.publish(made([HOSTS], serial=2))
    assert [type(one) for one in table.plan()] == [OpenRollout]
    table.note(events.Planned(table.plan()[0]))
    assert {one.order for one in table.plan() if isinstance(one, QueueDispatch)} == {order_of(2)}


def test_other_channels_go_on_in_that_tick() -> None:
    table = Table(*HOSTS)
    table.publish(made([["a", "b"]], channel="db"))
    table.note(events.Planned(table.plan()[0]))
    table.publish(made([["c", "d"]], serial=2))
    assert of(table, QueueDispatch) == ["a", "b"]


def test_an_offer_is_withdrawn_by_the_next_tick_when_it_is_not_meant_any_more() -> None:
    table = Table("a")
    rollout = table.publish(made([["a"]]))
    table.tick()
    table.verb(events.Halt(rollout, "smoke"))
    assert WithdrawDispatch("a", 1, "the rollout is halted") in table.plan()


@pytest.mark.parametrize("field", ["gate", "reason", "rollout"])
def test_a_deferral_is_planned_anew_when_one_of_its_words_became_another(field: str) -> None:
    table = Table("a", "b")
    table.publish(made([["a"], ["b"]]))
    table.tick()
    assert of(table, DeferDispatch) == []
    deferral = table.host("b").deferral
    assert deferral is not None
    other = replace(table.host("b"), deferral=replace(deferral, **{field: "another"}))
    table.fleet = replace(table.fleet, hosts={**table.fleet.hosts, "b": other})
    assert of(table, DeferDispatch) == ["b"]


def test_a_host_that_still_soaks_for_an_earlier_rollout_is_waited_for_when_it_is_offline_it_is_not() -> None:
    table = Table(*HOSTS)
    table.publish(made([["a"]], soak=DAY))
    table.tick()
    table.activates("a")
    second = table.publish(made([["a", "b"], ["c", "d"]], serial=2, budgets=[Budget("none", ("a",), max=0)]))
    table.tick()
    table.converges("b")
    table.tick()
    assert sorted(table.offers()) == [], "a is there, and waits for its budget"
    table.away = {"a"}
    table.wait(4 * MINUTE)
    table.tick()
    assert sorted(table.offers()) == ["c", "d"]
    assert table.fleet.rollouts[second].wave == 1


def test_who_waits_for_a_host_that_converged_is_not_skipped_because_that_one_went_away_since() -> None:
    table = Table(*HOSTS)
    table.publish(made([["a", "b"], ["c"]], edges=[Edge("a", "b")], budgets=[Budget("none", ("b",), max=0)]))
    table.tick()
    table.converges("a")
    table.away = {"a"}
    table.wait(4 * MINUTE)
    table.tick()
    assert "c" not in table.offers(), "b could be changed, were it not for its budget"


def taken_back(budget: int) -> tuple[Table, str]:
    """a, b and c converged; d failed, so all have to go back."""
    table = Table(*HOSTS)
    budgets = [Budget("some", ("a", "b", "c"), max=budget)]
    rollout = table.publish(made([["a", "b", "c"], ["d"]], on_failure="rollback-and-halt", budgets=budgets))
    for _ in range(3):
        table.tick()
        table.converges(*(name for name in table.offers() if name != "d"))
    table.tick()
    table.fails("d")
    table.tick()
    assert table.stage(rollout) == Stage.ROLLING_BACK
    return table, rollout


def goes_back(table: Table, name: str) -> None:
    offer = table.offers()[name]
    assert offer.recall
    table.report(name, events.RollbackBegan(offer.rollout, OLD, "recalled", "", offer.number))
    table.report(name, events.RolledBack(offer.rollout, OLD))


def test_a_rollback_keeps_within_budgets_and_says_why_others_wait() -> None:
    table, rollout = taken_back(1)
    for name, left in (("a", ["b", "c"]), ("b", ["c"]), ("c", [])):
        assert list(table.offers()) == [name]
        for other in left:
            deferral = table.host(other).deferral
            assert deferral is not None
            assert (deferral.gate, deferral.reason) == ("disruption-budgets", "budget some is used up")
        assert of(table, DeferDispatch) == [], "once"
        goes_back(table, name)
        table.tick()
    assert table.stage(rollout) == Stage.ROLLED_BACK


def test_a_rollback_is_not_over_before_an_offer_of_it_that_was_handed_out_is_settled() -> None:
    table = Table("a", "b")
    rollout = table.publish(made([["a", "b"]], on_failure="rollback-and-halt"))
    table.tick()
    table.note(events.Handed("b", 1))
    table.fails("a")
    table.tick()
    assert table.stage(rollout) == Stage.ROLLING_BACK, "b may have begun"
    table.now += 7 * MINUTE
    table.beat()
    table.tick()
    assert table.stage(rollout) == Stage.ROLLED_BACK


def test_a_rollback_does_not_wait_for_the_offers_of_other_rollouts() -> None:
    table, rollout = taken_back(3)
    table.note(events.Enrolled("db1", "db1-1", ""))
    table.publish(made([["db1"]], channel="db", serial=2))
    table.beat()
    table.tick()
    for name in ("a", "b", "c"):
        goes_back(table, name)
    assert "db1" in table.offers()
    assert CloseRollback(rollout, table.fleet.rollouts[rollout].reason) in table.plan()


@pytest.mark.parametrize(("age", "pruned"), [(DAY + DAY // 8 - 1, False), (DAY + DAY // 8, True)])
def test_the_log_is_cut_when_an_eighth_of_what_is_kept_is_too_old(age: int, pruned: bool) -> None:
    table = Table("a")
    table.note(events.Configured(Settings(keep_log=DAY)))
    table.now = START + age
    assert [one for one in table.plan() if isinstance(one, PruneLog)] == (
        [PruneLog(START + age - DAY)] if pruned else []
    )


@pytest.mark.parametrize(
    ("log_from", "stands", "pruned"),
    [(START + DAY, False, True), (START + DAY - 1, False, False), (START + DAY, True, False)],
)
def test_a_rollout_is_forgotten_when_its_rows_are_gone_and_nobody_stands_on_it(
    log_from: int, stands: bool, pruned: bool
) -> None:
    table = Table("a")
    table.note(events.Configured(Settings(keep_rollouts=DAY)))
    first = table.publish(made([["a"]]))
    table.tick()
    if stands:
        table.converges("a")
    table.publish(made([["a"]], serial=2))
    table.tick()
    table.fleet = replace(table.fleet, log_from=log_from)
    assert [one.rollout for one in table.plan() if isinstance(one, PruneRollout)] == ([first] if pruned else [])


def test_a_wave_opens_the_next_one_when_as_many_hosts_as_it_says_have_proved_it() -> None:
    table = Table(*HOSTS)
    table.away = {"b", "c"}
    table.wait(4 * MINUTE)
    rollout = table.publish(made([["a", "b", "c"], ["d"]], proven=2, absent="hold"))
    table.tick()
    table.converges("a")
    table.tick()
    assert table.fleet.rollouts[rollout].wave == 0
    table.away = {"c"}
    table.wait(MINUTE)
    table.tick()
    table.converges("b")
    table.tick()
    assert table.fleet.rollouts[rollout].wave == 1


def test_hosts_that_are_there_must_prove_a_wave_though_others_are_away() -> None:
    table = Table(*HOSTS)
    table.away = {"b"}
    table.wait(4 * MINUTE)
    rollout = table.publish(made([["a", "b"], ["d"]], health=Health(max_failures=3)))
    table.tick()
    table.fails("a")
    table.tick()
    assert table.fleet.rollouts[rollout].wave == 0, "a failed: nobody proved it"
    table.away = set()
    table.wait(MINUTE)
    table.tick()
    table.converges("b")
    table.tick()
    assert table.fleet.rollouts[rollout].wave == 1


def test_nobody_waits_for_a_host_that_never_enrolled() -> None:
    table = Table("a", "c")
    table.publish(made([["a", "b"], ["c"]]))
    table.tick()
    table.converges("a")
    table.tick()
    assert list(table.offers()) == ["c"]


def test_a_host_that_waits_for_a_restart_is_called_back_though_its_old_order_still_stands() -> None:
    table = Table("a", "b")
    rollout = table.publish(made([["a", "b"]], on_failure="rollback-and-halt"))
    table.tick()
    table.begins("a", prior="")
    table.report("a", events.RestartNeeded(rollout, "kernel"))
    table.fails("b")
    table.tick()
    assert (table.host("a").standing, table.host("a").prior) == ("", "")
    assert table.offers()["a"].recall
