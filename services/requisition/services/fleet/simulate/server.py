"""The server of the simulation: one mutator over the real planner, fold and applier, and a disk (`disk`) that survives
its crashes."""

from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from requisition.services.fleet import effects, events
from requisition.services.fleet.fold import apply, heard, known
from requisition.services.fleet.layout import Layout
from requisition.services.fleet.offers import offer_for
from requisition.services.fleet.planner import plan_next
from requisition.services.fleet.rollout import Tip
from requisition.services.fleet.simulate.disk import Disk
from requisition.services.fleet.simulate.world import World
from requisition.services.fleet.state import Dispatch, FleetState

TICK = 5_000


class Ask(Struct, frozen=True):
    """What a host sends: that it is there, reports that were not acknowledged, and that it takes work. `asked_at` is
    of its clock and comes back to it."""

    word: events.Heartbeat
    reports: tuple[events.Report, ...]
    asked_at: int


class Answer(Struct, frozen=True):
    """What it gets: the server's time, up to where its reports are on the disk, from where they are missing (0:
    nowhere), and an offer with the tip that it is given under."""

    at: int
    asked_at: int
    acknowledged: int
    missing: int
    offer: Dispatch | None
    tip: Tip | None


class Server:
    """One server. `watch` is told of each event and its effects, after they are on the disk."""

    def __init__(self, world: World, watch: Callable[[events.Event, tuple[effects.Effect, ...]], None]) -> None:
        self.world, self._watch = world, watch
        self.disk = Disk()
        self.fleet = FleetState(up_since=world.now)
        self.up = True

    def begin(self) -> None:
        """Plan from now on, at each tick."""
        self.tick()
        self.world.after(TICK, self.begin)

    def tick(self) -> None:
        """Do what the planner asks for, one action after the other."""
        if self.up:
            for action in plan_next(self.fleet, self.world.now):
                self.take(events.Noted(events.Planned(action)))

    def take(self, event: events.Event) -> tuple[effects.Effect, ...]:
        """One event: the new state, its transaction, and only then anything that others may learn of it."""
        fleet, found = apply(self.fleet, event, self.world.now)
        for effect in found:
            self.disk.apply(effect, self.world.now)
        self.fleet = fleet
        self._watch(event, found)
        return found

    def publish(self, layout: Layout, tip: Tip) -> None:
        """A verified rollout and its verified tip arrive."""
        self.disk.documents[layout.id] = layout
        self.disk.tips[tip.channel] = tip
        if self.up:
            self.fleet = known(self.fleet, layout)
            self.take(events.Noted(events.Published(tip.channel, tip.rollout, tip.serial, tip.signed_at)))

    def crash(self, downtime: int) -> None:
        """Forget everything that is not on the disk, and come back later."""
        self.up = False
        self.world.after(downtime, self._restart)

    def _restart(self) -> None:
        self.fleet, self.up = self.disk.load(self.world.now), True
        for tip in self.disk.tips.values():
            self.take(events.Noted(events.Published(tip.channel, tip.rollout, tip.serial, tip.signed_at)))

    def asked(self, ask: Ask) -> Answer | None:
        """The answer to a host; None when nobody answers. Reports are acknowledged when they are on the disk."""
        name, now = ask.word.host, self.world.now
        if not self.up or name not in self.fleet.hosts:
            return None
        acknowledged = missing = 0
        told: list[effects.Effect] = []
        for report in ask.reports:
            told += self.take(report)
        self.fleet, more = heard(self.fleet, ask.word, now)
        for effect in (*told, *more):
            if isinstance(effect, effects.Acknowledge):
                acknowledged = max(acknowledged, effect.seq)
            elif isinstance(effect, effects.AskAgain):
                missing = effect.seq
        if missing <= self.fleet.hosts[name].seq:
            missing = 0
        offer = offer_for(self.fleet, name, now)
        if offer is None:
            return Answer(now, ask.asked_at, acknowledged, missing, None, None)
        self.take(events.Noted(events.Handed(name, offer.number)))
        channel = self.fleet.rollouts[offer.rollout].channel
        return Answer(now, ask.asked_at, acknowledged, missing, offer, self.disk.tips[channel])


def without_presence(fleet: FleetState) -> FleetState:
    """What the log has to say about a fleet."""
    return replace(fleet, presence={}, layouts={}, up_since=0)
