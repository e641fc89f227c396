"""What will happen in a run, from its seed: hosts, channels, rollouts and what their orders do, faults, and
operators."""

from random import Random
from typing import Literal

from msgspec import Struct

from requisition.services.fleet import events
from requisition.services.fleet.layout import Layout, layout
from requisition.services.fleet.rollout import Budget, Edge, Health, Policy, Probe, Rollout, Target, Wave, digest
from requisition.services.fleet.simulate.machine import Nature
from requisition.services.fleet.simulate.world import Weather

MINUTE = 60_000
START = 1_800_000_000_000
SIGNING = 10 * MINUTE
FRESHNESS = 30 * MINUTE


class Size(Struct, frozen=True):
    """How much of everything: hosts and channels of the fleet, rollouts of each channel, minutes between two of
    them."""

    hosts: int = 12
    channels: int = 2
    rollouts: int = 3
    spacing: int = 14


class Fault(Struct, frozen=True):
    """At `at` (milliseconds after the start) something goes wrong for `span`: a host is cut off or crashes, the server
    crashes, the channel's tips are not renewed, or someone plays an old or made-up answer to a host."""

    at: int
    kind: str
    what: str
    span: int


class Scenario(Struct, frozen=True):
    """`published`: when (after the start) which rollout is signed. `natures`: what an order does to a host, where it
    is not simply good. `verbs`: what operators sign when. `quiet`: when faults end; `end`: when the run does."""

    seed: int
    hosts: tuple[str, ...]
    skews: dict[str, int]
    weather: Weather
    published: tuple[tuple[int, Layout], ...]
    natures: dict[tuple[str, str], Nature]
    faults: tuple[Fault, ...]
    verbs: tuple[tuple[int, events.Verb], ...]
    quiet: int
    end: int


def scenario(seed: int, size: Size) -> Scenario:
    """The run of a seed."""
    chance = Random(seed)  # noqa: S311  (a simulation must repeat itself)
    hosts = tuple(f"h{number:05d}" for number in range(size.hosts))
    channels = [f"c{number}" for number in range(size.channels)]
    homes = {host: channels[number % size.channels] for number, host in enumerate(hosts)}
    quiet = size.rollouts * size.spacing * MINUTE
    # at worst one host after the other, or a tenth of many, in one channel and then in one that waits for it
    end = quiet + (30 + 2 * 6 * min(size.hosts // size.channels + 1, 10)) * MINUTE
    published: list[tuple[int, Layout]] = []
    natures: dict[tuple[str, str], Nature] = {}
    serial = 0
    for generation in range(size.rollouts + 1):
        for channel in channels:
            serial += 1
            members = [host for host in hosts if homes[host] == channel]
            made = _rollout(chance, serial, channel, channels, members, hosts)
            last = generation == size.rollouts
            at = quiet + 20 * MINUTE if last else generation * size.spacing * MINUTE
            published.append((at + chance.randint(0, 2 * MINUTE), made))
            natures |= _natures(chance, made, last=last)
    return Scenario(
        seed,
        hosts,
        {host: chance.randint(-50_000, 50_000) for host in hosts},
        chance.choice([Weather(), Weather(0.05, 0.05, 2_000, 20_000), Weather(0.25, 0.15, 5_000, 600_000)]),
        tuple(sorted(published, key=lambda one: one[0])),
        natures,
        _faults(chance, hosts, channels, quiet, end),
        _verbs(chance, hosts, published[: -size.channels], quiet),
        quiet,
        end,
    )


def _rollout(
    chance: Random, serial: int, channel: str, channels: list[str], members: list[str], hosts: tuple[str, ...]
) -> Layout:
    canaries = max(1, len(members) // 6)
    order = digest(f"order {serial}".encode())
    wave_of = {host: 0 if number < canaries else 1 + number % 2 for number, host in enumerate(members)}
    budgets = [Budget("members", tuple(members), percent=chance.choice([20, 34, 50]))]
    budgets.append(Budget("all", hosts, max=max(1, len(hosts) // 3)))
    first, then = sorted(members[-2:], key=lambda host: wave_of[host]) if len(members) > 1 else ("", "")
    edges = (Edge(first, then),) if then and chance.random() < 0.5 else ()
    after = (channels[0],) if channel != channels[0] and chance.random() < 0.3 else ()
    probes = [Probe("answers", "command", tuple(members), every=20_000, command=("true",))]
    if chance.random() < 0.5:
        probes.append(Probe("watched", "drift", tuple(members), mode="observe", every=20_000))
    policy = Policy(
        chance.choice(["careful", "bold"]),
        chance.choice(["halt", "rollback-and-halt"]),
        chance.choice([Health(), Health(max_failures=1), Health(max_percent=25), Health(2, 50, "ignore")]),
        lease=2 * MINUTE,
        start_within=30_000,
        confirm_within=4 * MINUTE,
        rollback_within=2 * MINUTE,
        sustain=40_000,
        offline_after=150_000,
    )
    absent: Literal["skip", "hold"] = chance.choice(["hold", "hold", "skip"])
    waves = (
        Wave("canary", chance.choice([0, MINUTE]), absent=absent),
        Wave("some", chance.choice([0, MINUTE]), absent=absent),
        Wave("all", 20_000, absent=absent),
    )
    return layout(
        Rollout(
            fleet="sim",
            channel=channel,
            serial=serial,
            freshness=FRESHNESS,
            policy=policy,
            waves=waves,
            targets=tuple(Target(host, wave_of[host], order) for host in members),
            edges=edges,
            after=after,
            budgets=tuple(budgets),
            probes=tuple(probes),
        )
    )


def _natures(chance: Random, made: Layout, *, last: bool) -> dict[tuple[str, str], Nature]:
    """The last rollout of a channel is good; one in two of the others is not, for some hosts."""
    harmless, bad = ["good", "good", "flaps", "restart"], ["fails", "sick", "mute"]
    share = 0.0 if last or chance.random() < 0.5 else chance.choice([0.1, 0.4, 1.0])
    kind = chance.choice(bad)
    found = {}
    for host, target in made.targets.items():
        hit = chance.random() < share
        stuck = hit and kind != "mute" and chance.random() < 0.3
        found[host, target.order] = Nature(
            kind if hit else chance.choice(harmless), chance.randint(1_000, 90_000), cannot_go_back=stuck
        )
    return found


def _faults(chance: Random, hosts: tuple[str, ...], channels: list[str], quiet: int, end: int) -> tuple[Fault, ...]:
    found = []
    for host in hosts:
        for kind, longest in (("cut", quiet // 2), ("cut", 5 * MINUTE), ("crash", 6 * MINUTE)):
            at, span = chance.randint(0, quiet), chance.randint(1_000, longest)
            found += [Fault(at, kind, host, span)] * chance.randint(0, 1)
        if chance.random() < 0.3:
            found.append(Fault(chance.randint(0, quiet), chance.choice(["replay", "forge"]), host, 0))
        if chance.random() < 0.3:
            found.append(Fault(end - 10 * MINUTE, "replay", host, 0))
    for _ in range(chance.randint(0, 4)):
        found.append(Fault(chance.randint(0, quiet), "server", "", chance.randint(1_000, 4 * MINUTE)))
    if chance.random() < 0.3:
        found.append(Fault(chance.randint(0, quiet // 2), "unsigned", chance.choice(channels), quiet // 2))
    return tuple(sorted(found, key=lambda one: (one.at, one.kind, one.what)))


def _verbs(
    chance: Random, hosts: tuple[str, ...], published: list[tuple[int, Layout]], quiet: int
) -> tuple[tuple[int, events.Verb], ...]:
    """Now and then an operator steps in; never into the last rollout of a channel."""
    found: list[tuple[int, events.Verb]] = []
    for at, made in published:
        if chance.random() < 0.4:
            verbs: list[events.Verb] = [
                events.Halt(made.id, "a look"),
                events.Pause(made.id),
                events.Cancel(made.id, "not needed"),
                events.RollBack(made.id, "not wanted"),
                events.Promote(made.id, 1, "in a hurry"),
                events.Quarantine(made.rollout.channel, made.orders[0], "bad"),
            ]
            when = at + chance.randint(0, 10 * MINUTE)
            found.append((when, chance.choice(verbs)))
            found.append((when + chance.randint(0, 5 * MINUTE), events.Resume(made.id, retry=chance.random() < 0.5)))
        if chance.random() < 0.2:
            found.append((chance.randint(0, quiet), events.Retry(chance.choice(hosts))))
    return tuple(sorted(found, key=lambda one: one[0]))
