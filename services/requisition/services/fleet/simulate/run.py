"""One run: a scenario played through, watched by the oracle."""

from collections.abc import Callable
from functools import partial

from msgspec.structs import replace

from requisition.services.fleet import actions, effects, events
from requisition.services.fleet.rollout import SKEW, Tip
from requisition.services.fleet.simulate.machine import Machine, Nature, Signed
from requisition.services.fleet.simulate.oracle import Oracle
from requisition.services.fleet.simulate.scenario import SIGNING, START, Fault, Scenario, Size, scenario
from requisition.services.fleet.simulate.server import Answer, Server
from requisition.services.fleet.simulate.world import Weather, World


class Run:
    """A fleet in its world."""

    def __init__(self, plan: Scenario) -> None:
        self.plan = plan
        self.world = World(plan.seed, plan.weather, START)
        self.signed = Signed()
        self.oracle = Oracle(self.world, plan, self.signed)
        self.server = Server(self.world, self._on_server)
        self.oracle.server = self.server
        self.machines = self.oracle.machines
        self._unsigned: dict[str, int] = {}
        self._old_answers: list[Answer] = []
        for name in plan.hosts:
            self.machines[name] = Machine(
                self.world,
                name,
                plan.skews[name],
                self.signed,
                lambda host, order: plan.natures.get((host, order), Nature()),
                self._asked,
                self.oracle.on_machine,
            )

    def play(self) -> None:
        """All of it. Raises Broken."""
        self._prepare()
        self.world.run(START + self.plan.quiet)
        self.world.weather, self.world.cut_off = Weather(), {}
        self.oracle.the_log_is_the_state()
        self.oracle.nothing_was_lost()
        self.world.run(START + self.plan.end)
        self.oracle.the_log_is_the_state()
        self.oracle.nothing_was_lost()
        self.oracle.hosts_are_where_policy_says()

    def _prepare(self) -> None:
        world, plan = self.world, self.plan
        for number, (name, machine) in enumerate(self.machines.items()):
            self.server.take(events.Noted(events.Enrolled(name, f"{name}-1", "")))
            world.after(number * 97 % 60_000, machine.begin)
        self.server.begin()
        for at, made in plan.published:
            self.signed.rollouts[made.id] = made
            world.after(at, partial(self._sign, made.id))
        for fault in plan.faults:
            world.after(fault.at, partial(self._fault, fault))
        for number, (at, verb) in enumerate(plan.verbs):
            world.after(at, partial(self._verb, verb, number))

    def _sign(self, rollout: str) -> None:
        """The channel's tip, now and at each signing interval, as long as it is the newest."""
        made = self.signed.rollouts[rollout]
        channel, serial = made.rollout.channel, made.rollout.serial
        newest = self.server.disk.tips.get(channel)
        if newest is not None and newest.serial > serial:
            return
        if self._unsigned.get(channel, 0) <= self.world.now:
            tip = Tip(fleet="sim", channel=channel, serial=serial, rollout=rollout, signed_at=self.world.now)
            self.signed.tips.add(tip)
            self.server.publish(made, tip)
        self.world.after(SIGNING, partial(self._sign, rollout))

    def _asked(self, ask: object) -> Answer | None:
        answer = self.server.asked(ask)  # type: ignore[arg-type]
        if answer is not None and answer.offer is not None:
            self._old_answers.append(answer)
        return answer

    def _verb(self, verb: events.Verb, number: int) -> None:
        if self.server.up:
            command = events.Command(
                fleet="sim", nonce=f"nonce-{number:016d}", signed_at=self.world.now, by="operator", verb=verb
            )
            self.server.take(command)
            self.server.take(command)

    def _fault(self, fault: Fault) -> None:
        deeds: dict[str, Callable[[], None]] = {
            "cut": lambda: self.world.cut(fault.what, self.world.now + fault.span),
            "crash": lambda: self.machines[fault.what].crash(fault.span),
            "server": self._crash(fault.span),
            "unsigned": lambda: self._unsigned.update({fault.what: self.world.now + fault.span}),
            "replay": lambda: self._lie(self.machines[fault.what], forged=False),
            "forge": lambda: self._lie(self.machines[fault.what], forged=True),
        }
        deeds[fault.kind]()

    def _crash(self, span: int) -> Callable[[], None]:
        def crash() -> None:
            if self.server.up:
                self.oracle.the_log_is_the_state()
                self.server.crash(span)

        return crash

    def _lie(self, machine: Machine, *, forged: bool) -> None:
        """An attacker in the server's place: an answer of old once more under a new number, or one that nobody
        signed."""
        old = [answer for answer in self._old_answers if forged or self._outdated(answer, machine)]
        if not old:
            return
        answer = self.world.chance.choice(old)
        assert answer.offer is not None
        assert answer.tip is not None
        offer, tip = replace(answer.offer, number=machine.state.dispatches + 1, recall=False), answer.tip
        if forged:
            tip = replace(tip, signed_at=self.world.now + 1, rollout=offer.rollout)
        self.oracle.lies += 1
        machine.answered(replace(answer, offer=offer, tip=tip, asked_at=machine.clock, acknowledged=0, missing=0))

    def _outdated(self, answer: Answer, machine: Machine) -> bool:
        """Whether a host must not take this any more."""
        assert answer.offer is not None
        assert answer.tip is not None
        made = self.signed.rollouts[answer.offer.rollout].rollout
        stale = self.world.now - answer.tip.signed_at > made.freshness + 3 * SKEW
        return made.serial < machine.state.serial or stale

    def _on_server(self, event: events.Event, found: tuple[effects.Effect, ...]) -> None:
        self.oracle.on_server(event, found)
        if isinstance(event, events.Noted) and isinstance(event.note, events.Planned):
            action = event.note.action
            if isinstance(action, actions.CloseRollback):
                self.oracle.settled(action.rollout)


def play(seed: int, size: Size | None = None) -> Run:
    """The run of a seed, to its end. Raises Broken."""
    run = Run(scenario(seed, size or Size()))
    run.play()
    return run
