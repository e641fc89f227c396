"""What may keep a host waiting: one function a gate, each with its name, the first that says something wins.

A gate gives its reason, or "". A reason holds no number that moves: as long as it is the same, nothing new is written
down (`why` tells the figures of the moment).
"""

from collections.abc import Callable

from requisition.services.fleet.state import HostState, Phase, Stage
from requisition.services.fleet.survey import Scope

Gate = Callable[[Scope, HostState], str]


def rollout_stage(scope: Scope, _host: HostState) -> str:
    """A rollout that is paused, halted, taken back or cancelled gives out nothing, in no wave."""
    state = scope.state
    if state.stage in (Stage.ACTIVE, Stage.COMPLETED):
        return ""
    return f"the rollout is {state.stage.replace('_', ' ')}" + (f": {state.reason}" if state.reason else "")


def offline(scope: Scope, host: HostState) -> str:
    """Who is not there is given nothing, and nobody waits for them."""
    return "it is offline" if scope.survey.offline(host.name, scope.policy.offline_after) else ""


def refused(scope: Scope, host: HostState) -> str:
    """What a host refused it is offered again when a newer tip is there, or an operator says so."""
    refusal = host.refusal
    if refusal is None or refusal.rollout != scope.layout.id:
        return ""
    newer = scope.survey.fleet.channels[scope.layout.rollout.channel].signed_at > refusal.tip
    return "" if newer else f"it refused: {refusal.reason}"


def quarantine(scope: Scope, host: HostState) -> str:
    """Orders that turned out bad are given to nobody."""
    bad = scope.survey.fleet.quarantined
    if not bad:
        return ""
    found = bad.get((scope.layout.rollout.channel, scope.layout.targets[host.name].order))
    return f"its order is in quarantine: {found.reason}" if found is not None else ""


def channel_edges(scope: Scope, _host: HostState) -> str:
    """Channels that this one waits for are through, or were cancelled."""
    return scope.closed_edge


def wave_promotion(scope: Scope, host: HostState) -> str:
    """The wave is open: all before it were promoted, their hosts soaked."""
    wave = scope.layout.targets[host.name].wave
    return "" if wave <= scope.wave else f"its wave, {scope.layout.rollout.waves[wave].name}, is not open yet"


def host_edges(scope: Scope, host: HostState) -> str:
    """Hosts that come first have converged in this rollout."""
    for name in scope.layout.before.get(host.name, ()):
        before = scope.survey.fleet.hosts.get(name)
        if before is None or before.rollout != scope.layout.id or before.phase is not Phase.CONVERGED:
            return f"host {name} comes first"
    return ""


def disruption_budgets(scope: Scope, host: HostState) -> str:
    """No budget that lists the host is used up by others. The place that it has, since it changes already, it keeps."""
    budgets, own = scope.layout.rollout.budgets, host.name in scope.survey.changing
    for number in scope.layout.budgets_of.get(host.name, ()):
        if scope.in_flight[number] - own >= scope.layout.limits[number]:
            return f"budget {budgets[number].name} is used up"
    return ""


def compliance_probes(scope: Scope, host: HostState) -> str:
    """No host of an earlier wave has an enforced probe that fails now."""
    first = scope.first_failing
    if scope.layout.targets[host.name].wave <= first:
        return ""
    return f"probes fail on hosts of wave {scope.layout.rollout.waves[first].name}"


def freshness(scope: Scope, _host: HostState) -> str:
    """What was signed for the channel is not too old: hosts would refuse it."""
    return scope.stale


BEFORE_ALL: tuple[tuple[str, Gate], ...] = (("rollout", rollout_stage), ("offline", offline), ("refused", refused))
GATES: tuple[tuple[str, Gate], ...] = (
    ("quarantine", quarantine),
    ("channel-edges", channel_edges),
    ("wave-promotion", wave_promotion),
    ("host-edges", host_edges),
    ("disruption-budgets", disruption_budgets),
    ("compliance-probes", compliance_probes),
    ("freshness", freshness),
)
ALL = BEFORE_ALL + GATES


_OPEN_TO_ALL: dict[str, Callable[[Scope], bool]] = {
    "rollout": lambda scope: scope.state.stage in (Stage.ACTIVE, Stage.COMPLETED),
    "quarantine": lambda scope: not scope.survey.fleet.quarantined,
    "channel-edges": lambda scope: not scope.closed_edge,
    "host-edges": lambda scope: not scope.layout.before,
    "disruption-budgets": lambda scope: not scope.layout.budgets_of,
    "compliance-probes": lambda scope: scope.first_failing >= len(scope.layout.waves_of),
    "freshness": lambda scope: not scope.stale,
}


def closing(scope: Scope) -> tuple[tuple[str, Gate], ...]:
    """The gates that may keep a host of a rollout waiting now, in their order: without those that stand open to all."""
    return tuple((name, gate) for name, gate in ALL if name not in _OPEN_TO_ALL or not _OPEN_TO_ALL[name](scope))


def first_block(scope: Scope, host: HostState, among: tuple[tuple[str, Gate], ...]) -> tuple[str, str] | None:
    """The first gate among these that keeps a host waiting, and why; None when it may begin."""
    for name, gate in among:
        reason = gate(scope, host)
        if reason:
            return name, reason
    return None
