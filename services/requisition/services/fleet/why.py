"""Why a host has not been updated yet: the gate, its reason, since when, and the figures of this moment.

Asks the planner's own gates, so that it never says anything else than what the planner will do.
"""

from msgspec import Struct

from requisition.services.fleet.gates import ALL, first_block
from requisition.services.fleet.health import verdict
from requisition.services.fleet.planner import advanced, allowed_failures, to_be_taken_back, unfinished
from requisition.services.fleet.state import BUSY, FleetState, HostState, Phase, Stage
from requisition.services.fleet.survey import Scope, Survey

SHOWN = 8
"""How many names of hosts a figure lists."""


class Why(Struct, frozen=True):
    """The answer. `status`: one word or two. `gate` "" where none is in the way. `since`: when it became so,
    milliseconds since 1970, 0 if unknown. `facts`: what else matters now, a sentence each."""

    host: str
    status: str
    rollout: str
    gate: str = ""
    reason: str = ""
    since: int = 0
    facts: tuple[str, ...] = ()


def why(fleet: FleetState, name: str, now: int) -> Why:
    """How a host stands with the rollout that it is to be on."""
    survey = Survey(fleet, now)
    host, target = fleet.hosts.get(name), survey.targets.get(name, "")
    if host is None:
        reason = "it is to be on a rollout, but never enrolled" if target else "there is no host of that name"
        return Why(name, "unknown", target, reason=reason)
    facts = _own_facts(survey, host)
    if not target:
        return Why(name, status(host), "", reason="no present rollout lists it", since=host.since, facts=facts)
    scope = Scope(survey, fleet.layouts[target], fleet.rollouts[target])
    if host.dispatch is not None:
        dispatch = host.dispatch
        reason = "it has not begun yet" if dispatch.handed_at else "it has not asked yet"
        return Why(name, status(host), target, reason=reason, since=dispatch.queued_at, facts=facts)
    if host.phase in BUSY:
        return Why(name, status(host), target, reason=_busy(host, target), since=host.since, facts=facts)
    if not survey.waits(host, target):
        return _on_target(scope, host, facts)
    for _ in advanced(scope):
        pass  # what the next tick promotes is open to it
    block = first_block(scope, host, ALL)
    if block is None:
        return Why(name, "waiting", target, reason="it is offered its order at the next tick", facts=facts)
    gate, reason = block
    known = host.deferral
    same = known is not None and (known.rollout, known.gate, known.reason) == (target, gate, reason)
    since = known.since if known is not None and same else 0
    return Why(name, "waiting", target, gate, reason, since, (*facts, *_figures(scope, gate, host)))


def status(host: HostState) -> str:
    """A word or two for people."""
    if host.lost:
        return "lost"
    if host.dispatch is not None:
        return "called back" if host.dispatch.recall else "offered"
    return {Phase.RESTART: "needs restart", Phase.ROLLING_BACK: "rolling back"}.get(host.phase, host.phase.value)


def _busy(host: HostState, target: str) -> str:
    doing = "it installs" if host.phase is Phase.ACTIVATING else "it goes back from"
    return f"{doing} its order" if host.rollout == target else f"{doing} the order of an earlier rollout first"


def _on_target(scope: Scope, host: HostState, facts: tuple[str, ...]) -> Why:
    if scope.state.stage in (Stage.ROLLING_BACK, Stage.ROLLED_BACK) and to_be_taken_back(host):
        reason = "the rollout is taken back, and it will be called back"
        return Why(host.name, status(host), scope.layout.id, reason=reason, since=host.since, facts=facts)
    return Why(host.name, status(host), scope.layout.id, reason=host.reason, since=host.since, facts=facts)


def _own_facts(survey: Survey, host: HostState) -> tuple[str, ...]:
    """What the host's own record says."""
    found = []
    layout = survey.fleet.layouts.get(host.rollout)
    if host.phase is Phase.SOAKING and layout is not None and host.name in layout.targets:
        soak, sustain = layout.wave_of(host.name).soak, layout.rollout.policy.sustain
        seen = verdict(layout.probes_of(host.name), host.probes, host.activated_at, soak, sustain, survey.now)
        found.append(seen.missing or "it has soaked; it will say so")
    found += [f"probe {one.name} fails: {one.reason or 'no reason given'}" for one in host.probes if not one.passed]
    if host.cause:
        found.append(f"it went back because it was {host.cause}: {host.reason}")
    return tuple(found)


def _figures(scope: Scope, gate: str, host: HostState) -> tuple[str, ...]:
    """The numbers behind a gate's reason."""
    survey, rollout = scope.survey, scope.layout.rollout
    if gate == "wave-promotion":
        return _wave_figures(scope)
    if gate == "disruption-budgets":
        numbers = scope.layout.budgets_of[host.name]
        return tuple(
            f"budget {rollout.budgets[n].name}: {scope.in_flight[n]} of {scope.layout.limits[n]} change"
            for n in numbers
        )
    if gate == "rollout":
        failed = survey.members[scope.layout.id].failed
        return (f"{failed} failed, {allowed_failures(scope.layout)} may",)
    return ()


def _wave_figures(scope: Scope) -> tuple[str, ...]:
    skipped: dict[str, bool] = {}
    wave = scope.layout.rollout.waves[scope.wave]
    left = [name for name in scope.layout.waves_of[scope.wave] if unfinished(scope, name, skipped)]
    if left:
        more = f" and {len(left) - SHOWN} more" if len(left) > SHOWN else ""
        return (f"wave {wave.name} waits for {', '.join(left[:SHOWN])}{more}",)
    return (f"wave {wave.name}: not enough hosts have converged; {wave.proven} must, or an operator promotes",)
