"""What the server notes: each thing once, nothing twice, and never something older over something newer."""

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from requisition.services.fleet import actions, effects, events, rollout
from requisition.services.fleet.fold import apply, heard
from requisition.services.fleet.rollout import Budget, Edge, Health, Probe, Target, digest
from requisition.services.fleet.state import FleetState, Phase, Retiring, Settings, Stage
from requisition.services.fleet.why import why
from support.fleets import DAY, MINUTE, OLD, START, Table, made, order_of


def told(found: tuple[effects.Effect, ...]) -> list[str]:
    return [one.text for one in found if isinstance(one, effects.Tell)]


def test_a_key_that_is_to_be_replaced_is_told_of_once() -> None:
    table = Table("a")
    table.note(events.Configured(Settings(retiring=(Retiring("release", START + DAY),))))
    assert table.tick() == []
    table.wait(DAY)
    assert table.tick() == [actions.RotateKey("release", START + DAY)]
    assert table.plan() == ()
    rows = len(table.log)
    table.note(events.Planned(actions.RotateKey("release", START + DAY)))
    assert len(table.log) == rows


def test_settings_that_are_the_same_are_not_noted_again() -> None:
    table = Table("a")
    for settings, noted in ((Settings(keep_log=DAY), True), (Settings(keep_log=DAY), False)):
        rows = len(table.log)
        table.note(events.Configured(settings))
        assert (len(table.log) > rows) == noted


def test_two_rollouts_of_one_serial_are_told_and_the_first_stays() -> None:
    table = Table("a")
    first = table.publish(made([["a"]]))
    table.publish(made([["a"]], order=order_of(7)), signed_at=START + 1)
    assert table.fleet.channels["web"].tip == first
    assert told(table.last) == ["web: two rollouts bear the serial 1"]


def test_an_older_tip_of_the_same_rollout_does_not_make_it_younger() -> None:
    table = Table("a")
    table.publish(made([["a"]]))
    table.publish(made([["a"]]), signed_at=START - MINUTE)
    assert table.fleet.channels["web"].signed_at == START


def test_every_action_that_was_applied_changes_nothing_the_second_time() -> None:
    table = Table("a", "b", "c", "d")
    table.publish(made([["a", "b"], ["c"], ["d"]], on_failure="rollback-and-halt", health=Health(max_failures=0)))
    seen: set[str] = set()

    def tick() -> None:
        for action in table.plan():
            seen.add(type(action).__name__)
            table.note(events.Planned(action))
            before, rows = table.fleet, len(table.log)
            table.note(events.Planned(action))
            assert (table.fleet, len(table.log)) == (before, rows), action

    for _ in range(3):
        tick()
    table.converges("a", "b")
    tick()
    table.begins("c")
    table.now += 40 * MINUTE
    tick()
    table.beat()
    table.report("c", events.ActivationFailed(table.host("c").rollout, 1, "no", OLD))
    for _ in range(3):
        tick()
    for name in ("a", "b"):
        offer = table.offers()[name]
        table.report(name, events.RollbackBegan(offer.rollout, OLD, "recalled", "", offer.number))
        table.report(name, events.RolledBack(offer.rollout, OLD))
    tick()
    assert seen >= {
        "OpenRollout",
        "QueueDispatch",
        "DeferDispatch",
        "PromoteWave",
        "MarkLost",
        "RollBackRollout",
        "CloseRollback",
    }


def test_events_of_hosts_and_rollouts_that_nobody_knows_change_nothing() -> None:
    fleet = FleetState()
    nobody: list[events.Event] = [
        events.Report(host="x", stream="s", seq=1, at=START, event=events.Probed(digest(b"r"), "p", passed=True)),
        events.Noted(events.Handed("x", 1)),
        events.Noted(events.Planned(actions.MarkLost("x", "silent"))),
        events.Noted(events.Planned(actions.HaltRollout(digest(b"r"), "sick"))),
        events.Noted(events.Planned(actions.PruneRollout(digest(b"r")))),
    ]
    for event in nobody:
        new, found = apply(fleet, event, START)
        assert new is fleet
        assert not any(isinstance(one, effects.AppendLog) for one in found)


def test_a_heartbeat_of_another_stream_counts_for_nobody() -> None:
    table = Table("a")
    before = table.fleet
    for name, stream in (("a", "older"), ("x", "x-1")):
        fleet, _ = heard(table.fleet, events.Heartbeat(host=name, stream=stream, seq=9, heard=START + DAY), START + DAY)
        assert fleet == before


def test_a_server_that_was_just_started_gives_hosts_time_to_be_heard_of() -> None:
    table = Table("a", "b")
    table.publish(made([["a", "b"]]))
    table.tick()
    table.begins("a")
    table.now += DAY
    table.fleet = replace(table.fleet, presence={}, up_since=table.now)
    assert not [one for one in table.plan() if isinstance(one, actions.MarkLost)]
    table.now += 4 * MINUTE
    assert [one.host for one in table.plan() if isinstance(one, actions.MarkLost)] == ["a"]


def test_a_claim_to_have_converged_on_another_order_or_an_unknown_rollout_is_not_believed() -> None:
    for order, known, why_not in ((OLD, True, "another order stands there"), (order_of(1), False, "is not known")):
        table = Table("a")
        rollout = table.publish(made([["a"]]))
        table.tick()
        table.activates("a")
        if not known:
            table.fleet = replace(table.fleet, layouts={})
        found = table.report("a", events.Converged(rollout, order))
        assert table.host("a").phase is Phase.SOAKING
        assert why_not in told(found)[0]


# -- rollouts that contradict themselves

FINE = made(
    [["a"], ["b"]], probes=["answers"], budgets=[Budget("one", ("a", "b"), max=1)], edges=[Edge("a", "b")]
).rollout
FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"targets": (FINE.targets[1], FINE.targets[0])}, "not sorted"),
    ({"targets": (FINE.targets[0], FINE.targets[0])}, "not sorted"),
    ({"targets": (Target("a", 2, OLD),), "edges": ()}, "a wave that is not there"),
    ({"waves": ()}, "a wave that is not there"),
    ({"edges": (Edge("a", "z"),)}, "a host that is no target"),
    ({"edges": (Edge("b", "a"),)}, "waits for one of a later wave"),
    ({"budgets": (Budget("one", ("b", "a"), max=1),)}, "not sorted"),
    ({"probes": (Probe("answers", "drift", ("a", "a")),)}, "one is there twice"),
    ({"probes": (FINE.probes[0], FINE.probes[0])}, "two probes have one name"),
]


def test_a_rollout_of_ours_has_no_faults() -> None:
    assert rollout.faults(FINE) == []


@pytest.mark.parametrize(("fields", "fault"), FAULTS)
def test_a_rollout_that_contradicts_itself_is_found_out(fields: dict[str, Any], fault: str) -> None:
    assert any(fault in one for one in rollout.faults(replace(FINE, **fields)))


# -- why, on the way back


def test_why_tells_of_hosts_that_go_back_and_of_what_keeps_them() -> None:
    table = Table("a", "b", "c")
    first = table.publish(made([["a", "b"], ["c"]], on_failure="rollback-and-halt"))
    table.tick()
    table.converges("a", "b")
    table.tick()
    table.away = {"b"}
    table.wait(10 * MINUTE)
    table.tick()
    table.fails("c")
    table.tick()
    assert table.stage(first) == Stage.ROLLING_BACK
    assert why(table.fleet, "a", table.now).status == "called back"
    assert why(table.fleet, "b", table.now).reason == "the rollout is taken back, and it will be called back"
    offer = table.offers()["a"]
    table.report("a", events.RollbackBegan(first, OLD, "recalled", "taken back", offer.number))
    answer = why(table.fleet, "a", table.now)
    assert (answer.status, answer.reason) == ("rolling back", "it goes back from its order")
    assert answer.facts == ("it went back because it was recalled: taken back",)
    table.report("a", events.RolledBack(first, OLD))
    table.tick()
    assert table.stage(first) == Stage.ROLLED_BACK, "who is away is not waited for"
    table.away = set()
    table.wait(MINUTE)
    table.tick()
    assert table.offers()["b"].recall, "but called back when it is there again"


def test_why_tells_how_many_failed_and_may() -> None:
    table = Table("a", "b", "c")
    table.publish(made([["a", "b", "c"]], budgets=[Budget("one", ("a", "b", "c"), max=1)]))
    table.tick()
    table.fails("a")
    table.tick()
    answer = why(table.fleet, "b", table.now)
    assert (answer.gate, answer.facts) == ("rollout", ("1 failed, 0 may",))
    assert answer.reason == "the rollout is halted: 1 host failed, 0 may"


def test_a_host_that_still_changes_for_an_earlier_rollout_is_waited_for() -> None:
    table = Table("a")
    table.publish(made([["a"]]))
    table.tick()
    table.begins("a")
    table.publish(made([["a"]], serial=2))
    table.tick()
    assert why(table.fleet, "a", table.now).reason == "it installs the order of an earlier rollout first"
    table.report("a", events.Activated(table.host("a").rollout, order_of(1)))
    table.tick()
    assert table.offers()["a"].order == order_of(2)


def test_records_are_read_as_they_were_saved() -> None:
    table = Table("a", "b", "c")
    table.publish(made([["a", "b"], ["c"]], probes=["answers"], on_failure="rollback-and-halt"))
    table.tick()
    table.converges("a")
    table.fails("b")
    table.tick()
    table.report("c", events.Refused(table.fleet.channels["web"].present, 0, START, "no"))
    fleet = table.fleet
    for one in (*fleet.hosts.values(), *fleet.rollouts.values(), *fleet.channels.values(), *fleet.quarantined.values()):
        assert msgspec.json.decode(msgspec.json.encode(one), type=type(one)) == one
    for row in table.log:
        assert msgspec.json.decode(msgspec.json.encode(row), type=events.Record) == row
