"""The state of a fleet is what its log adds up to: `apply` takes one event in, `fold` a whole log.

The only place where the state becomes another one, but for presence (`heard`), which is true of now and not logged. An
event that changes nothing gives no `AppendLog`: the log holds what made the state, and nothing twice.
"""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from msgspec.structs import replace

from requisition.services.fleet import actions, events, reducer, rollout_reducer
from requisition.services.fleet.effects import (
    AppendLog,
    AskAgain,
    ClearQuarantine,
    CountUp,
    CutLog,
    Effect,
    ForgetHost,
    ForgetRollout,
    InsertQuarantine,
    PurgeDispatch,
    RefuseVerb,
    SaveChannel,
    SaveHint,
    SaveHost,
    SaveRollout,
    SaveSettings,
    Tell,
    UseNonce,
)
from requisition.services.fleet.layout import Layout
from requisition.services.fleet.state import (
    FAILURES,
    ChannelState,
    FleetState,
    HostState,
    Phase,
    Presence,
    Quarantined,
    RolloutState,
)

COMMAND_WINDOW = 600_000
"""How long after it was signed a verb may be used, in milliseconds; its nonce is kept for twice that."""

Applied = tuple[FleetState, tuple[Effect, ...]]
K = TypeVar("K")
V = TypeVar("V")


def fold(fleet: FleetState, log: Iterable[events.Record]) -> FleetState:
    """The state after these rows of the log."""
    for record in log:
        fleet, _ = apply(fleet, record.event, record.at)
    return fleet


def apply(fleet: FleetState, event: events.Event, at: int) -> Applied:
    """The state after an event that was taken in at `at`, and what has to be done: `AppendLog` first, when the event
    made a difference."""
    match event:
        case events.Report():
            new, effects = _host(fleet, event.host, event, at)
        case events.Command():
            new, effects = _command(fleet, event, at)
        case events.Noted(events.Planned(action)):
            new, effects = _planned(fleet, action, at)
        case events.Noted(note):
            new, effects = _noted(fleet, note, at)
    if new is fleet:
        return fleet, effects
    if not fleet.number:
        new = replace(new, log_from=at)
    return replace(new, number=fleet.number + 1), (AppendLog(event), *effects)


def known(fleet: FleetState, layout: Layout) -> FleetState:
    """With a verified rollout document at hand."""
    return replace(fleet, layouts=_with(fleet.layouts, layout.id, layout))


def heard(fleet: FleetState, word: events.Heartbeat, at: int) -> Applied:
    """With a heartbeat taken in, which changes nothing but who was heard of when. An old one that comes late takes
    nothing back."""
    host = fleet.hosts.get(word.host)
    if host is None or host.stream != word.stream:
        return fleet, (CountUp("strangers"),)
    old = fleet.presence.get(word.host, Presence(0, 0, 0))
    newer = (word.heard, word.seq) >= (old.heard, old.seq)
    seq, since = (word.seq, word.heard) if newer else (old.seq, old.heard)
    presence = Presence(max(old.seen_at, at), seq, since)
    missing = (AskAgain(word.host, word.stream, host.seq + 1),) if word.seq > host.seq else ()
    return replace(fleet, presence=_with(fleet.presence, word.host, presence)), missing


def _with(found: Mapping[K, V], key: K, value: V) -> dict[K, V]:
    new = dict(found)
    new[key] = value
    return new


def _without(found: Mapping[K, V], key: K) -> dict[K, V]:
    new = dict(found)
    del new[key]
    return new


def _host(fleet: FleetState, name: str, event: Any, at: int) -> Applied:
    host = fleet.hosts.get(name)
    if host is None:
        return fleet, (Tell("warning", f"{name}: nobody of that name is enrolled"), CountUp("strangers"))
    rollout = getattr(event.event, "rollout", "") if isinstance(event, events.Report) else ""
    new, effects = reducer.step(host, event, at, fleet.layouts.get(rollout))
    return (fleet if new is host else replace(fleet, hosts=_with(fleet.hosts, name, new))), effects


def _rollout(fleet: FleetState, event: Any, at: int, by: str) -> Applied:
    rollout = fleet.rollouts.get(event.rollout)
    layout = fleet.layouts.get(event.rollout)
    if rollout is None or layout is None:
        return fleet, (RefuseVerb("there is no such rollout"),)
    new, effects = rollout_reducer.step(rollout, event, at, by, len(layout.rollout.waves))
    return (fleet if new is rollout else replace(fleet, rollouts=_with(fleet.rollouts, new.id, new))), effects


# -- verbs of operators


def _command(fleet: FleetState, command: events.Command, at: int) -> Applied:
    if command.nonce in fleet.nonces:
        return fleet, (RefuseVerb("this was used before"),)
    new, effects = _verb(fleet, command.verb, at, command.by)
    if new is fleet:
        return fleet, effects
    forget = at - 2 * COMMAND_WINDOW
    nonces = {nonce: used for nonce, used in fleet.nonces.items() if used >= forget}
    nonces[command.nonce] = at
    return replace(new, nonces=nonces), (*effects, UseNonce(command.nonce, at, forget))


def _verb(fleet: FleetState, verb: events.Verb, at: int, by: str) -> Applied:
    match verb:
        case events.Retry() | events.Retire() if verb.host not in fleet.hosts:
            return fleet, (RefuseVerb("there is no such host"),)
        case events.Retry():
            new, effects = _host(fleet, verb.host, verb, at)
            return new, effects or (RefuseVerb("there is nothing to try again"),)
        case events.Retire():
            return _retire(fleet, verb)
        case events.Quarantine():
            return _quarantine(fleet, Quarantined(verb.channel, verb.order, at, verb.reason, by))
        case events.LiftQuarantine():
            if (verb.channel, verb.order) not in fleet.quarantined:
                return fleet, (RefuseVerb("it is not in quarantine"),)
            left = _without(fleet.quarantined, (verb.channel, verb.order))
            return replace(fleet, quarantined=left), (ClearQuarantine(verb.channel, verb.order),)
        case events.Resume():
            new, effects = _rollout(fleet, verb, at, by)
            return (new, effects) if new is fleet else _forgive(new, verb, effects)
    return _rollout(fleet, verb, at, by)


def _retire(fleet: FleetState, verb: events.Retire) -> Applied:
    presence = {name: one for name, one in fleet.presence.items() if name != verb.host}
    new = replace(fleet, hosts=_without(fleet.hosts, verb.host), presence=presence)
    return new, (ForgetHost(verb.host), PurgeDispatch(verb.host))


def _forgive(fleet: FleetState, verb: events.Resume, effects: tuple[Effect, ...]) -> Applied:
    """The failures of a rollout that was looked at count no more."""
    saved: list[Effect] = []
    hosts = dict(fleet.hosts)
    for name, host in fleet.hosts.items():
        if failed_in(host, verb.rollout, lost_counts=True):
            hosts[name] = replace(host, forgiven=True, again=verb.retry and host.phase is not Phase.ROLLING_BACK)
            saved.append(SaveHost(hosts[name]))
    return replace(fleet, hosts=hosts), (*effects, *saved)


def failed_in(host: HostState, rollout: str, *, lost_counts: bool) -> bool:
    """Whether a host is one that failed in a rollout, and was not called back or forgiven."""
    if host.forgiven:
        return False
    lost = host.lost and lost_counts
    offer = host.dispatch
    if offer is not None and offer.rollout == rollout and not offer.recall and lost:
        return True
    return host.rollout == rollout and host.cause != "recalled" and (lost or host.phase in FAILURES)


def _quarantine(fleet: FleetState, quarantined: Quarantined) -> Applied:
    key = (quarantined.channel, quarantined.order)
    if key in fleet.quarantined:
        return fleet, (RefuseVerb("it is in quarantine already"),)
    return replace(fleet, quarantined=_with(fleet.quarantined, key, quarantined)), (InsertQuarantine(quarantined),)


# -- what the planner asked for


def _planned(fleet: FleetState, action: actions.PlanAction, at: int) -> Applied:
    match action:
        case actions.OpenRollout():
            return _open(fleet, action, at)
        case actions.RollBackRollout():
            return _roll_back(fleet, action, at)
        case actions.PromoteWave() | actions.CompleteRollout() | actions.HaltRollout() | actions.CloseRollback():
            return _rollout(fleet, action, at, "")
        case actions.RotateKey():
            if fleet.hinted.get(action.slot) == action.retire_at:
                return fleet, ()
            hinted = _with(fleet.hinted, action.slot, action.retire_at)
            told = Tell("warning", f"the keys of {action.slot} have retired; its successor takes over")
            return replace(fleet, hinted=hinted), (SaveHint(action.slot, action.retire_at), told)
        case actions.PruneRollout():
            if action.rollout not in fleet.rollouts:
                return fleet, ()
            layouts = {name: one for name, one in fleet.layouts.items() if name != action.rollout}
            new = replace(fleet, rollouts=_without(fleet.rollouts, action.rollout), layouts=layouts)
            return new, (ForgetRollout(action.rollout),)
        case actions.PruneLog():
            if action.before <= fleet.log_from:
                return fleet, ()
            return replace(fleet, log_from=action.before), (CutLog(action.before),)
    return _host(fleet, action.host, action, at)


def _open(fleet: FleetState, action: actions.OpenRollout, at: int) -> Applied:
    """The channel's former rollout is superseded with it."""
    channel = fleet.channels.get(action.channel, ChannelState(name=action.channel))
    if action.rollout in fleet.rollouts and channel.present == action.rollout:
        return fleet, ()
    rollouts, effects = dict(fleet.rollouts), list[Effect]()
    former = rollouts.get(channel.present)
    if former is not None:
        rollouts[former.id], saved = rollout_reducer.step(former, action, at, "", 0)
        effects += saved
    opened = RolloutState(id=action.rollout, channel=action.channel, serial=action.serial, opened_at=at, since=at)
    rollouts[opened.id] = opened
    channel = replace(channel, present=opened.id)
    channels = _with(fleet.channels, channel.name, channel)
    return replace(fleet, rollouts=rollouts, channels=channels), (*effects, SaveRollout(opened), SaveChannel(channel))


def _roll_back(fleet: FleetState, action: actions.RollBackRollout, at: int) -> Applied:
    """What had to be taken back from everywhere is given to nobody else."""
    new, effects = _rollout(fleet, action, at, "")
    layout = fleet.layouts.get(action.rollout)
    if new is fleet or layout is None:
        return fleet, effects
    for order in layout.orders:
        bad = Quarantined(layout.rollout.channel, order, at, action.reason)
        if (bad.channel, bad.order) not in new.quarantined:
            new, more = _quarantine(new, bad)
            effects = (*effects, *more)
    return new, effects


# -- what the server notes


def _noted(fleet: FleetState, note: events.Note, at: int) -> Applied:
    match note:
        case events.Published():
            return _published(fleet, note)
        case events.Enrolled():
            if note.host in fleet.hosts:
                return _host(fleet, note.host, note, at)
            host = HostState(name=note.host, stream=note.stream, key=note.key, since=at)
            return replace(fleet, hosts=_with(fleet.hosts, host.name, host)), (SaveHost(host),)
        case events.Handed():
            return _host(fleet, note.host, note, at)
        case events.Configured():
            if note.settings == fleet.settings:
                return fleet, ()
            return replace(fleet, settings=note.settings), (SaveSettings(note.settings),)
    raise AssertionError(note)


def _published(fleet: FleetState, note: events.Published) -> Applied:
    """A tip is never replaced by one of a lower serial, or by an older one."""
    channel = fleet.channels.get(note.channel, ChannelState(name=note.channel))
    if (note.serial, note.signed_at) <= (channel.serial, channel.signed_at) or note.serial < channel.serial:
        return fleet, ()
    if note.serial == channel.serial and note.rollout != channel.tip:
        return fleet, (Tell("error", f"{note.channel}: two rollouts bear the serial {note.serial}"),)
    new = replace(channel, tip=note.rollout, serial=note.serial, signed_at=note.signed_at)
    return replace(fleet, channels=_with(fleet.channels, new.name, new)), (SaveChannel(new),)
