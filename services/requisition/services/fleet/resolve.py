"""fleet.yaml and built orders → the rollout of each channel. Pure; who signs it is the caller's business, with a key
that no server has.

Selectors are answered here, once: a rollout lists hosts, so that whoever runs it later has nothing left to decide.
"""

from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from requisition.schemas.diagnostic import BadInput, Diagnostic
from requisition.schemas.keys import parse_public_key
from requisition.services.fleet.fleetfile import ChannelEntry, Fleet, PolicyEntry, ProbeEntry, WaveEntry, span
from requisition.services.fleet.rollout import (
    Budget,
    Edge,
    Health,
    Policy,
    Probe,
    Rollout,
    Target,
    Wave,
    same_but_serial,
)
from requisition.services.fleet.selectors import HostFacts, selected, selector

Orders = Mapping[str, Mapping[str, str]]
"""Digests of built orders by channel and platform: "linux/amd64/debian", "linux/amd64", "linux", or "" for any."""


class Resolved(Struct, frozen=True):
    """The rollouts by channel; those that are new; what a reader should know."""

    rollouts: dict[str, Rollout]
    changed: tuple[str, ...]
    notes: tuple[str, ...]


def resolve(fleet: Fleet, orders: Orders, former: Mapping[str, Rollout], where: str) -> Resolved:
    """The rollouts that the file asks for. One that says what the former one of its channel said is that one still;
    others get a serial above all former ones. Raises BadInput with every mistake."""
    facts = {name: HostFacts(name, host.channel, host.platform, host.tags) for name, host in fleet.hosts.items()}
    serial = max((one.serial for one in former.values()), default=0) + 1
    made: dict[str, Rollout] = {}
    findings: list[Diagnostic] = []
    notes: list[str] = []
    for channel in sorted(fleet.channels):
        try:
            made[channel] = _channel(fleet, channel, facts, orders, serial, where, notes)
        except BadInput as failure:
            findings += failure.diagnostics
    if findings:
        raise BadInput(list(dict.fromkeys(findings)))
    changed = tuple(name for name in made if name not in former or not same_but_serial(made[name], former[name]))
    kept = {name: one if name in changed else former[name] for name, one in made.items()}
    return Resolved(kept, changed, tuple(notes))


def _channel(
    fleet: Fleet,
    name: str,
    facts: Mapping[str, HostFacts],
    orders: Orders,
    serial: int,
    where: str,
    notes: list[str],
) -> Rollout:
    entry = fleet.channels[name]
    policy = fleet.policies[entry.policy]
    members = [host for host in facts.values() if host.channel == name]
    if not members:
        notes.append(f"channel {name} has no hosts")
    waves = policy.waves or (WaveEntry("all"),)
    wave_of = _waves(entry, waves, members, where)
    edges = tuple(sorted((Edge(e.before, e.after) for e in fleet.edges if e.after in wave_of), key=_by_names))
    for edge in edges:
        if wave_of[edge.before] > wave_of[edge.after]:
            raise BadInput.of(
                f"host {edge.after} is in an earlier wave than {edge.before}, which comes before it",
                where=where,
                why="each would wait for the other",
                next=f"put {edge.before} into the same wave or an earlier one, or take the edge out",
            )
    for number, wave in enumerate(waves):
        if members and number not in wave_of.values():
            notes.append(f"channel {name}: wave {wave.name} has no hosts")
    return Rollout(
        fleet=fleet.fleet,
        channel=name,
        serial=serial,
        freshness=span(entry.freshness),
        policy=_policy(entry.policy, policy),
        waves=tuple(Wave(wave.name, span(wave.soak), wave.proven, wave.absent) for wave in waves),
        targets=_targets(fleet, name, wave_of, orders.get(name, {}), where),
        edges=edges,
        after=tuple(sorted(set(entry.after))),
        budgets=_budgets(fleet, facts, set(wave_of), where),
        probes=tuple(
            _probe(probe, one, hosts)
            for probe, one in sorted(fleet.probes.items())
            if one.mode != "disabled" and (hosts := selected(one.hosts, members, f"{where}: probes.{probe}.hosts"))
        ),
    )


def _by_names(edge: Edge) -> tuple[str, str]:
    return edge.before, edge.after


def _waves(entry: ChannelEntry, waves: tuple[WaveEntry, ...], members: list[HostFacts], where: str) -> dict[str, int]:
    """The first wave that means a host is its wave; a host that none means is never changed, so that is refused."""
    tests = [
        selector(wave.hosts, f"{where}: policies.{entry.policy}.waves.{number}.hosts")
        for number, wave in enumerate(waves)
    ]
    found = {}
    for host in members:
        number = next((number for number, test in enumerate(tests) if test(host)), None)
        if number is None:
            raise BadInput.of(
                f"host {host.name} is in no wave of policy {entry.policy}",
                where=where,
                next="add a last wave: {name: all, hosts: all}",
            )
        found[host.name] = number
    return found


def _targets(
    fleet: Fleet, channel: str, wave_of: Mapping[str, int], built: Mapping[str, str], where: str
) -> tuple[Target, ...]:
    targets, missing = [], set()
    for name in sorted(wave_of):
        host = fleet.hosts[name]
        parts = host.platform.split("/")
        platforms = ["/".join(parts[:end]) for end in range(len(parts), -1, -1)]
        order = next((built[one] for one in platforms if one in built), "")
        if not order:
            missing.add(host.platform)
        key = parse_public_key(host.key, where).keyid if host.key else ""
        targets.append(Target(name, wave_of[name], order, key))
    if missing:
        raise BadInput(
            Diagnostic(
                what=f"channel {channel} has no order for {platform}", where=where, next="build one for that platform"
            )
            for platform in sorted(missing)
        )
    return tuple(targets)


def _budgets(fleet: Fleet, facts: Mapping[str, HostFacts], members: set[str], where: str) -> tuple[Budget, ...]:
    """The budgets that list a host of the channel, with all their hosts, of whichever channel."""
    found = []
    for name, entry in sorted(fleet.budgets.items()):
        hosts = selected(entry.hosts, facts.values(), f"{where}: budgets.{name}.hosts")
        if members.intersection(hosts):
            found.append(Budget(name, hosts, entry.max, entry.percent))
    return tuple(found)


def _policy(name: str, entry: PolicyEntry) -> Policy:
    health = Health(entry.health.max_failures, entry.health.max_percent, entry.health.lost)
    return replace(
        Policy(name, entry.on_failure, health),
        lease=span(entry.lease),
        start_within=span(entry.start_within),
        confirm_within=span(entry.confirm_within),
        rollback_within=span(entry.rollback_within),
        sustain=span(entry.sustain),
        offline_after=span(entry.offline_after),
    )


def _probe(name: str, entry: ProbeEntry, hosts: tuple[str, ...]) -> Probe:
    assert entry.mode != "disabled"
    return Probe(
        name,
        entry.kind,
        hosts,
        entry.mode,
        span(entry.every),
        span(entry.timeout),
        entry.command,
        entry.url,
        entry.expect,
        entry.units,
    )
