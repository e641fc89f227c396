"""What fleets of this kind get wrong elsewhere: each has its test here, by name."""

from requisition.services.fleet import actions, effects, events
from requisition.services.fleet.agent_reducer import step
from requisition.services.fleet.agent_state import (
    AgentState,
    Heard,
    Offered,
    ProbeSeen,
    RollbackEnded,
    RunEnded,
    Tick,
    terms_of,
)
from requisition.services.fleet.layout import Layout
from requisition.services.fleet.rollout import Budget, digest
from requisition.services.fleet.state import Phase, Stage
from support.fleets import MINUTE, OLD, SECOND, START, Table, made, order_of

WEB = ("a", "b", "c", "d")


def kinds(found: list[actions.PlanAction]) -> list[str]:
    return [type(one).__name__ for one in found]


# -- halt


def test_a_halt_stops_the_hosts_of_a_wave_that_is_open_already() -> None:
    table = Table(*WEB)
    rollout = table.publish(made([WEB], budgets=[Budget("two", WEB, max=2)]))
    table.tick()
    assert sorted(table.offers()) == ["a", "b"]
    table.fails("a")
    done = table.tick()
    assert "HaltRollout" in kinds(done)
    assert "QueueDispatch" not in kinds(done)
    assert table.offers() == {}
    assert table.stage(rollout) == Stage.HALTED
    table.wait(10 * MINUTE)
    table.tick()
    assert table.offers() == {}


def test_a_halt_counts_from_the_moment_it_is_taken_in_not_from_the_next_tick_on() -> None:
    table = Table(*WEB)
    rollout = table.publish(made([WEB]))
    table.tick()
    assert sorted(table.offers()) == list(WEB)
    table.verb(events.Halt(rollout, "smoke"))
    assert table.offers() == {}


def test_a_pause_and_a_cancel_stop_hosts_too() -> None:
    for verb in (events.Pause, events.Cancel):
        table = Table(*WEB)
        rollout = table.publish(made([WEB]))
        table.tick()
        table.verb(verb(rollout, "not now"))
        table.tick()
        assert table.offers() == {}


# -- soak


def agent_on(made: Layout, host: str = "a", at: int = START) -> AgentState:
    agent = AgentState(host=host, stream="s", good=OLD, standing=OLD)
    agent, _ = step(agent, Offered(1, False, terms_of(made, host), at, at), at)
    return agent


def emitted(found: tuple[effects.Effect, ...]) -> list[str]:
    return [type(one.event).__name__ for one in found if isinstance(one, effects.EmitEvent)]


def test_soak_counts_from_the_hosts_own_activation_not_from_the_opening_of_the_rollout() -> None:
    rollout = made([["a"]], soak=5 * MINUTE, probes=["answers"])
    agent = agent_on(rollout, at=START + 600 * MINUTE)
    late = START + 603 * MINUTE
    agent, _ = step(agent, RunEnded(ok=True, standing=order_of(1)), late)
    agent, _ = step(agent, ProbeSeen("answers", passed=True), late)
    agent, _ = step(agent, Heard(agent.seq), late + SECOND)
    agent, found = step(agent, Tick(), late + 5 * MINUTE - 1)
    assert agent.phase is Phase.SOAKING
    agent, found = step(agent, Tick(), late + 5 * MINUTE)
    assert emitted(found) == ["Converged"]


def test_a_soak_needs_every_declared_probe_to_have_been_seen_since_the_activation() -> None:
    rollout = made([["a"]], probes=["answers", "drifts"], modes={"drifts": "observe"})
    agent = agent_on(rollout)
    agent, _ = step(agent, ProbeSeen("drifts", passed=True), START + 1)
    agent, _ = step(agent, RunEnded(ok=True, standing=order_of(1)), START + MINUTE)
    agent, _ = step(agent, Heard(agent.seq), START + MINUTE)
    agent, found = step(agent, ProbeSeen("answers", passed=True), START + 2 * MINUTE)
    assert agent.phase is Phase.SOAKING, "a probe seen before the activation does not count"
    agent, found = step(agent, ProbeSeen("drifts", passed=False), START + 3 * MINUTE)
    assert emitted(found) == ["Probed", "Converged"], "an observed probe must be seen, and may fail"


def test_the_server_does_not_believe_a_host_that_converged_without_proof() -> None:
    table = Table("a")
    rollout = table.publish(made([["a"]], soak=MINUTE, probes=["answers"]))
    table.tick()
    table.activates("a")
    table.wait(2 * MINUTE)
    table.report("a", events.Converged(rollout, order_of(1)))
    assert table.host("a").phase is Phase.SOAKING
    assert "not seen since the activation: answers" in table.host("a").reason
    table.report("a", events.Probed(rollout, "answers", passed=True))
    table.report("a", events.Converged(rollout, order_of(1)))
    assert table.host("a").phase is Phase.CONVERGED


def test_a_probe_that_recovered_clears_its_failure() -> None:
    rollout = made([["a"]], soak=30 * MINUTE, probes=["answers"], on_failure="rollback-and-halt")
    agent = agent_on(rollout)
    agent, _ = step(agent, RunEnded(ok=True, standing=order_of(1)), START)
    agent, _ = step(agent, Heard(agent.seq), START)
    for minute in range(1, 20):
        agent, found = step(agent, ProbeSeen("answers", passed=minute % 2 == 0), START + minute * 59 * SECOND)
        assert agent.phase is Phase.SOAKING, "it never failed for a minute in a row"
    agent, found = step(agent, Tick(), START + 19 * 59 * SECOND + MINUTE)
    assert emitted(found) == ["RollbackBegan"]


def test_a_recovered_probe_lets_later_waves_go_on() -> None:
    table = Table(*WEB)
    rollout = table.publish(made([["a"], ["b", "c", "d"]], probes=["answers"], budgets=[Budget("one", WEB, max=1)]))
    table.tick()
    table.converges("a")
    table.tick()
    table.report("a", events.Probed(rollout, "answers", passed=False, reason="no answer"))
    table.converges("b")
    table.tick()
    assert table.host("c").deferral is not None
    assert table.host("c").deferral.gate == "compliance-probes"  # type: ignore[union-attr]
    table.report("a", events.Probed(rollout, "answers", passed=True))
    table.tick()
    assert list(table.offers()) == ["c"]


# -- back


def test_a_rollback_goes_to_the_order_that_was_recorded_before() -> None:
    rollout = made([["a"]], probes=["answers"], on_failure="rollback-and-halt")
    agent = agent_on(rollout)
    assert agent.prior == OLD
    agent, _ = step(agent, RunEnded(ok=True, standing=order_of(1)), START)
    agent, _ = step(agent, ProbeSeen("answers", passed=False), START)
    agent, found = step(agent, Tick(), START + MINUTE)
    assert effects.TakeBack(rollout.id, order_of(1), OLD) in found
    agent, found = step(agent, RollbackEnded(ok=True, standing=OLD), START + 2 * MINUTE)
    assert agent.phase is Phase.REVERTED
    assert emitted(found) == ["RolledBack"]


def test_the_prior_order_is_the_last_one_that_proved_itself_not_one_that_never_did() -> None:
    agent = agent_on(made([["a"]], probes=["answers"]))
    agent, _ = step(agent, RunEnded(ok=True, standing=order_of(1)), START)
    agent, _ = step(agent, ProbeSeen("answers", passed=False), START)
    agent, _ = step(agent, Tick(), START + MINUTE)
    assert (agent.phase, agent.standing) == (Phase.FAILED, order_of(1))
    newer = made([["a"]], serial=2)
    agent, _ = step(agent, Offered(2, False, terms_of(newer, "a"), START, START + MINUTE), START + MINUTE)
    assert agent.prior == OLD


def test_a_rollback_that_ends_elsewhere_is_reported_as_failed() -> None:
    agent = agent_on(made([["a"]], on_failure="rollback-and-halt"))
    agent, _ = step(agent, RunEnded(ok=False, standing=order_of(1), exit_code=1, reason="no"), START)
    assert agent.phase is Phase.ROLLING_BACK
    for end in (RollbackEnded(ok=True, standing=digest(b"third")), RollbackEnded(ok=False, standing="", exit_code=4)):
        stuck, found = step(agent, end, START)
        assert stuck.phase is Phase.STUCK
        assert emitted(found) == ["RollbackFailed"]


def test_a_failed_rollback_is_taken_in_and_shown() -> None:
    table = Table("a")
    rollout = table.publish(made([["a"]], on_failure="rollback-and-halt"))
    table.tick()
    table.activates("a")
    table.report("a", events.RollbackBegan(rollout, OLD, "failed", "sick"))
    found = table.report("a", events.RollbackFailed(rollout, 1, "the disk is full", order_of(1)))
    assert table.host("a").phase is Phase.STUCK
    assert any(isinstance(one, effects.Tell) and "the disk is full" in one.text for one in found)
    assert any(isinstance(one, effects.Acknowledge) for one in found)


def test_a_host_that_is_cut_off_from_the_server_goes_back_at_its_own_deadline() -> None:
    agent = agent_on(made([["a"]]))
    agent, found = step(agent, RunEnded(ok=True, standing=order_of(1)), START + MINUTE)
    assert effects.WakeAt(START + 10 * MINUTE) in found
    agent, found = step(agent, Heard(agent.confirm - 1), START + 9 * MINUTE)
    agent, found = step(agent, Tick(), START + 10 * MINUTE - 1)
    assert agent.phase is Phase.SOAKING
    agent, found = step(agent, Tick(), START + 10 * MINUTE)
    assert effects.TakeBack(agent.terms.rollout, order_of(1), OLD) in found  # type: ignore[union-attr]
    assert agent.cause == "unconfirmed"


def test_rollback_and_halt_takes_the_rollout_back_from_every_host_converged_ones_too() -> None:
    table = Table(*WEB)
    rollout = table.publish(made([["a", "b"], ["c", "d"]], on_failure="rollback-and-halt"))
    table.tick()
    table.converges("a", "b")
    table.tick()
    table.fails("c")
    table.tick()
    assert table.stage(rollout) == Stage.ROLLING_BACK
    assert {name: offer.recall for name, offer in table.offers().items()} == {"a": True, "b": True}
    assert ("web", order_of(1)) in table.fleet.quarantined
    for name in ("a", "b"):
        offer = table.offers()[name]
        table.report(name, events.RollbackBegan(rollout, OLD, "recalled", "", offer.number))
        table.report(name, events.RolledBack(rollout, OLD))
    table.tick()
    assert table.stage(rollout) == Stage.ROLLED_BACK
    assert table.offers() == {}
