"""Laws of the reducers, whatever they are told in whatever order."""

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from requisition.services.fleet import effects, events, reducer
from requisition.services.fleet.actions import QueueDispatch
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
from requisition.services.fleet.fold import fold
from requisition.services.fleet.rollout import Budget, Health
from requisition.services.fleet.state import BUSY, FleetState, HostState, Phase, Stage
from requisition.services.fleet.why import why
from support.fleets import DAY, MINUTE, OLD, START, Table, made, order_of

HOSTS = ("a", "b", "c", "d", "e")
ROLLOUTS = [
    made(
        [["a"], ["b", "c"], ["d", "e"]],
        serial=serial,
        probes=["answers"],
        budgets=[Budget("two", HOSTS, max=2)],
        on_failure=("halt", "rollback-and-halt")[serial % 2],
        health=(Health(), Health(max_failures=2))[serial % 3 == 0],
    )
    for serial in range(1, 6)
]
STANDING = st.sampled_from([OLD, "", *(order_of(serial) for serial in range(1, 4))])


class AgentMirrored(RuleBasedStateMachine):
    """A host is told anything; its reports reach the server's mirror in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.agent = AgentState(host="a", stream="s", good=OLD, standing=OLD)
        self.mirror = HostState(name="a", stream="s", standing=OLD)
        self.goods = {OLD}
        self.serials = [0]

    def say(self, said: Said) -> None:
        before = self.agent
        self.agent, found = step(self.agent, said, self.now)
        assert step(before, said, self.now) == (self.agent, found), "it is a function"
        emitted = [one for one in found if isinstance(one, effects.EmitEvent)]
        assert [one.seq for one in emitted] == list(range(before.seq + 1, self.agent.seq + 1))
        for one in emitted:
            self.report(one)
        runs = [one for one in found if isinstance(one, effects.RunOrder)]
        began = [one.event for one in emitted if isinstance(one.event, events.Began)]
        if runs and not isinstance(said, Started):
            assert [one.order for one in runs] == [one.order for one in began]
        backs = [one for one in found if isinstance(one, effects.TakeBack)]
        assert all(one.prior in self.goods for one in backs)

    def report(self, emitted: effects.EmitEvent) -> None:
        event: Any = emitted.event
        if isinstance(event, events.Began):
            self.serials.append(self.agent.serial)
        if isinstance(event, events.Converged):
            self.goods.add(event.standing)
        frozen = next((one for one in ROLLOUTS if one.id == getattr(event, "rollout", "")), None)
        report = events.Report(host="a", stream=self.agent.stream, seq=emitted.seq, at=emitted.at, event=event)
        self.mirror, found = reducer.step(self.mirror, report, self.now, frozen)
        complaints = [one.text for one in found if isinstance(one, effects.Tell)]
        assert not [text for text in complaints if "cannot follow" in text or "that it is not in" in text], complaints
        assert not [text for text in complaints if "it says it converged" in text], complaints

    @rule(number=st.integers(1, 40), which=st.sampled_from(ROLLOUTS), recall=st.booleans(), by=st.sampled_from(["", "proof", "operator"]),
          age=st.sampled_from([0, MINUTE, DAY, 2 * DAY, -2 * MINUTE]), late=st.sampled_from([0, MINUTE, 2 * MINUTE]),
          objection=st.sampled_from(["", "", "", "not signed"]))  # fmt: skip
    def offered(self, number: int, which: Any, recall: bool, by: Any, age: int, late: int, objection: str) -> None:
        before = self.agent
        offer = Offered(number, recall, terms_of(which, "a"), self.now - age, self.now - late, by, objection)
        self.say(offer)
        if self.agent.phase is Phase.ACTIVATING and before.phase is not Phase.ACTIVATING:
            assert not objection
            assert not recall
            assert late <= MINUTE
            assert -MINUTE <= age <= DAY + MINUTE
            assert which.rollout.serial >= before.serial
            assert number > before.dispatches

    @rule(number=st.integers(1, 3), which=st.sampled_from(ROLLOUTS[-1:]))
    def offered_next(self, number: int, which: Any) -> None:
        self.offered(self.agent.dispatches + number, which, recall=False, by="", age=0, late=0, objection="")

    @rule(ok=st.booleans(), standing=STANDING)
    def run_ended(self, ok: bool, standing: str) -> None:
        self.say(RunEnded(ok, standing, 0 if ok else 1, "" if ok else "a node failed"))

    @precondition(lambda self: self.agent.phase is Phase.ACTIVATING)
    @rule()
    def run_went_well(self) -> None:
        assert self.agent.terms is not None
        self.say(RunEnded(ok=True, standing=self.agent.terms.order))

    @rule()
    def run_deferred(self) -> None:
        self.say(RunDeferred("kernel"))

    @rule(ok=st.booleans(), standing=STANDING)
    def rollback_ended(self, ok: bool, standing: str) -> None:
        self.say(RollbackEnded(ok, standing, 0 if ok else 1))

    @rule(passed=st.booleans(), probe=st.sampled_from(["answers", "unknown"]))
    def probe_seen(self, passed: bool, probe: str) -> None:
        self.say(ProbeSeen(probe, passed))

    @rule(short=st.integers(0, 3))
    def heard(self, short: int) -> None:
        self.say(Heard(max(0, self.agent.seq - short)))

    @rule(standing=STANDING)
    def restarted(self, standing: str) -> None:
        self.say(Started(standing))

    @rule()
    def missing(self) -> None:
        self.say(Missing())

    @rule()
    def joined(self) -> None:
        """The server lost all it knew, and the host is enrolled again."""
        stream = self.agent.stream + "'"
        self.mirror, _ = reducer.step(self.mirror, events.Enrolled("a", stream, ""), self.now, None)
        self.agent, found = step(self.agent, Joined(stream), self.now)
        for one in found:
            if isinstance(one, effects.EmitEvent):
                self.report(one)

    @rule(span=st.sampled_from([1_000, MINUTE, 5 * MINUTE, 20 * MINUTE]))
    def time_passes(self, span: int) -> None:
        self.now += span
        self.say(Tick())

    @invariant()
    def the_mirror_shows_the_host(self) -> None:
        agent, mirror = self.agent, self.mirror
        assert (mirror.phase, mirror.seq, mirror.cause) == (agent.phase, agent.seq, agent.cause)
        if agent.terms is not None and agent.phase is not Phase.IDLE:
            assert (mirror.rollout, mirror.order, mirror.prior) == (agent.terms.rollout, agent.terms.order, agent.prior)
        if agent.phase in (Phase.SOAKING, Phase.CONVERGED):
            assert mirror.standing == agent.standing
            assert mirror.probes == agent.probes

    @invariant()
    def serials_only_grow(self) -> None:
        assert self.serials == sorted(self.serials)

    @invariant()
    def what_is_unconfirmed_has_a_deadline(self) -> None:
        if self.agent.phase is Phase.ACTIVATING:
            assert self.agent.deadline
            assert self.now < self.agent.deadline


class FleetTold(RuleBasedStateMachine):
    """A server is told anything by hosts, operators and time."""

    def __init__(self) -> None:
        super().__init__()
        self.table = Table(*HOSTS)
        self.serial = 0

    @precondition(lambda self: self.serial < len(ROLLOUTS))
    @rule()
    def publish(self) -> None:
        self.table.publish(ROLLOUTS[self.serial])
        self.serial += 1

    @rule()
    def publish_anew(self) -> None:
        if self.serial:
            self.table.publish(ROLLOUTS[self.serial - 1])

    @rule()
    def tick(self) -> None:
        self.table.tick(1)

    @rule(span=st.sampled_from([5_000, MINUTE, 4 * MINUTE, 30 * MINUTE]), away=st.sets(st.sampled_from(HOSTS)))
    def wait(self, span: int, away: set[str]) -> None:
        self.table.away = away
        self.table.wait(span)

    @rule(name=st.sampled_from(HOSTS))
    def hand_out(self, name: str) -> None:
        offer = self.table.offers().get(name)
        if offer is not None:
            self.table.note(events.Handed(name, offer.number))

    @rule(name=st.sampled_from(HOSTS), good=st.booleans())
    def take_the_offer(self, name: str, good: bool) -> None:
        offer = self.table.offers().get(name)
        host = self.table.host(name)
        if offer is None or host.phase in BUSY:
            return
        if offer.recall:
            self.table.report(name, events.RollbackBegan(offer.rollout, host.prior, "recalled", "", offer.number))
            self.table.report(name, events.RolledBack(offer.rollout, host.prior))
        elif good:
            self.table.converges(name)
        else:
            self.table.fails(name)

    @rule(name=st.sampled_from(HOSTS), leap=st.sampled_from([-1, 0, 0, 0, 1, 5]), data=st.data())
    def report(self, name: str, leap: int, data: st.DataObject) -> None:
        rollout = data.draw(st.sampled_from([one.id for one in ROLLOUTS]))
        order = data.draw(STANDING.filter(bool))
        event: events.HostEvent = data.draw(
            st.sampled_from([
                events.Activated(rollout, order), events.RestartNeeded(rollout, "kernel"),
                events.ActivationFailed(rollout, 1, "no", OLD), events.Probed(rollout, "answers", passed=False),
                events.Probed(rollout, "answers", passed=True), events.SoakFailed(rollout, "sick"),
                events.Converged(rollout, order), events.RollbackBegan(rollout, OLD, "failed"),
                events.RolledBack(rollout, OLD), events.RollbackFailed(rollout, 1, "no", order),
                events.Refused(rollout, 1, START, "no"),
                events.Restated(Phase.CONVERGED, rollout, order, OLD, order, "", "", START, 3),
            ])
        )  # fmt: skip
        seq = max(1, self.table.host(name).seq + 1 + leap)
        before = self.table.host(name)
        found = self.table.report(name, event, seq=seq)
        after = self.table.host(name)
        assert after.seq in (before.seq, before.seq + 1, seq)
        told = [one.seq for one in found if isinstance(one, effects.Acknowledge)]
        assert all(number <= after.seq for number in told)

    @rule(data=st.data())
    def verb(self, data: st.DataObject) -> None:
        rollout = data.draw(st.sampled_from([one.id for one in ROLLOUTS]))
        name = data.draw(st.sampled_from(HOSTS))
        verb: events.Verb = data.draw(
            st.sampled_from([
                events.Halt(rollout, "x"), events.Pause(rollout), events.Resume(rollout), events.Cancel(rollout, "x"),
                events.Resume(rollout, retry=True), events.RollBack(rollout, "x"), events.Promote(rollout, 1, "x"),
                events.Retry(name), events.Quarantine("web", order_of(2), "x"),
                events.LiftQuarantine("web", order_of(2)),
            ])
        )  # fmt: skip
        before = self.table.fleet
        found = self.table.verb(verb)
        refused = any(isinstance(one, effects.RefuseVerb) for one in found)
        assert refused == (self.table.fleet is before)

    @invariant()
    def the_state_is_what_the_log_adds_up_to(self) -> None:
        rebuilt = fold(FleetState(layouts=self.table.fleet.layouts), self.table.log)
        for field in FleetState.__struct_fields__:
            if field not in ("presence", "up_since"):
                assert getattr(rebuilt, field) == getattr(self.table.fleet, field), field

    @invariant()
    def only_open_rollouts_are_given_out(self) -> None:
        for offer in self.table.offers().values():
            stage = self.table.fleet.rollouts[offer.rollout].stage
            back = (Stage.ROLLING_BACK, Stage.ROLLED_BACK)
            assert stage in (back if offer.recall else (Stage.ACTIVE, Stage.COMPLETED))

    @invariant()
    def planning_comes_to_an_end(self) -> None:
        fleet = self.table.fleet
        probe = Table()
        probe.fleet, probe.now = fleet, self.table.now
        probe.tick(12)
        assert probe.plan() == (), "what was applied is planned again"

    @invariant()
    def why_agrees_with_the_planner(self) -> None:
        table = self.table
        answers = {name: why(table.fleet, name, table.now) for name in table.fleet.hosts}
        for action in table.plan():
            if isinstance(action, QueueDispatch) and not action.recall:
                answer = answers[action.host]
                assert (answer.status, answer.gate, answer.rollout) == ("waiting", "", action.rollout)

    @invariant()
    def a_tick_keeps_budgets(self) -> None:
        """Where budgets are kept now, no plan breaks them."""
        table = self.table
        probe = Table()
        probe.fleet, probe.now = table.fleet, table.now
        count = sum(host.changing for host in probe.fleet.hosts.values())
        probe.tick(12)
        assert sum(host.changing for host in probe.fleet.hosts.values()) <= max(count, 2)


quick = settings(max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck))
TestAgentMirrored = AgentMirrored.TestCase
TestAgentMirrored.settings = settings(quick, max_examples=120, stateful_step_count=40)
TestFleetTold = FleetTold.TestCase
TestFleetTold.settings = quick
