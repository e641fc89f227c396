"""What happens on a host, decided by the host: `step(agent, said, at)`. Its state is durable; the reports that a step
emits are put into the outbox in the transaction that saves the state, so that a number is given once.

It believes a server nothing: not an order below the serial it has seen, none under a tip that is too old, none that
came so late that the server may have given it up. It goes back by itself: when the run or its probes fail and policy
says so, when nobody confirms in time that it can still be heard, and to the order that last proved itself here. `at`
is the host's clock, in milliseconds.
"""

from msgspec.structs import replace

from requisition.services.fleet import events
from requisition.services.fleet.agent_state import (
    AgentState,
    Heard,
    Joined,
    Missing,
    Offered,
    ProbeSeen,
    RollbackEnded,
    RunDeferred,
    RunEnded,
    Said,
    Started,
    Terms,
    Tick,
)
from requisition.services.fleet.effects import (
    Effect,
    EmitEvent,
    RunOrder,
    StartProbes,
    StopProbes,
    StopRun,
    TakeBack,
    Tell,
    WakeAt,
)
from requisition.services.fleet.health import Verdict, observed, verdict
from requisition.services.fleet.rollout import SKEW
from requisition.services.fleet.state import BUSY, Phase

Stepped = tuple[AgentState, tuple[Effect, ...]]
_STANDS = (Phase.SOAKING, Phase.CONVERGED, Phase.RESTART, Phase.FAILED)


def step(agent: AgentState, said: Said, at: int) -> Stepped:
    """The host after something happened at `at`, and what it has to do."""
    new, effects = _react(agent, said, at)
    if new.phase is Phase.SOAKING or new.deadline:
        new, more = _watched(new, at)
        effects = (*effects, *more)
    wake = _next_look(new, at)
    return new, (*effects, WakeAt(wake)) if wake else effects


def _react(agent: AgentState, said: Said, at: int) -> Stepped:
    match said:
        case Offered():
            return _offered(agent, said, at)
        case RunEnded():
            return _run_ended(agent, said, at)
        case RunDeferred():
            if agent.phase is not Phase.ACTIVATING:
                return agent, ()
            waiting = replace(agent, phase=Phase.RESTART, deadline=0)
            return _emit(waiting, at, events.RestartNeeded(_terms(agent).rollout, said.component))
        case RollbackEnded():
            return _rollback_ended(agent, said, at)
        case ProbeSeen():
            return _probe_seen(agent, said, at)
        case Heard():
            confirmed = agent.deadline and agent.confirm and said.seq >= agent.confirm
            return (replace(agent, deadline=0) if confirmed else agent), ()
        case Missing():
            return _restate(agent, at)
        case Joined():
            confirm = 1 if agent.confirm else 0
            return _restate(replace(agent, stream=said.stream, seq=0, dispatches=0, confirm=confirm), at)
        case Started():
            return _started(agent, said, at)
        case Tick():
            return agent, ()


# -- offers


def _offered(agent: AgentState, offer: Offered, at: int) -> Stepped:
    if offer.number <= agent.dispatches:
        return agent, ()
    if agent.phase in BUSY:
        return agent, (Tell("info", "an offer came while the last one is under way; it is not looked at"),)
    if at - offer.asked_at > offer.terms.start_within:
        return agent, (Tell("warning", "an offer came too late to be begun"),)
    agent = replace(agent, dispatches=offer.number)
    if why := objection(agent, offer, at):
        refused = events.Refused(offer.terms.rollout, offer.number, offer.tip, why)
        return _emit(agent, at, refused, Tell("warning", f"an offer was refused: {why}"))
    return _recalled(agent, offer, at) if offer.recall else _begin(agent, offer, at)


def objection(agent: AgentState, offer: Offered, at: int) -> str:
    """Why an offer is not taken at `at`; "" when it is."""
    if offer.objection:
        return offer.objection
    if offer.recall:
        return _unauthorised(offer)
    if offer.terms.serial < agent.serial:
        return f"its serial {offer.terms.serial} is lower than {agent.serial}, begun here before"
    if offer.tip > at + SKEW:
        return "what was signed for its channel is of the future"
    if at - offer.tip > offer.terms.freshness + SKEW:
        return "what was signed for its channel is too old"
    return ""


def _unauthorised(offer: Offered) -> str:
    """Why a host does not go back because a server says so; "" when it does."""
    if offer.authority == "operator":
        return ""
    if not offer.terms.goes_back:
        return "its policy is to halt, and no operator signed that it goes back"
    if offer.terms.keyed and offer.authority != "proof":
        return "nothing proves that enough hosts failed, and no operator signed that it goes back"
    return ""


def _begin(agent: AgentState, offer: Offered, at: int) -> Stepped:
    terms = offer.terms
    agent = replace(
        agent,
        phase=Phase.ACTIVATING,
        serial=terms.serial,
        terms=terms,
        prior=agent.good,
        cause="",
        reason="",
        activated_at=0,
        confirm=0,
        deadline=at + terms.confirm_within,
        probes=(),
    )
    began = events.Began(terms.rollout, terms.order, agent.prior, offer.number)
    return _emit(agent, at, began, StopProbes(), RunOrder(terms.rollout, terms.order))


def _recalled(agent: AgentState, offer: Offered, at: int) -> Stepped:
    terms = agent.terms
    nothing = agent.phase not in _STANDS or (agent.standing == agent.prior and agent.phase is not Phase.RESTART)
    if terms is None or terms.rollout != offer.terms.rollout or nothing:
        return _restate(agent, at)
    return _go_back(agent, at, "recalled", "the rollout is taken back", offer.number)


# -- the run


def _run_ended(agent: AgentState, run: RunEnded, at: int) -> Stepped:
    if agent.phase is not Phase.ACTIVATING:
        return agent, ()
    terms = _terms(agent)
    agent = replace(agent, standing=run.standing)
    if run.ok and run.standing == terms.order:
        return _activated(agent, at)
    reason = run.reason or "another order stands there than the one it installed"
    if terms.goes_back and run.standing != agent.prior:
        return _go_back(agent, at, "failed", reason)
    agent = replace(agent, phase=Phase.FAILED, reason=reason, deadline=0)
    return _emit(agent, at, events.ActivationFailed(terms.rollout, run.exit_code, reason, run.standing))


def _activated(agent: AgentState, at: int) -> Stepped:
    terms = _terms(agent)
    deadline = agent.deadline or at + terms.confirm_within
    agent = replace(
        agent, phase=Phase.SOAKING, activated_at=at, confirm=agent.seq + 1, deadline=deadline, standing=terms.order
    )
    event = events.Activated(terms.rollout, terms.order)
    return _emit(agent, at, event, StartProbes(terms.rollout, terms.probes))


def _started(agent: AgentState, started: Started, at: int) -> Stepped:
    """After a crash or a reboot it goes on where it was: the run is resumed, a rollback is begun again."""
    terms = agent.terms
    if terms is None:
        return agent, ()
    match agent.phase:
        case Phase.ACTIVATING if started.standing == terms.order:
            return _activated(agent, at)
        case Phase.ACTIVATING:
            return agent, (RunOrder(terms.rollout, terms.order),)
        case Phase.RESTART if started.standing == terms.order:
            return _activated(agent, at)
        case Phase.RESTART:
            return _run_ended(
                replace(agent, phase=Phase.ACTIVATING),
                RunEnded(ok=False, standing=started.standing, reason="the restart did not bring the order into force"),
                at,
            )
        case Phase.ROLLING_BACK:
            return agent, (TakeBack(terms.rollout, terms.order, agent.prior),)
        case Phase.SOAKING | Phase.CONVERGED | Phase.FAILED:
            return agent, (StartProbes(terms.rollout, terms.probes),)
    return agent, ()


# -- back


def _go_back(
    agent: AgentState, at: int, cause: events.Cause, reason: str, dispatch: int = 0, *before: Effect
) -> Stepped:
    terms = _terms(agent)
    agent = replace(agent, phase=Phase.ROLLING_BACK, cause=cause, reason=reason, deadline=0)
    event = events.RollbackBegan(terms.rollout, agent.prior, cause, reason, dispatch)
    back = TakeBack(terms.rollout, terms.order, agent.prior)
    return _emit(agent, at, event, *before, StopProbes(), back)


def _rollback_ended(agent: AgentState, end: RollbackEnded, at: int) -> Stepped:
    if agent.phase is not Phase.ROLLING_BACK:
        return agent, ()
    rollout = _terms(agent).rollout
    agent = replace(agent, standing=end.standing, probes=())
    if end.ok and end.standing == agent.prior:
        agent = replace(agent, phase=Phase.REVERTED, good=agent.prior)
        return _emit(agent, at, events.RolledBack(rollout, end.standing))
    reason = end.reason or "another order stands there than the one it went back to"
    agent = replace(agent, phase=Phase.STUCK, reason=reason)
    event = events.RollbackFailed(rollout, end.exit_code, reason, end.standing)
    return _emit(agent, at, event, Tell("error", f"it could not go back: {reason}"))


# -- soak


def _probe_seen(agent: AgentState, seen: ProbeSeen, at: int) -> Stepped:
    terms = agent.terms
    watched = agent.phase in (Phase.SOAKING, Phase.CONVERGED, Phase.FAILED)
    if terms is None or not watched or all(probe.name != seen.probe for probe in terms.probes):
        return agent, ()
    probes = observed(agent.probes, seen.probe, seen.passed, at, seen.reason)
    if probes == agent.probes:
        return agent, ()
    event = events.Probed(terms.rollout, seen.probe, seen.passed, seen.reason)
    return _emit(replace(agent, probes=probes), at, event)


def _watched(agent: AgentState, at: int) -> Stepped:
    """What the time that passed makes of it."""
    if agent.deadline and at >= agent.deadline:
        if agent.phase is Phase.ACTIVATING:
            return _go_back(agent, at, "unconfirmed", "its run was not over in time", 0, StopRun())
        return _go_back(agent, at, "unconfirmed", "nobody confirmed in time that it can be heard")
    if agent.phase is not Phase.SOAKING:
        return agent, ()
    terms, found = _terms(agent), _verdict(agent, at)
    if found.failed:
        reason = f"probes failed for too long: {', '.join(found.failed)}"
        if terms.goes_back:
            return _go_back(agent, at, "failed", reason)
        agent = replace(agent, phase=Phase.FAILED, reason=reason, deadline=0)
        return _emit(agent, at, events.SoakFailed(terms.rollout, reason))
    if found.converged and not agent.deadline:
        agent = replace(agent, phase=Phase.CONVERGED, good=terms.order, reason="")
        return _emit(agent, at, events.Converged(terms.rollout, agent.standing))
    return agent, ()


def _verdict(agent: AgentState, at: int) -> Verdict:
    terms = _terms(agent)
    return verdict(terms.probes, agent.probes, agent.activated_at, terms.soak, terms.sustain, at)


def _next_look(agent: AgentState, at: int) -> int:
    """When time alone next makes a difference; 0 for never."""
    moments = [agent.deadline] if agent.deadline else []
    if agent.phase is Phase.SOAKING:
        terms = _terms(agent)
        moments += [
            agent.activated_at + terms.soak,
            *(one.since + terms.sustain for one in agent.probes if not one.passed),
        ]
    return min((moment for moment in moments if moment > at), default=0)


# -- reports


def _emit(agent: AgentState, at: int, event: events.HostEvent, *then: Effect) -> Stepped:
    """The report first, then what it tells of: a host never does what it could not say it began."""
    agent = replace(agent, seq=agent.seq + 1)
    return agent, (EmitEvent(agent.seq, at, events.clipped(event)), *then)


def _restate(agent: AgentState, at: int) -> Stepped:
    terms = agent.terms
    event = events.Restated(
        agent.phase,
        terms.rollout if terms else "",
        terms.order if terms else "",
        agent.prior,
        agent.standing,
        agent.cause,
        agent.reason,
        agent.activated_at,
        agent.dispatches,
        agent.probes,
    )
    return _emit(agent, at, event)


def _terms(agent: AgentState) -> Terms:
    assert agent.terms is not None, "a phase other than idle has terms"
    return agent.terms
