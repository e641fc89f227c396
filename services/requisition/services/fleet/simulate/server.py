"""The server of the simulation: one mutator over the real planner and fold, an applier over dictionaries that survive
its crashes, as a database would."""

from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from requisition.services.fleet import effects, events
from requisition.services.fleet.fold import apply, heard, known
from requisition.services.fleet.layout import Layout
from requisition.services.fleet.offers import offer_for
from requisition.services.fleet.planner import plan_next
from requisition.services.fleet.rollout import Tip
from requisition.services.fleet.simulate.world import World
from requisition.services.fleet.state import (
    ChannelState,
    Dispatch,
    FleetState,
    HostState,
    Quarantined,
    RolloutState,
)

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


class Disk:
    """What the server wrote: rows, documents, the log, what hosts are to be given. Changed by one transaction at a
    time."""

    def __init__(self) -> None:
        self.hosts: dict[str, HostState] = {}
        self.rollouts: dict[str, RolloutState] = {}
        self.channels: dict[str, ChannelState] = {}
        self.quarantined: dict[tuple[str, str], Quarantined] = {}
        self.nonces: dict[str, int] = {}
        self.outbox: dict[str, Dispatch] = {}
        self.log: list[events.Record] = []
        self.documents: dict[str, Layout] = {}
        self.tips: dict[str, Tip] = {}
        self.log_from = 0

    def load(self, now: int) -> FleetState:
        """The state as the rows have it, after a start at `now`."""
        return FleetState(
            number=len(self.log),
            log_from=self.log_from,
            hosts=dict(self.hosts),
            rollouts=dict(self.rollouts),
            channels=dict(self.channels),
            quarantined=dict(self.quarantined),
            nonces=dict(self.nonces),
            layouts=dict(self.documents),
            up_since=now,
        )

    def apply(self, effect: effects.Effect, now: int) -> None:
        """One remote effect. Doing it twice is doing it once; local ones have no business here."""
        match effect:
            case effects.AppendLog(event):
                self.log_from = self.log_from or now
                self.log.append(events.Record(len(self.log) + 1, now, event))
            case effects.SaveHost(host):
                self.hosts[host.name] = host
            case effects.SaveRollout(rollout):
                self.rollouts[rollout.id] = rollout
            case effects.SaveChannel(channel):
                self.channels[channel.name] = channel
            case effects.PutDispatch(name, dispatch):
                self.outbox[name] = dispatch
            case effects.PurgeDispatch(name):
                self.outbox.pop(name, None)
            case effects.InsertQuarantine(quarantined):
                self.quarantined.setdefault((quarantined.channel, quarantined.order), quarantined)
            case effects.UseNonce(nonce, at, forget):
                self.nonces = {name: used for name, used in self.nonces.items() if used >= forget} | {nonce: at}
            case effects.CutLog(before):
                self.log_from = before


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
