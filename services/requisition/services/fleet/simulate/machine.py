"""A machine of the simulation: the real agent reducer over a disk that survives its crashes, and a world of faults."""

from collections.abc import Callable

from msgspec import Struct

from requisition.services.fleet import effects, events
from requisition.services.fleet.agent_reducer import step
from requisition.services.fleet.agent_state import (
    AgentState,
    Heard,
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
from requisition.services.fleet.layout import Layout
from requisition.services.fleet.rollout import Tip
from requisition.services.fleet.simulate.server import Answer, Ask
from requisition.services.fleet.simulate.world import World

POLL = 60_000
REPORTS = 20
"""How many reports go with one message."""


class Nature(Struct, frozen=True):
    """What an order does to a host: `good`, `fails` (its run does), `sick` (its probes fail), `mute` (it cuts the host
    off from the network as long as it stands), `flaps` (its probes fail at first), `restart` (it takes hold at a
    restart)."""

    kind: str = "good"
    takes: int = 20_000
    cannot_go_back: bool = False


class Signed:
    """What was really signed: rollouts by id, and tips. Whatever is not here would not be verified."""

    def __init__(self) -> None:
        self.rollouts: dict[str, Layout] = {}
        self.tips: set[Tip] = set()


class Machine:
    """One host. `nature_of` says what an order does here, `ask` is the way to the server, `watch` is told of what
    really happens."""

    def __init__(
        self,
        world: World,
        name: str,
        skew: int,
        signed: Signed,
        nature_of: Callable[[str, str], Nature],
        ask: Callable[[Ask], Answer | None],
        watch: Callable[["Machine", effects.Effect], None],
    ) -> None:
        self.world, self.name, self.skew = world, name, skew
        self._signed, self._nature_of, self._ask, self._watch = signed, nature_of, ask, watch
        self.state = AgentState(host=name, stream=f"{name}-1")
        self.outbox: list[events.Report] = []
        self.standing = ""
        self.up = True
        self.shown: Tip | None = None
        self._heard = 0
        self._life = 0
        self._run = 0
        self._probing = 0
        self._probed_since = 0

    @property
    def clock(self) -> int:
        """What this host thinks the time is."""
        return self.world.now + self.skew

    def begin(self) -> None:
        """Ask from now on."""
        life = self._life
        if self.up:
            self._poll()
            self.world.after(
                POLL + self.world.chance.randint(-5_000, 5_000), lambda: self.begin() if self._life == life else None
            )

    def crash(self, downtime: int) -> None:
        """Lose power, and come back later."""
        if self.up:
            self.up = False
            self._life += 1
            self._run += 1
            self._probing += 1
            self.world.after(downtime, self._start)

    def _start(self) -> None:
        self.up = True
        self.say(Started(self._after_restart()))
        self.begin()

    def _after_restart(self) -> str:
        terms = self.state.terms
        if self.state.phase == "restart" and terms is not None:
            self.standing = terms.order
        return self.standing

    def say(self, said: Said) -> None:
        """Something happened here: the state and its reports are saved together, then the rest is done."""
        if not self.up:
            return
        self.state, found = step(self.state, said, self.clock)
        for effect in found:
            if isinstance(effect, effects.EmitEvent):
                self._report(effect)
            self._watch(self, effect)
        for effect in found:
            self._do(effect)

    def _report(self, emitted: effects.EmitEvent) -> None:
        stream = self.state.stream
        report = events.Report(host=self.name, stream=stream, seq=emitted.seq, at=emitted.at, event=emitted.event)
        self.outbox.append(report)

    def _do(self, effect: effects.Effect) -> None:
        match effect:
            case effects.RunOrder(_, order):
                self._begin_run(order)
            case effects.StopRun():
                self._run += 1
            case effects.TakeBack(_, order, prior):
                self._begin_rollback(order, prior)
            case effects.StartProbes():
                self._probing += 1
                self._probed_since = self.world.now
                self._probe(self._probing)
            case effects.StopProbes():
                self._probing += 1
            case effects.EmitEvent():
                self.world.after(1, self._soon)
            case effects.WakeAt(at):
                self.world.after(at - self.clock, self._wake)

    def _soon(self) -> None:
        if self.up and self.outbox:
            self._poll()

    def _wake(self) -> None:
        self.say(Tick())

    # -- orders

    def _begin_run(self, order: str) -> None:
        self._run += 1
        run, nature = self._run, self._nature_of(self.name, order)
        self.world.after(nature.takes, lambda: self._end_run(run, order, nature))

    def _end_run(self, run: int, order: str, nature: Nature) -> None:
        if run != self._run or not self.up:
            return
        if nature.kind == "fails":
            self.say(RunEnded(ok=False, standing=self.standing, exit_code=1, reason="a node failed"))
        elif nature.kind == "restart":
            self.say(RunDeferred("kernel"))
            self.world.after(20_000, lambda: self.crash(5_000))
        else:
            self.standing = order
            self.say(RunEnded(ok=True, standing=order))

    def _begin_rollback(self, order: str, prior: str) -> None:
        self._run += 1
        run, nature = self._run, self._nature_of(self.name, order)
        self.world.after(nature.takes, lambda: self._end_rollback(run, prior, nature))

    def _end_rollback(self, run: int, prior: str, nature: Nature) -> None:
        if run != self._run or not self.up:
            return
        if nature.cannot_go_back:
            self.say(RollbackEnded(ok=False, standing=self.standing, exit_code=1, reason="a disk is full"))
        else:
            self.standing = prior
            self.say(RollbackEnded(ok=True, standing=prior))

    def _probe(self, number: int) -> None:
        terms = self.state.terms
        if number != self._probing or not self.up or terms is None:
            return
        nature = self._nature_of(self.name, self.standing) if self.standing else Nature()
        early = self.world.now - self._probed_since < terms.sustain // 2
        passed = not (nature.kind == "sick" or (nature.kind == "flaps" and early))
        for probe in terms.probes:
            self.say(ProbeSeen(probe.name, passed, "" if passed else "it does not answer"))
        every = min((probe.every for probe in terms.probes), default=0)
        if every:
            self.world.after(every, lambda: self._probe(number))

    # -- the server

    def _mute(self) -> bool:
        return bool(self.standing) and self._nature_of(self.name, self.standing).kind == "mute"

    def _poll(self) -> None:
        if self._mute():
            return
        word = events.Heartbeat(host=self.name, stream=self.state.stream, seq=self.state.seq, heard=self._heard)
        ask = Ask(word, tuple(self.outbox[:REPORTS]), self.clock)
        self.world.send(self.name, lambda: self._deliver(ask))

    def _deliver(self, ask: Ask) -> None:
        answer = self._ask(ask)
        if answer is not None:
            self.world.send(self.name, lambda: self.answered(answer))

    def answered(self, answer: Answer) -> None:
        """What the server says, or someone who claims to be it."""
        if not self.up or self._mute():
            return
        self._heard = max(self._heard, answer.at)
        if answer.acknowledged:
            self.outbox = [report for report in self.outbox if report.seq > answer.acknowledged]
            self.say(Heard(answer.acknowledged))
        if answer.missing and answer.missing <= self.state.seq and all(r.seq != answer.missing for r in self.outbox):
            self.say(Missing())
        if answer.offer is not None and answer.tip is not None:
            self._offered(answer)

    def _offered(self, answer: Answer) -> None:
        """What the shell of an agent does before its reducer hears of an offer: nothing counts that is not signed."""
        offer, tip = answer.offer, answer.tip
        assert offer is not None
        assert tip is not None
        layout = self._signed.rollouts.get(offer.rollout)
        if layout is None or self.name not in layout.targets:
            return
        terms, why = terms_of(layout, self.name), ""
        self.shown = tip
        if not offer.recall and tip not in self._signed.tips:
            why = "the tip is not signed"
        elif not offer.recall and (terms.order != offer.order or tip.rollout != offer.rollout):
            why = "it is not what the signed tip names"
        self.say(Offered(offer.number, offer.recall, terms, tip.signed_at, answer.asked_at, objection=why))
