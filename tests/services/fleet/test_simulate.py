"""A fleet in simulated time keeps its promises, whatever goes wrong; and a defect that is planted is found."""

import subprocess
import sys
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from msgspec.structs import replace

from requisition.services.fleet import (
    agent_reducer,
    effects,
    events,
    fold,
    gates,
    health,
    offers,
    planner,
    reducer,
    survey,
)
from requisition.services.fleet.agent_state import Offered, Terms
from requisition.services.fleet.simulate import machine, server
from requisition.services.fleet.simulate.oracle import Broken
from requisition.services.fleet.simulate.run import Run, play
from requisition.services.fleet.simulate.scenario import Size, scenario
from requisition.services.fleet.state import Phase

SEEDS = range(1, 51)


@pytest.mark.parametrize("first", SEEDS[::10])
def test_every_promise_holds(first: int) -> None:
    for seed in range(first, first + 10):
        play(seed)


@pytest.mark.long
@pytest.mark.parametrize("first", range(1001, 2001, 50))
def test_every_promise_holds_over_a_thousand_seeds(first: int) -> None:
    for seed in range(first, first + 50):
        play(seed, Size(hosts=(12, 36, 120)[seed % 3], channels=1 + seed % 4, rollouts=3 + seed % 3))


@pytest.mark.long
def test_every_promise_holds_with_ten_thousand_hosts_and_twenty_rollouts() -> None:
    play(1, Size(hosts=10_000, channels=5, rollouts=3))


def test_the_same_seed_gives_the_same_run() -> None:
    assert play(7).server.disk.log == play(7).server.disk.log
    assert play(7).server.disk.log != play(8).server.disk.log


def test_a_run_is_told_what_can_go_wrong() -> None:
    """The promises would hold easily where nothing happens."""
    runs = [play(seed) for seed in range(1, 16)]
    said = [record.event for run in runs for record in run.server.disk.log]
    reports = {type(one.event).__name__ for one in said if isinstance(one, events.Report)}
    planned = {
        type(one.note.action).__name__
        for one in said
        if isinstance(one, events.Noted) and isinstance(one.note, events.Planned)
    }
    assert reports >= {
        "Began", "Activated", "ActivationFailed", "RestartNeeded", "Probed", "SoakFailed", "Converged",
        "RollbackBegan", "RolledBack", "RollbackFailed", "Refused",
    }  # fmt: skip
    assert planned >= {
        "OpenRollout", "QueueDispatch", "WithdrawDispatch", "DeferDispatch", "PromoteWave", "CompleteRollout",
        "HaltRollout", "RollBackRollout", "CloseRollback", "MarkLost",
    }  # fmt: skip
    assert sum(run.oracle.lies for run in runs) > 10


def test_a_seed_that_breaks_a_promise_is_printed_and_can_be_played_again() -> None:
    code = (
        "import sys; from requisition.services.fleet.simulate import __main__ as m, run\n"
        "from requisition.services.fleet.simulate.oracle import Oracle, Broken\n"
        "def broken(self): raise Broken('seed 3, minute 1.0: a promise')\n"
        "Oracle.nothing_was_lost = broken\n"
        "sys.argv = ['x', '--seed', '3', '--hosts', '6']\nsys.exit(m.main())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "seed 3, minute 1.0: a promise" in done.stdout
    assert "--seed 3 --hosts 6 --channels 2 --rollouts 3" in done.stdout


# -- planted defects: each breaks one promise, and the oracle must say so

Planted = Callable[[pytest.MonkeyPatch], None]


def _no_gate(name: str) -> Planted:
    def plant(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(gates, "ALL", tuple((gate, test) for gate, test in gates.ALL if gate != name))

    return plant


def _budgets_forget_this_tick(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(survey.Scope, "took", lambda self, name: None)


def _offers_are_not_counted(patch: pytest.MonkeyPatch) -> None:
    from requisition.services.fleet.state import CHANGING, HostState

    patch.setattr(HostState, "changing", property(lambda host: host.phase in CHANGING and not host.lost))


def _a_handed_offer_is_given_up_at_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(offers, "_never_begun", lambda fleet, host, dispatch, layout: dispatch.handed_at > 0)


def _hand_out_whatever_stands(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(offers, "not_meant", lambda *_: "")


def _agent_takes_lower_serials(patch: pytest.MonkeyPatch) -> None:
    real = agent_reducer.objection
    patch.setattr(agent_reducer, "objection", lambda agent, offer, at: real(replace(agent, serial=0), offer, at))


def _agent_takes_stale_tips(patch: pytest.MonkeyPatch) -> None:
    real = agent_reducer.objection
    patch.setattr(agent_reducer, "objection", lambda agent, offer, at: real(agent, offer._replace(tip=at), at))


def _agent_takes_what_nobody_signed(patch: pytest.MonkeyPatch) -> None:
    """A shell that verifies nothing: it lets a forged answer name its own terms."""
    real = machine.Machine._offered

    def believing(self: Any, answer: Any) -> None:
        if answer.tip in self._signed.tips:
            real(self, answer)
            return
        zero = "sha256:" + "0" * 64
        terms = Terms(
            answer.offer.rollout, 1 << 50, zero, 1 << 40, 0, 1, 1 << 40, 60_000, goes_back=True, keyed=False, probes=()
        )
        self.say(Offered(answer.offer.number, False, terms, self.clock, answer.asked_at))

    patch.setattr(machine.Machine, "_offered", believing)


def _agent_begins_an_offer_twice(patch: pytest.MonkeyPatch) -> None:
    real = agent_reducer._offered
    patch.setattr(
        agent_reducer, "_offered", lambda agent, offer, at: real(replace(agent, dispatches=offer.number - 1), offer, at)
    )


def _agent_begins_late_offers(patch: pytest.MonkeyPatch) -> None:
    real = agent_reducer._offered
    patch.setattr(agent_reducer, "_offered", lambda agent, offer, at: real(agent, offer._replace(asked_at=at), at))


def _agent_forgets_its_deadline(patch: pytest.MonkeyPatch) -> None:
    real = agent_reducer._watched
    patch.setattr(agent_reducer, "_watched", lambda agent, at: real(replace(agent, deadline=0), at))


def _soak_does_not_wait_for_probes(patch: pytest.MonkeyPatch) -> None:
    real = health.verdict
    patch.setattr(agent_reducer, "verdict", lambda *args: real(*args)._replace(unseen=(), failing=()))


def _soak_counts_from_the_beginning_of_time(patch: pytest.MonkeyPatch) -> None:
    real = health.verdict
    patch.setattr(agent_reducer, "verdict", lambda d, s, at, *rest: real(d, s, 0, *rest))


def _gaps_are_skipped(patch: pytest.MonkeyPatch) -> None:
    real = reducer._report

    def lax(host: Any, report: Any, at: int, frozen: Any) -> Any:
        return real(replace(host, seq=max(host.seq, report.seq - 1)), report, at, frozen)

    patch.setattr(reducer, "_report", lax)


def _reports_are_applied_again(patch: pytest.MonkeyPatch) -> None:
    real = reducer._report
    patch.setattr(
        reducer, "_report", lambda host, report, at, frozen: real(replace(host, seq=report.seq - 1), report, at, frozen)
    )


def _acknowledged_while_nobody_takes_it_in(patch: pytest.MonkeyPatch) -> None:
    real = server.Server.asked

    def hasty(self: Any, ask: Any) -> Any:
        if self.up:
            return real(self, ask)
        return server.Answer(self.world.now, ask.asked_at, ask.word.seq, 0, None, None)

    patch.setattr(server.Server, "asked", hasty)


def _a_row_is_not_logged(patch: pytest.MonkeyPatch) -> None:
    real = fold.apply

    def silent(fleet: Any, event: Any, at: int) -> Any:
        new, found = real(fleet, event, at)
        handed = isinstance(event, events.Noted) and isinstance(event.note, events.Handed)
        return new, tuple(one for one in found if not (handed and isinstance(one, effects.AppendLog)))

    patch.setattr(server, "apply", silent)


def _a_row_is_not_saved(patch: pytest.MonkeyPatch) -> None:
    real = server.Disk.apply

    def lazy(self: Any, effect: Any, now: int) -> None:
        if not isinstance(effect, effects.PurgeDispatch):
            real(self, effect, now)

    patch.setattr(server.Disk, "apply", lazy)


def _goes_back_to_nothing(patch: pytest.MonkeyPatch) -> None:
    real = agent_reducer._go_back

    def astray(agent: Any, *rest: Any) -> Any:
        new, found = real(agent, *rest)
        return new, tuple(replace(one, prior="") if isinstance(one, effects.TakeBack) else one for one in found)

    patch.setattr(agent_reducer, "_go_back", astray)


def _closes_a_rollback_before_hosts_are_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(planner, "to_be_taken_back", lambda host: host.phase is Phase.FAILED)


def _waves_do_not_wait_for_anyone(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(planner, "through", lambda scope, wave: True)


def _never_settles(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(offers, "_never_begun", lambda *_: False)


PLANTED: tuple[tuple[Planted, str, int], ...] = (
    (_no_gate("disruption-budgets"), "hosts of budget", 1),
    (_no_gate("wave-promotion"), "begins before", 1),
    (_budgets_forget_this_tick, "hosts of budget", 1),
    (_offers_are_not_counted, "hosts of budget", 1),
    (_a_handed_offer_is_given_up_at_once, "given up", 1),
    (_hand_out_whatever_stands, "was offered what is", 2),
    (_agent_takes_lower_serials, "lower", 9),
    (_agent_takes_stale_tips, "stale", 1),
    (_agent_takes_what_nobody_signed, "another host", 1),
    (_agent_begins_an_offer_twice, "driven twice", 65),
    (_agent_begins_late_offers, "given up", 23),
    (_agent_forgets_its_deadline, "last rollout|present order", 1),
    (_soak_does_not_wait_for_probes, "probe", 1),
    (_soak_counts_from_the_beginning_of_time, "too short a time", 1),
    (_gaps_are_skipped, "lost or taken twice", 1),
    (_reports_are_applied_again, "lost or taken twice", 1),
    (_acknowledged_while_nobody_takes_it_in, "reports of", 1),
    (_a_row_is_not_logged, "does not add up", 1),
    (_a_row_is_not_saved, "not their present offer", 1),
    (_goes_back_to_nothing, "another than its prior", 1),
    (_closes_a_rollback_before_hosts_are_back, "still has what was taken back", 9),
    (_waves_do_not_wait_for_anyone, "begins before", 1),
    (_never_settles, "last rollout|present order", 1),
)


@pytest.mark.parametrize(
    ("plant", "promise", "shows"), PLANTED, ids=[f"{plant.__name__.strip('_')}-{words}" for plant, words, _ in PLANTED]
)
def test_a_planted_defect_breaks_the_promise_that_it_should(
    plant: Planted, promise: str, shows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`shows`: a seed that shows it; the others are tried too, should scenarios have become other ones."""
    plant(monkeypatch)
    with pytest.raises(Broken, match=promise):
        _play_all((shows, *SEEDS))


def _play_all(seeds: Iterable[int]) -> None:
    for seed in seeds:
        play(seed)


def test_a_run_without_faults_converges_without_a_halt() -> None:
    plan = replace(scenario(5, Size()), faults=(), verbs=(), natures={})
    run = Run(plan)
    run.play()
    assert {one.stage for one in run.server.fleet.rollouts.values()} <= {"completed", "superseded"}
