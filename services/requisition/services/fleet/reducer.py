"""What an event makes of a host: `step(host, event, at, frozen)`, the server's mirror of what the host reports.

Numbers first: a report that was told before is acknowledged and changes nothing; one that comes too early is not taken,
and the missing ones are asked for. A report in its turn is always taken in, since the host knows best; where it is not
one that could follow, or claims what the facts do not bear out, that is told and the phase stays.
"""

from typing import Any

from msgspec.structs import replace

from requisition.services.fleet import events
from requisition.services.fleet.actions import DeferDispatch, MarkLost, QueueDispatch, WithdrawDispatch
from requisition.services.fleet.effects import (
    Acknowledge,
    AskAgain,
    CountUp,
    Effect,
    PurgeDispatch,
    PutDispatch,
    SaveHost,
    Tell,
)
from requisition.services.fleet.health import observed, verdict
from requisition.services.fleet.layout import Layout
from requisition.services.fleet.state import CHANGING, FAILURES, Deferral, Dispatch, HostState, Phase, Refusal

Stepped = tuple[HostState, tuple[Effect, ...]]
Taken = tuple[HostState, str]
"""A host, and what people are to be told."""
HostNote = events.Enrolled | events.Handed | events.Retry | QueueDispatch | WithdrawDispatch | DeferDispatch | MarkLost

_ANY = frozenset(Phase)
_ON = frozenset({Phase.SOAKING, Phase.CONVERGED, Phase.FAILED})
FOLLOWS: dict[type[Any], tuple[frozenset[Phase], Phase | None]] = {
    events.Began: (_ANY - {Phase.ACTIVATING, Phase.ROLLING_BACK}, Phase.ACTIVATING),
    events.Refused: (_ANY, None),
    events.RestartNeeded: (frozenset({Phase.ACTIVATING}), Phase.RESTART),
    events.Activated: (frozenset({Phase.ACTIVATING, Phase.RESTART}), Phase.SOAKING),
    events.ActivationFailed: (frozenset({Phase.ACTIVATING, Phase.RESTART}), Phase.FAILED),
    events.Probed: (_ON, None),
    events.SoakFailed: (frozenset({Phase.SOAKING}), Phase.FAILED),
    events.Converged: (frozenset({Phase.SOAKING}), Phase.CONVERGED),
    events.RollbackBegan: (_ON | {Phase.ACTIVATING, Phase.RESTART}, Phase.ROLLING_BACK),
    events.RolledBack: (frozenset({Phase.ROLLING_BACK}), Phase.REVERTED),
    events.RollbackFailed: (frozenset({Phase.ROLLING_BACK}), Phase.STUCK),
    events.Restated: (_ANY, None),
}
"""The phases that each report may follow, and the one it leads to (None: none of its own)."""


def step(host: HostState, event: events.Report | HostNote, at: int, frozen: Layout | None) -> Stepped:
    """The host after an event that the server took in at `at`, and what has to be done. `frozen`: the layout of the
    rollout that the event is about, if it is known."""
    if isinstance(event, events.Report):
        return _report(host, event, at, frozen)
    new, effects = _noted(host, event, at)
    return (host, ()) if new == host else (new, (SaveHost(new), *effects))


# -- reports


def _report(host: HostState, report: events.Report, at: int, frozen: Layout | None) -> Stepped:
    if report.stream != host.stream:
        return host, (Tell("warning", f"{host.name}: a report of another stream than its own"), CountUp("strangers"))
    if report.seq <= host.seq:
        return host, (Acknowledge(host.name, host.stream, host.seq), CountUp("reports_again"))
    leap = report.seq != host.seq + 1
    if leap and not isinstance(report.event, events.Restated):
        return host, (AskAgain(host.name, host.stream, host.seq + 1), CountUp("reports_missing"))
    new, told = _taken(host, report, at, frozen)
    if leap:
        told = f"reports {host.seq + 1} to {report.seq - 1} are gone for good; it said how it stands instead"
    lost = new.lost and (new.phase in CHANGING or new.dispatch is not None)
    new = replace(new, seq=report.seq, lost=lost)
    effects: list[Effect] = [SaveHost(new)]
    if host.dispatch is not None and new.dispatch is None:
        effects.append(PurgeDispatch(host.name))
    if told:
        effects.append(Tell("warning", f"{host.name}: {told}"))
    return new, (*effects, Acknowledge(host.name, host.stream, report.seq))


def _taken(host: HostState, report: events.Report, at: int, frozen: Layout | None) -> Taken:
    event = report.event
    phases, leads_to = FOLLOWS[type(event)]
    kind = event.__struct_config__.tag
    if host.phase not in phases:
        return host, f"{kind} cannot follow {host.phase}; nothing was changed"
    match event:
        case events.Began():
            return _began(host, event, at), ""
        case events.Refused():
            return _refused(host, event)
        case events.Restated():
            return _restated(host, event, at), ""
    if event.rollout != host.rollout:
        return host, f"{kind} is about a rollout that it is not in; nothing was changed"
    if isinstance(event, events.Converged) and (why := _unproven(host, event, report.at, frozen)):
        return replace(host, reason=f"it says it converged, but {why}"), f"it says it converged, but {why}"
    if leads_to is not None:
        host = replace(host, phase=leads_to, since=at)
    return _facts(host, event, report.at)


def _facts(host: HostState, event: events.HostEvent, told_at: int) -> Taken:
    """What else an event of the host's own rollout says."""
    match event:
        case events.Activated():
            return _activated(host, event, told_at)
        case events.RestartNeeded():
            return replace(host, reason=f"a restart is needed: {event.component}"), ""
        case events.ActivationFailed():
            return replace(host, standing=event.standing, reason=event.reason), f"it failed: {event.reason}"
        case events.SoakFailed():
            return replace(host, reason=event.reason), f"it failed: {event.reason}"
        case events.Probed():
            return replace(host, probes=observed(host.probes, event.probe, event.passed, told_at, event.reason)), ""
        case events.Converged():
            return replace(host, reason=""), ""
        case events.RollbackBegan():
            return replace(
                _answered(host, event.dispatch), prior=event.prior, cause=event.cause, reason=event.reason
            ), ""
        case events.RolledBack():
            return _rolled_back(host, event)
        case events.RollbackFailed():
            return replace(host, standing=event.standing, reason=event.reason), f"it could not go back: {event.reason}"
    raise AssertionError(event)


def _unproven(host: HostState, event: events.Converged, told_at: int, frozen: Layout | None) -> str:
    """Why a claim to have converged is not believed; "" when it is."""
    if frozen is None or host.name not in frozen.targets:
        return "its rollout is not known"
    if event.standing != host.order:
        return "another order stands there"
    soak, sustain = frozen.wave_of(host.name).soak, frozen.rollout.policy.sustain
    return verdict(frozen.probes_of(host.name), host.probes, host.activated_at, soak, sustain, told_at).missing


def _answered(host: HostState, number: int) -> HostState:
    """Without the offer that the host answered, if it still stands."""
    answered = host.dispatch is not None and host.dispatch.number <= number
    return replace(host, dispatch=None) if answered else host


def _began(host: HostState, event: events.Began, at: int) -> HostState:
    return replace(
        _answered(host, event.dispatch),
        phase=Phase.ACTIVATING,
        since=at,
        rollout=event.rollout,
        order=event.order,
        prior=event.prior,
        cause="",
        reason="",
        activated_at=0,
        probes=(),
        deferral=None,
        refusal=None,
        lost=False,
        forgiven=False,
        again=False,
    )


def _refused(host: HostState, event: events.Refused) -> Taken:
    if host.dispatch is None or host.dispatch.number != event.dispatch:
        return host, ""
    refusal = Refusal(event.rollout, event.tip, event.reason)
    return replace(host, dispatch=None, refusal=refusal, lost=False), f"it refused a dispatch: {event.reason}"


def _activated(host: HostState, event: events.Activated, told_at: int) -> Taken:
    host = replace(host, standing=event.standing, activated_at=told_at, probes=())
    if event.standing == host.order:
        return host, ""
    why = "another order stands there than the one it installed"
    return replace(host, phase=Phase.FAILED, reason=why), why


def _rolled_back(host: HostState, event: events.RolledBack) -> Taken:
    host = replace(host, standing=event.standing, probes=())
    if event.standing == host.prior:
        return host, ""
    why = "it went back, but not to the order that stood there before"
    return replace(host, phase=Phase.STUCK, reason=why), why


def _restated(host: HostState, event: events.Restated, at: int) -> HostState:
    return replace(
        _answered(host, event.dispatches),
        phase=event.phase,
        since=at,
        rollout=event.rollout,
        order=event.order,
        prior=event.prior,
        standing=event.standing,
        cause=event.cause,
        reason=event.reason,
        activated_at=event.activated_at,
        probes=event.probes,
        dispatches=max(host.dispatches, event.dispatches),
    )


# -- what the server does


def _noted(host: HostState, event: HostNote, at: int) -> Stepped:
    match event:
        case events.Enrolled():
            return _enrolled(host, event, at)
        case events.Handed():
            if host.dispatch is None or host.dispatch.number != event.number or host.dispatch.handed_at:
                return host, ()
            return replace(host, dispatch=replace(host.dispatch, handed_at=at)), ()
        case events.Retry():
            again = host.lost or host.phase in FAILURES - {Phase.ROLLING_BACK}
            return replace(host, refusal=None, forgiven=host.forgiven or again, again=again), ()
        case QueueDispatch():
            return _queue(host, event, at)
        case WithdrawDispatch():
            return _withdraw(host, event)
        case DeferDispatch():
            deferral = Deferral(event.rollout, event.gate, event.reason, at)
            known = host.deferral is not None and replace(host.deferral, since=at) == deferral
            return host if known else replace(host, deferral=deferral), ()
        case MarkLost():
            dispatch = None if host.dispatch is None else replace(host.dispatch, withdrawn=True)
            effects = (PurgeDispatch(host.name), Tell("warning", f"{host.name}: {event.reason}"))
            return replace(host, lost=True, dispatch=dispatch, reason=event.reason), effects


def _enrolled(host: HostState, event: events.Enrolled, at: int) -> Stepped:
    if event.stream == host.stream and event.key == host.key:
        return host, ()
    new = HostState(name=host.name, stream=event.stream, key=event.key, dispatches=host.dispatches, since=at)
    return new, (PurgeDispatch(host.name),)


def _queue(host: HostState, event: QueueDispatch, at: int) -> Stepped:
    if host.dispatch is not None:
        return host, ()
    number = host.dispatches + 1
    dispatch = Dispatch(number, event.rollout, event.order, event.recall, at, event.until)
    return replace(host, dispatches=number, dispatch=dispatch, deferral=None, lost=False), (
        PutDispatch(host.name, dispatch),
    )


def _withdraw(host: HostState, event: WithdrawDispatch) -> Stepped:
    if host.dispatch is None or host.dispatch.number != event.number:
        return host, ()
    if event.settled or not host.dispatch.handed_at:
        return replace(host, dispatch=None, lost=False), (PurgeDispatch(host.name),)
    return replace(host, dispatch=replace(host.dispatch, withdrawn=True)), (PurgeDispatch(host.name),)
