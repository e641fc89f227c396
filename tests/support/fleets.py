"""A fleet on a table: a server's state, told what hosts, operators and time say, one thing after the other."""

from collections.abc import Iterable, Sequence
from typing import Any

from requisition.services.fleet import effects, events
from requisition.services.fleet.actions import PlanAction
from requisition.services.fleet.fold import apply, heard, known
from requisition.services.fleet.layout import Layout, layout
from requisition.services.fleet.offers import offer_for
from requisition.services.fleet.planner import plan_next
from requisition.services.fleet.rollout import Budget, Edge, Health, Policy, Probe, Rollout, Target, Wave, digest
from requisition.services.fleet.state import Dispatch, FleetState, HostState

START = 1_800_000_000_000
SECOND = 1_000
MINUTE = 60_000
DAY = 86_400_000
OLD = digest(b"old")
FLEET_YAML = """\
version: "1"
fleet: home
hosts:
  db1: {channel: db}
  web1: {channel: web, platform: linux/amd64, tags: [canary]}
  web2: {channel: web, platform: linux/amd64}
channels:
  db: {package: packages/db, policy: plain}
  web: {order: web.plan, policy: careful, freshness: 1d, signing: 6h, after: [db]}
policies:
  plain: {}
  careful:
    waves:
      - {name: canary, hosts: '"canary" in tags', soak: 10m}
      - {name: all, hosts: all}
    on_failure: halt
    health: {max_failures: 1, max_percent: 10}
edges:
  - {before: web1, after: web2}
budgets:
  web: {hosts: channel == "web", percent: 25}
probes:
  answers: {kind: http, hosts: channel == "web", url: "http://127.0.0.1/health"}
  mail: {kind: units, units: [postfix.service], mode: disabled}
"""


def order_of(serial: int) -> str:
    return digest(b"order %d" % serial)


def made(
    waves: Sequence[Sequence[str]],
    *,
    channel: str = "web",
    serial: int = 1,
    soak: int = 0,
    order: str = "",
    probes: Iterable[str] = (),
    modes: dict[str, Any] | None = None,
    budgets: Sequence[Budget] = (),
    edges: Sequence[Edge] = (),
    after: Sequence[str] = (),
    on_failure: Any = "halt",
    health: Health | None = None,
    proven: int = 1,
    absent: Any = "skip",
) -> Layout:
    """A rollout of these hosts, wave by wave; waves are called w0, w1 …"""
    hosts = sorted(host for wave in waves for host in wave)
    wave_of = {host: number for number, wave in enumerate(waves) for host in wave}
    return layout(
        Rollout(
            fleet="home",
            channel=channel,
            serial=serial,
            freshness=DAY,
            policy=Policy("p", on_failure, health or Health()),
            waves=tuple(Wave(f"w{number}", soak, proven, absent) for number in range(len(waves))),
            targets=tuple(Target(host, wave_of[host], order or order_of(serial)) for host in hosts),
            edges=tuple(edges),
            after=tuple(after),
            budgets=tuple(budgets),
            probes=tuple(Probe(p, "command", tuple(hosts), (modes or {}).get(p, "enforce")) for p in probes),
        )
    )


class Table:
    """`log` are the rows, `last` the effects of the last event. Hosts are enrolled and online unless told otherwise."""

    def __init__(self, *hosts: str) -> None:
        self.now = START
        self.fleet = FleetState(up_since=START)
        self.log: list[events.Record] = []
        self.last: tuple[effects.Effect, ...] = ()
        self.away: set[str] = set()
        for host in hosts:
            self.note(events.Enrolled(host, f"{host}-1", ""))
        self.beat()

    def take(self, event: events.Event) -> tuple[effects.Effect, ...]:
        self.fleet, self.last = apply(self.fleet, event, self.now)
        for effect in self.last:
            if isinstance(effect, effects.AppendLog):
                self.log.append(events.Record(self.fleet.number, self.now, effect.event))
        return self.last

    def note(self, note: events.Note) -> None:
        self.take(events.Noted(note))

    def publish(self, made: Layout, *, signed_at: int | None = None) -> str:
        self.fleet = known(self.fleet, made)
        at = self.now if signed_at is None else signed_at
        self.note(events.Published(made.rollout.channel, made.id, made.rollout.serial, at))
        return made.id

    def beat(self) -> None:
        """Everyone who is there says so, and has heard the server's answer."""
        for name, host in self.fleet.hosts.items():
            if name not in self.away:
                word = events.Heartbeat(host=name, stream=host.stream, seq=host.seq, heard=self.now)
                self.fleet, _ = heard(self.fleet, word, self.now)

    def wait(self, span: int) -> None:
        self.now += span
        self.beat()

    def plan(self) -> tuple[PlanAction, ...]:
        return plan_next(self.fleet, self.now)

    def tick(self, rounds: int = 4) -> list[PlanAction]:
        """Plan and apply, until there is nothing to do."""
        done: list[PlanAction] = []
        for _ in range(rounds):
            actions = self.plan()
            done += actions
            for action in actions:
                self.note(events.Planned(action))
        return done

    def host(self, name: str) -> HostState:
        return self.fleet.hosts[name]

    def stage(self, rollout: str) -> str:
        return self.fleet.rollouts[rollout].stage

    def report(self, name: str, event: events.HostEvent, *, seq: int = 0) -> tuple[effects.Effect, ...]:
        host = self.host(name)
        number = seq or host.seq + 1
        return self.take(events.Report(host=name, stream=host.stream, seq=number, at=self.now, event=event))

    def verb(self, verb: events.Verb, nonce: str = "") -> tuple[effects.Effect, ...]:
        nonce = nonce or f"nonce-{len(self.log):016d}"
        command = events.Command(fleet="home", nonce=nonce, signed_at=self.now, by="ada", verb=verb)
        return self.take(command)

    def offers(self) -> dict[str, Dispatch]:
        """What hosts would be given now."""
        found = {name: offer_for(self.fleet, name, self.now) for name in self.fleet.hosts}
        return {name: one for name, one in found.items() if one is not None}

    # -- what hosts do

    def begins(self, name: str, prior: str = OLD) -> None:
        offer = self.offers()[name]
        self.note(events.Handed(name, offer.number))
        self.report(name, events.Began(offer.rollout, offer.order, prior, offer.number))

    def activates(self, name: str, prior: str = OLD) -> None:
        self.begins(name, prior)
        host = self.host(name)
        self.report(name, events.Activated(host.rollout, host.order))

    def converges(self, *names: str) -> None:
        """They take their offer and see it through at once (soak 0, probes pass)."""
        for name in names:
            self.activates(name)
            host = self.host(name)
            for probe in self.fleet.layouts[host.rollout].probes_of(name):
                self.report(name, events.Probed(host.rollout, probe.name, passed=True))
            self.report(name, events.Converged(host.rollout, host.order))

    def fails(self, name: str) -> None:
        self.begins(name)
        self.report(name, events.ActivationFailed(self.host(name).rollout, 1, "a node failed", OLD))
