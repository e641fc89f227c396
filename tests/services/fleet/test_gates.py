"""Why a host waits: each gate, in its order, and what is said of it."""

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from requisition.services.fleet import events, gates
from requisition.services.fleet.actions import QueueDispatch
from requisition.services.fleet.rollout import SKEW, Budget, Edge, digest
from requisition.services.fleet.state import Phase
from requisition.services.fleet.why import why
from support.fleets import DAY, MINUTE, OLD, START, Table, made, order_of

HOSTS = ("a", "b", "c", "d")


def gate_of(table: Table, name: str) -> str:
    return why(table.fleet, name, table.now).gate


def everything_closed() -> Table:
    """Host d is kept back by every gate at once."""
    table = Table(*HOSTS, "db1")
    table.publish(made([["db1"]], channel="db", serial=1))
    table.publish(
        made(
            [["a"], ["b"], ["c", "d"]],
            serial=2,
            probes=["answers"],
            edges=[Edge("c", "d")],
            after=["db"],
            budgets=[Budget("none", ("c", "d"), max=0)],
        )
    )
    table.tick()
    rollout = table.fleet.channels["web"].present
    restated = events.Restated(Phase.CONVERGED, rollout, order_of(2), OLD, order_of(2), "", "", START, 0)
    table.report("a", restated)
    table.report("a", events.Probed(rollout, "answers", passed=False, reason="no answer"))
    table.verb(events.Quarantine("web", order_of(2), "it is bad"))
    table.report("d", events.Refused(rollout, 0, START, "x"))
    table.now += 3 * DAY
    table.verb(events.Pause(rollout, "lunch"))
    return table


def test_the_first_closed_gate_wins_and_each_opens_in_its_turn() -> None:
    table = everything_closed()
    rollout = table.fleet.channels["web"].present
    assert (gate_of(table, "d"), why(table.fleet, "d", table.now).reason) == ("rollout", "the rollout is paused: lunch")
    table.verb(events.Resume(rollout))
    assert gate_of(table, "d") == "offline"
    table.beat()
    assert gate_of(table, "d") == "quarantine"
    table.verb(events.LiftQuarantine("web", order_of(2)))
    assert gate_of(table, "d") == "channel-edges"
    table.verb(events.Cancel(table.fleet.channels["db"].present, "enough"))
    assert gate_of(table, "d") == "wave-promotion"
    table.verb(events.Promote(rollout, 1, "now"))
    table.verb(events.Promote(rollout, 2, "now"))
    assert gate_of(table, "d") == "host-edges"
    table.report("c", events.Restated(Phase.CONVERGED, rollout, order_of(2), OLD, order_of(2), "", "", START, 0))
    assert gate_of(table, "d") == "disruption-budgets"


def test_every_gate_has_a_test_here() -> None:
    assert [name for name, _ in gates.ALL] == [
        "rollout", "offline", "refused", "quarantine", "channel-edges", "wave-promotion", "host-edges",
        "disruption-budgets", "compliance-probes", "freshness",
    ]  # fmt: skip


def test_compliance_probes_hold_later_waves_back_never_their_own_or_an_earlier_one() -> None:
    table = Table(*HOSTS)
    rollout = table.publish(made([["a", "b"], ["c"], ["d"]], probes=["answers"], proven=0))
    table.tick()
    table.converges("a")
    table.report("a", events.Probed(rollout, "answers", passed=False))
    table.fleet = replace(table.fleet, hosts={**table.fleet.hosts, "b": replace(table.host("b"), dispatch=None)})
    table.tick()
    assert list(table.offers()) == ["b"], "the same wave goes on"
    table.converges("b")
    table.tick()
    assert gate_of(table, "c") == "compliance-probes"
    assert why(table.fleet, "c", table.now).reason == "probes fail on hosts of wave w0"


def test_an_observed_probe_holds_nobody_back() -> None:
    table = Table("a", "b")
    rollout = table.publish(made([["a"], ["b"]], probes=["looks"], modes={"looks": "observe"}))
    table.tick()
    table.converges("a")
    table.report("a", events.Probed(rollout, "looks", passed=False))
    table.tick()
    assert list(table.offers()) == ["b"]


def test_freshness_closes_when_the_tip_is_too_old_and_opens_with_a_new_one() -> None:
    table = Table("a")
    rollout = made([["a"]])
    table.publish(rollout)
    table.now += DAY + SKEW
    table.beat()
    table.tick()
    assert "a" in table.offers(), "as old as it may be, and the skew of clocks"
    stale = Table("a")
    stale.publish(rollout)
    stale.now += DAY + SKEW + 1
    stale.beat()
    stale.tick()
    assert (stale.offers(), gate_of(stale, "a")) == ({}, "freshness")
    stale.publish(rollout)
    stale.tick()
    assert list(stale.offers()) == ["a"]


def test_a_refused_host_is_asked_again_under_a_newer_tip_or_by_an_operator() -> None:
    for renew in (True, False):
        table = Table("a")
        rollout = made([["a"]])
        table.publish(rollout)
        table.tick()
        table.report("a", events.Refused(rollout.id, 1, START, "its clock is wrong"))
        table.tick()
        assert gate_of(table, "a") == "refused"
        table.wait(MINUTE)
        if renew:
            table.publish(rollout)
        else:
            table.verb(events.Retry("a"))
        table.tick()
        assert list(table.offers()) == ["a"]


def test_a_host_edge_waits_for_the_other_host_to_converge_in_this_rollout() -> None:
    table = Table("a", "b")
    first = made([["a", "b"]], edges=[Edge("a", "b")])
    table.publish(first)
    table.tick()
    assert list(table.offers()) == ["a"]
    table.activates("a")
    table.tick()
    assert gate_of(table, "b") == "host-edges"
    table.report("a", events.Converged(first.id, order_of(1)))
    table.tick()
    assert list(table.offers()) == ["b"]


def test_a_host_that_waits_for_an_offline_one_does_not_block_its_wave_either() -> None:
    table = Table(*HOSTS)
    table.away = {"a"}
    table.wait(10 * MINUTE)
    rollout = table.publish(made([["a", "b", "c"], ["d"]], edges=[Edge("a", "b")]))
    table.tick()
    assert list(table.offers()) == ["c"]
    table.converges("c")
    table.tick()
    assert list(table.offers()) == ["d"]
    assert gate_of(table, "b") == "host-edges", "it is not changed before the one it waits for, all the same"
    assert table.stage(rollout) == "active"


def test_a_channel_waits_for_another_that_is_published_but_not_open_yet() -> None:
    table = Table("a", "db1")
    table.publish(made([["a"]], serial=2, after=["db"]))
    table.note(events.Published("db", digest(b"not at hand"), 1, START))
    table.tick()
    assert gate_of(table, "a") == "channel-edges"


def test_a_wave_of_which_nobody_is_there_blocks_nobody() -> None:
    table = Table("a", "b")
    table.away = {"a"}
    table.wait(10 * MINUTE)
    table.publish(made([["a"], ["b"]]))
    table.tick()
    assert list(table.offers()) == ["b"]


def test_a_wave_that_holds_does_not_open_the_next_one_without_proof_until_an_operator_says_so() -> None:
    table = Table("a", "b")
    table.away = {"a"}
    table.wait(10 * MINUTE)
    rollout = table.publish(made([["a"], ["b"]], absent="hold"))
    table.tick()
    answer = why(table.fleet, "b", table.now)
    assert (answer.gate, answer.facts) == (
        "wave-promotion",
        ("wave w0: not enough hosts have converged; 1 must, or an operator promotes",),
    )
    table.verb(events.Promote(rollout, 1, "the canary is on holiday"))
    table.tick()
    assert list(table.offers()) == ["b"]


def test_a_wave_without_hosts_opens_the_next_one() -> None:
    table = Table("a")
    table.publish(made([[], ["a"]]))
    table.tick()
    assert list(table.offers()) == ["a"]


def test_a_host_that_needs_a_restart_holds_its_wave_and_its_place_in_budgets() -> None:
    table = Table("a", "b", "c")
    rollout = table.publish(made([["a", "b"], ["c"]], budgets=[Budget("one", ("a", "b", "c"), max=1)]))
    table.tick()
    table.begins("a")
    table.report("a", events.RestartNeeded(rollout, "kernel"))
    table.tick()
    assert gate_of(table, "b") == "disruption-budgets"
    assert why(table.fleet, "a", table.now).status == "needs restart"


# -- why


def test_why_tells_the_figures_of_the_moment_and_since_when() -> None:
    table = Table(*HOSTS)
    table.publish(made([["a", "b"], ["c", "d"]], budgets=[Budget("half", HOSTS, percent=25)]))
    table.tick()
    table.wait(MINUTE)
    budget, wave = why(table.fleet, "b", table.now), why(table.fleet, "c", table.now)
    assert (budget.gate, budget.since, budget.facts) == ("disruption-budgets", START, ("budget half: 1 of 1 change",))
    assert (wave.gate, wave.reason) == ("wave-promotion", "its wave, w1, is not open yet")
    assert wave.facts == ("wave w0 waits for a, b",)


STORIES: list[tuple[Callable[[Table], object], str, str]] = [
    (lambda table: None, "offered", "it has not asked yet"),
    (lambda table: table.note(events.Handed("a", 1)), "offered", "it has not begun yet"),
    (lambda table: table.begins("a"), "activating", "it installs its order"),
    (lambda table: table.activates("a"), "soaking", ""),
    (lambda table: table.converges("a"), "converged", ""),
    (lambda table: table.fails("a"), "failed", "a node failed"),
]  # fmt: skip


@pytest.mark.parametrize(("story", "status", "reason"), STORIES, ids=[status for _, status, _ in STORIES])
def test_why_is_answered_at_every_step(story: Callable[[Table], object], status: str, reason: str) -> None:
    table = Table("a")
    table.publish(made([["a"]], probes=["answers"]))
    table.tick()
    story(table)
    answer = why(table.fleet, "a", table.now)
    assert (answer.status, answer.reason) == (status, reason)
    if status == "soaking":
        assert answer.facts == ("not seen since the activation: answers",)


def test_why_is_answered_for_hosts_that_are_unknown_or_on_no_rollout() -> None:
    table = Table("a")
    assert why(table.fleet, "a", START).reason == "no present rollout lists it"
    assert why(table.fleet, "x", START).reason == "there is no host of that name"
    table.publish(made([["x"]]))
    table.tick()
    assert why(table.fleet, "x", START).reason == "it is to be on a rollout, but never enrolled"


def test_why_says_what_the_planner_then_does() -> None:
    table = everything_closed()
    table.beat()
    for _ in range(6):
        answers = {name: why(table.fleet, name, table.now) for name in HOSTS}
        offered = {one.host for one in table.plan() if isinstance(one, QueueDispatch)}
        assert offered == {name for name, one in answers.items() if one.status == "waiting" and not one.gate}
        table.tick(1)
        table.verb(events.LiftQuarantine("web", order_of(2)))
        table.verb(events.Resume(table.fleet.channels["web"].present))
