"""fleet.yaml: which machines there are, what each channel gives them, how it is rolled out, and what is looked at.

    version: "1"
    fleet: home
    hosts:
      web1: {channel: web, platform: linux/amd64, tags: [canary]}
    channels:
      web: {order: web.plan, policy: careful, freshness: 1d, signing: 6h}
    policies:
      careful:
        waves:
          - {name: canary, hosts: '"canary" in tags', soak: 10m}
          - {name: all, hosts: all}
    budgets:
      web: {hosts: channel == "web", percent: 25}
    probes:
      answers: {kind: http, hosts: channel == "web", url: http://127.0.0.1/health}

This is what people write; what hosts and servers act by is the signed rollout that `resolve` makes of it.
"""

import re
from collections.abc import Iterable, Iterator

from requisition.schemas import strictyaml
from requisition.schemas.diagnostic import BadInput
from requisition.schemas.findings import Path, Problem, placed
from requisition.schemas.guarded import read_guarded
from requisition.schemas.keys import parse_public_key
from requisition.services.fleet.fleetfile import BudgetEntry, Fleet, PolicyEntry, ProbeEntry, span
from requisition.services.fleet.rollout import ProbeKind

VERSION = "1"
MAX_HOSTS = 50_000
_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?\Z")
_OF_KIND: dict[ProbeKind, str] = {"command": "command", "http": "url", "units": "units", "drift": ""}
_PLATFORM = re.compile(r"[a-z0-9]+(/[a-z0-9_]+){0,2}\Z")


def load(path: str) -> Fleet:
    """Read fleet.yaml. Raises BadInput with every mistake, Refused when others may write it."""
    why = "whoever can write it decides what runs on every host, once it is signed"
    text = read_guarded(path, "fleet.yaml", why=why)
    return parse(text, path)


def parse(text: bytes | str, where: str) -> Fleet:
    """What a text says. Raises BadInput with every mistake, each at its line and column."""
    value, positions = strictyaml.load(text, where)
    if isinstance(value, dict) and value.get("version") == 1:
        value["version"] = VERSION  # what it must be is plain, with or without quotes
    fleet = strictyaml.typed(value, positions, where, Fleet)
    problems = list(_problems(fleet))
    if problems:
        raise BadInput(placed(one, positions, where) for one in problems)
    return fleet


# -- what cannot be meant


def _problems(fleet: Fleet) -> Iterator[Problem]:
    if not _NAME.match(fleet.fleet):
        yield Problem(("fleet",), f"{fleet.fleet!r} is no name", _NAMES)
    if len(fleet.hosts) > MAX_HOSTS:
        yield Problem(("hosts",), f"more than {MAX_HOSTS} hosts", "make several fleets of them")
    for section in ("hosts", "channels", "policies", "budgets", "probes"):
        for name in getattr(fleet, section):
            if not _NAME.match(name):
                yield Problem((section, name), f"{name!r} is no name", _NAMES)
    yield from _host_problems(fleet)
    yield from _channel_problems(fleet)
    for name, policy in fleet.policies.items():
        yield from _policy_problems(("policies", name), policy)
    yield from _edge_problems(fleet)
    for name, budget in fleet.budgets.items():
        yield from _budget_problems(("budgets", name), budget)
    for name, probe in fleet.probes.items():
        yield from _probe_problems(("probes", name), probe)


_NAMES = "write it of small letters, digits, '.', '_' and '-', at most 64, a letter or digit first and last"


def _host_problems(fleet: Fleet) -> Iterator[Problem]:
    for name, host in fleet.hosts.items():
        at: Path = ("hosts", name)
        if host.channel not in fleet.channels:
            yield Problem((*at, "channel"), f"there is no channel {host.channel!r}", _known(fleet.channels))
        if not _PLATFORM.match(host.platform):
            yield Problem((*at, "platform"), f"{host.platform!r} is no platform", "write it as linux/amd64")
        if host.key:
            try:
                parse_public_key(host.key, "")
            except BadInput as failure:
                yield from (Problem((*at, "key"), one.what, one.next, one.why) for one in failure.diagnostics)


def _channel_problems(fleet: Fleet) -> Iterator[Problem]:
    for name, channel in fleet.channels.items():
        at: Path = ("channels", name)
        if channel.policy not in fleet.policies:
            yield Problem((*at, "policy"), f"there is no policy {channel.policy!r}", _known(fleet.policies))
        if bool(channel.order) == bool(channel.package):
            yield Problem(at, "a channel gives an order or a package, one of them", "write order: … or package: …")
        for field in ("order", "package"):
            if getattr(channel, field).startswith("-"):
                yield Problem((*at, field), "a path does not begin with '-'", "write it as ./-…")
        for number, other in enumerate(channel.after):
            if other not in fleet.channels:
                yield Problem((*at, "after", number), f"there is no channel {other!r}", _known(fleet.channels))
        spans = {field: getattr(channel, field) for field in ("freshness", "signing")}
        wrong = list(_span_problems(at, spans))
        yield from wrong
        if not wrong and span(channel.freshness) < 2 * span(channel.signing):
            yield Problem(
                (*at, "freshness"),
                "what is signed would be stale before it is signed twice",
                "give a freshness of at least twice the signing interval",
            )
    for circle in _circle({name: channel.after for name, channel in fleet.channels.items()}):
        yield Problem(("channels", circle, "after"), "channels wait for each other in a circle", "take one edge out")


def _policy_problems(at: Path, policy: PolicyEntry) -> Iterator[Problem]:
    for number, wave in enumerate(policy.waves):
        here: Path = (*at, "waves", number)
        if not _NAME.match(wave.name):
            yield Problem((*here, "name"), f"{wave.name!r} is no name", _NAMES)
        if wave.proven < 0:
            yield Problem((*here, "proven"), f"proven: {wave.proven}", "give 0 or more")
        yield from _span_problems(here, {"soak": wave.soak})
    if len({wave.name for wave in policy.waves}) < len(policy.waves):
        yield Problem((*at, "waves"), "two waves have one name", "give each its own")
    fields = ("lease", "start_within", "confirm_within", "rollback_within", "sustain", "offline_after")
    yield from _span_problems(at, {field: getattr(policy, field) for field in fields}, least=1_000)
    health: Path = (*at, "health")
    yield from _share_problems(
        health, policy.health.max_failures, policy.health.max_percent, "max_failures", "max_percent"
    )


def _edge_problems(fleet: Fleet) -> Iterator[Problem]:
    waits: dict[str, tuple[str, ...]] = dict.fromkeys(fleet.hosts, ())
    for number, edge in enumerate(fleet.edges):
        unknown = [name for name in (edge.before, edge.after) if name not in fleet.hosts]
        if unknown:
            yield Problem(("edges", number), f"there is no host {unknown[0]!r}", _known(fleet.hosts))
        elif fleet.hosts[edge.before].channel != fleet.hosts[edge.after].channel:
            what = f"{edge.before} and {edge.after} are of different channels"
            yield Problem(("edges", number), what, "let the channels wait for each other: after: […]")
        else:
            waits[edge.after] = (*waits[edge.after], edge.before)
    if _circle(waits):
        yield Problem(("edges",), "hosts wait for each other in a circle", "take one edge out")


def _budget_problems(at: Path, budget: BudgetEntry) -> Iterator[Problem]:
    if budget.max is None and budget.percent is None:
        yield Problem(at, "a budget says how many", "write max: 2, or percent: 10")
    yield from _share_problems(at, budget.max, budget.percent, "max", "percent")


def _share_problems(at: Path, count: int | None, percent: int | None, *fields: str) -> Iterator[Problem]:
    for field, value, most in zip(fields, (count, percent), (1_000_000, 100), strict=True):
        if value is not None and not 0 <= value <= most:
            yield Problem((*at, field), f"{field}: {value}", f"give 0 to {most}")


def _probe_problems(at: Path, probe: ProbeEntry) -> Iterator[Problem]:
    own = _OF_KIND[probe.kind]
    for field in ("command", "url", "units"):
        if bool(getattr(probe, field)) != (field == own):
            yield Problem(at, f"{field!r} {'is missing' if field == own else 'means nothing'} for {probe.kind}", "")
    if probe.url and not re.match(r"https?://[^\s/]", probe.url):
        yield Problem((*at, "url"), f"{probe.url!r} is no address", "write http://… or https://…")
    if probe.kind != "http" and probe.expect != ProbeEntry("http").expect:
        yield Problem((*at, "expect"), f"'expect' means nothing for {probe.kind}", "remove it")
    if any(unit.startswith("-") for unit in probe.units):
        yield Problem((*at, "units"), "a unit's name does not begin with '-'", "write it as systemctl shows it")
    yield from _span_problems(at, {"every": probe.every, "timeout": probe.timeout}, least=1_000)


def _span_problems(at: Path, spans: dict[str, str], least: int = 0) -> Iterator[Problem]:
    for field, text in spans.items():
        try:
            found = span(text)
        except BadInput as failure:
            yield from (Problem((*at, field), one.what, one.next) for one in failure.diagnostics)
        else:
            if found < least:
                yield Problem((*at, field), f"{field}: {text}", f"give {least // 1000}s or more")


def _known(names: Iterable[str]) -> str:
    return f"there are: {', '.join(sorted(names)[:8]) or 'none yet'}"


def _circle(waits: dict[str, tuple[str, ...]]) -> list[str]:
    """Names that wait for themselves, directly or through others; without those that only wait for such."""
    left = {name: {one for one in before if one in waits} for name, before in waits.items()}
    while True:
        ready = {name for name, before in left.items() if not before}
        if not ready:
            return sorted(left)
        left = {name: before - ready for name, before in left.items() if name not in ready}
