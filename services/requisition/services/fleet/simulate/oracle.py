"""What must hold whatever happens: looked at on the machines themselves, not in what the server thinks of them."""

from requisition.services.fleet import effects, events
from requisition.services.fleet.fold import fold
from requisition.services.fleet.rollout import SKEW
from requisition.services.fleet.simulate.machine import Machine, Signed
from requisition.services.fleet.simulate.scenario import START, Scenario
from requisition.services.fleet.simulate.server import Server, without_presence
from requisition.services.fleet.simulate.world import World
from requisition.services.fleet.state import CHANGING, FleetState, Phase, Stage

_OPEN = (Stage.ACTIVE, Stage.COMPLETED)


class Broken(AssertionError):
    """A promise that does not hold, with the seed that shows it."""


class Oracle:
    """Watches a run."""

    def __init__(self, world: World, plan: Scenario, signed: Signed) -> None:
        self._world, self._plan, self._signed = world, plan, signed
        self.machines: dict[str, Machine] = {}
        self.server: Server | None = None
        self.converged: dict[str, set[str]] = {}
        self.promoted_by_hand: set[str] = set()
        self.lies = 0
        self._emitted: dict[str, list[events.Report]] = {}
        self._serials: dict[str, int] = {}
        self._begun: set[tuple[str, int]] = set()

    def expect(self, holds: object, promise: str) -> None:
        """Raises Broken with the seed when it does not hold."""
        if not holds:
            minute = (self._world.now - START) / 60_000
            raise Broken(f"seed {self._plan.seed}, minute {minute:.1f}: {promise}")

    # -- as it happens

    def on_machine(self, machine: Machine, effect: effects.Effect) -> None:
        """What a machine is about to do."""
        if isinstance(effect, effects.EmitEvent):
            self._emits(machine, effect)
        elif isinstance(effect, effects.TakeBack):
            self.expect(effect.prior == machine.state.prior, f"{machine.name} goes back to another than its prior")
            if machine.state.cause == "recalled":
                self._budgets(machine)

    def _emits(self, machine: Machine, effect: effects.EmitEvent) -> None:
        ledger = self._emitted.setdefault(machine.name, [])
        self.expect(effect.seq == len(ledger) + 1, f"{machine.name} gave the number {effect.seq} out of turn")
        ledger.append(next(report for report in machine.outbox if report.seq == effect.seq))
        event = effect.event
        if isinstance(event, events.Began):
            self._begins(machine, event)
        elif isinstance(event, events.Converged):
            self._soaked(machine)
            self.converged.setdefault(event.rollout, set()).add(machine.name)

    def _begins(self, machine: Machine, event: events.Began) -> None:
        name, made = machine.name, self._signed.rollouts.get(event.rollout)
        self.expect((name, event.dispatch) not in self._begun, f"{name} was driven twice by dispatch {event.dispatch}")
        self._begun.add((name, event.dispatch))
        self.expect(made is not None, f"{name} begins an unsigned rollout")
        assert made is not None
        target = made.targets.get(name)
        self.expect(target is not None and target.order == event.order, f"{name} begins an order of another host")
        tip = machine.shown
        fresh = tip is not None and self._world.now - tip.signed_at <= made.rollout.freshness + 2 * SKEW
        self.expect(fresh, f"{name} begins what is stale")
        self.expect(made.rollout.serial >= self._serials.get(name, 0), f"{name} begins a lower rollout")
        self._serials[name] = made.rollout.serial
        offer = self.server.disk.hosts[name].dispatch if self.server is not None else None
        counted = offer is not None and offer.number == event.dispatch
        self.expect(counted, f"{name} begins what the server has given up")
        self._budgets(machine)
        opened = self.server.disk.rollouts[made.id].wave if self.server is not None else 0
        self.expect(made.targets[name].wave <= opened, f"{name} begins before its wave is open")
        held = [n for n in range(made.targets[name].wave) if made.rollout.waves[n].absent == "hold"]
        for wave in held if made.id not in self.promoted_by_hand else ():
            hosts = set(made.waves_of[wave])
            done = len(hosts & self.converged.get(made.id, set()))
            needed = min(made.rollout.waves[wave].proven, len(hosts))
            self.expect(done >= needed, f"{name} begins before wave {wave} is through")

    def _soaked(self, machine: Machine) -> None:
        """By the machine's own history: since its activation it soaked, and every probe was seen."""
        terms, history = machine.state.terms, self._emitted[machine.name]
        assert terms is not None
        activated = max(n for n, one in enumerate(history) if isinstance(one.event, events.Activated))
        since = [one.event for one in history[activated:]]
        seen = {event.probe: event.passed for event in since if isinstance(event, events.Probed)}
        bad = [probe.name for probe in terms.probes if probe.mode == "enforce" and not seen.get(probe.name, False)]
        self.expect(history[-1].at - history[activated].at >= terms.soak, f"{machine.name} soaked for too short a time")
        self.expect(all(probe.name in seen for probe in terms.probes), f"{machine.name} converged with a probe unseen")
        self.expect(not bad, f"{machine.name} converged while probes fail")

    def _budgets(self, machine: Machine) -> None:
        """Machines that really change, but for those that were given up for lost, keep within the budgets."""
        assert self.server is not None
        terms, hosts = machine.state.terms, self.server.disk.hosts
        assert terms is not None
        changing = {name for name, one in self.machines.items() if one.state.phase in CHANGING and not hosts[name].lost}
        for budget in self._signed.rollouts[terms.rollout].rollout.budgets:
            count = len(changing.intersection(budget.hosts))
            if machine.name in budget.hosts:
                self.expect(count <= budget.limit, f"{count} hosts of budget {budget.name} change, {budget.limit} may")

    def on_server(self, event: events.Event, found: tuple[effects.Effect, ...]) -> None:
        """What the server took in."""
        assert self.server is not None
        if isinstance(event, events.Command) and isinstance(event.verb, events.Promote) and found:
            self.promoted_by_hand.add(event.verb.rollout)
        handed = isinstance(event, events.Noted) and isinstance(event.note, events.Handed)
        if handed and found:
            host = self.server.fleet.hosts[event.note.host]  # type: ignore[union-attr]  # it was handed
            offer = host.dispatch
            assert offer is not None
            stage = self.server.fleet.rollouts[offer.rollout].stage
            back = (Stage.ROLLING_BACK, Stage.ROLLED_BACK)
            self.expect(stage in (back if offer.recall else _OPEN), f"{host.name} was offered what is {stage}")

    # -- in between, and at the end

    def the_log_is_the_state(self) -> None:
        """The state is what the log adds up to, and what the rows say."""
        assert self.server is not None
        disk, fleet = self.server.disk, self.server.fleet
        rebuilt = fold(FleetState(layouts=disk.documents), disk.log)
        self.expect(without_presence(rebuilt) == without_presence(fleet), "the log does not add up to the state")
        self.expect(without_presence(disk.load(0)) == without_presence(fleet), "the rows are not the state")
        given = {name: one.number for name, one in disk.outbox.items()}
        offers = ((name, host.dispatch) for name, host in fleet.hosts.items())
        self.expect(
            given == {name: one.number for name, one in offers if one is not None and not one.withdrawn},
            "hosts are given what is not their present offer",
        )

    def nothing_was_lost(self) -> None:
        """Every report is in the log once, and in its order."""
        assert self.server is not None
        logged: dict[str, list[events.Report]] = {}
        for record in self.server.disk.log:
            if isinstance(record.event, events.Report):
                logged.setdefault(record.event.host, []).append(record.event)
        for name, machine in self.machines.items():
            emitted, waiting = self._emitted.get(name, []), len(machine.outbox)
            taken = logged.get(name, [])
            self.expect(taken == emitted[: len(taken)], f"reports of {name} were lost or taken twice")
            self.expect(len(taken) >= len(emitted) - waiting, f"reports of {name} were acknowledged and are not there")

    def hosts_are_where_policy_says(self) -> None:
        """At the end, when nothing goes wrong any more: the last rollouts are through, and what was taken back is gone
        from every host that it could be taken from."""
        assert self.server is not None
        fleet = self.server.fleet
        for channel in fleet.channels.values():
            stage = fleet.rollouts[channel.present].stage
            self.expect(channel.present == channel.tip, f"the last rollout of {channel.name} was not opened")
            self.expect(stage is Stage.COMPLETED, f"the last rollout of {channel.name} is {stage}")
            for name, target in fleet.layouts[channel.present].targets.items():
                machine = self.machines[name]
                self.expect(machine.standing == target.order, f"{name} has not its present order")
                self.expect(machine.state.phase is Phase.CONVERGED, f"{name} is {machine.state.phase}")
                thought = fleet.hosts[name].phase
                self.expect(thought is Phase.CONVERGED, f"{name} is thought to be {thought}")
        self.expect(not any(m.outbox for m in self.machines.values()), "reports are still to be told")

    def settled(self, rollout: str) -> None:
        """Of a rollout that is taken back, and over: it stands on no host that could be reached and could go back."""
        assert self.server is not None
        for name, host in self.server.fleet.hosts.items():
            machine, target = self.machines[name], self._signed.rollouts[rollout].targets.get(name)
            stuck = Phase.STUCK in (host.phase, machine.state.phase)
            if target is None or host.rollout != rollout or stuck:
                continue
            seen = self.server.fleet.presence.get(name)
            policy = self._signed.rollouts[rollout].rollout.policy
            if seen is None or self._world.now - seen.seen_at > policy.offline_after or host.lost:
                continue
            self.expect(machine.standing == machine.state.prior, f"{name} still has what was taken back")
