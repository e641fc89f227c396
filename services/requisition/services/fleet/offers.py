"""Offers that stand: which one a host is given when it asks, and which are over.

An offer is a lease. It is handed out until `until`, and begun within the rollout's `start_within` of being asked for.
So there is a moment after which a host that says it has begun nothing will not begin it any more, and one after which
a host that says nothing is done, back by itself, or gone.
"""

from collections.abc import Iterator

from requisition.services.fleet.actions import MarkLost, WithdrawDispatch
from requisition.services.fleet.layout import Layout
from requisition.services.fleet.state import Dispatch, FleetState, HostState, Stage
from requisition.services.fleet.survey import Survey


def offer_for(fleet: FleetState, name: str, now: int) -> Dispatch | None:
    """What a host is given when it asks at `now`. Looked at in the transaction that notes that it was: so a halt counts
    from the moment it is on the disk, not from the next tick on."""
    host = fleet.hosts.get(name)
    if host is None or host.dispatch is None or host.dispatch.withdrawn or now >= host.dispatch.until:
        return None
    return None if not_meant(fleet, host.dispatch, target_of(fleet, name)) else host.dispatch


def target_of(fleet: FleetState, name: str) -> str:
    """The rollout that a host is to be on, "" for none: the present one that lists it, of the highest serial."""
    present = (fleet.rollouts[one.present] for one in fleet.channels.values() if one.present in fleet.rollouts)
    listing = [one for one in present if one.id in fleet.layouts and name in fleet.layouts[one.id].targets]
    return max(listing, key=lambda one: (one.serial, one.channel)).id if listing else ""


def not_meant(fleet: FleetState, dispatch: Dispatch, target: str) -> str:
    """Why an offer to a host that is to be on `target` is not meant any more; "" when it is."""
    state = fleet.rollouts.get(dispatch.rollout)
    if state is None or state.stage is Stage.SUPERSEDED or target != dispatch.rollout:
        return "a newer rollout took its place"
    stages = (Stage.ROLLING_BACK, Stage.ROLLED_BACK) if dispatch.recall else (Stage.ACTIVE, Stage.COMPLETED)
    if state.stage not in stages:
        return f"the rollout is {state.stage.replace('_', ' ')}"
    if not dispatch.recall and (state.channel, dispatch.order) in fleet.quarantined:
        return "its order is in quarantine"
    return ""


def withdrawn(survey: Survey) -> Iterator[WithdrawDispatch]:
    """Offers that are over: they are not meant any more, or were not taken in time."""
    fleet = survey.fleet
    for host in sorted(survey.offered, key=lambda one: one.name):
        dispatch = host.dispatch
        assert dispatch is not None
        layout = fleet.layouts.get(dispatch.rollout)
        if layout is None:
            yield WithdrawDispatch(host.name, dispatch.number, "its rollout is gone", settled=True)
        elif _never_begun(fleet, host, dispatch, layout):
            yield WithdrawDispatch(host.name, dispatch.number, "it was not begun in time", settled=True)
        elif not dispatch.withdrawn and (why := not_meant(fleet, dispatch, survey.targets.get(host.name, ""))):
            yield WithdrawDispatch(host.name, dispatch.number, why)
        elif not dispatch.handed_at and survey.now >= dispatch.until:
            yield WithdrawDispatch(host.name, dispatch.number, "nobody asked for it in time")


def _never_begun(fleet: FleetState, host: HostState, dispatch: Dispatch, layout: Layout) -> bool:
    """Whether it is certain that an offer was handed out and not begun: the host had an answer after the last moment at
    which it may begin, and all that it had reported by then is known."""
    bound = dispatch.until + layout.rollout.policy.start_within
    seen = fleet.presence.get(host.name)
    return dispatch.handed_at > 0 and seen is not None and seen.heard > bound and seen.seq == host.seq


def lost(survey: Survey) -> Iterator[MarkLost]:
    """Hosts that fell silent while they were changing, for longer than they can have needed."""
    for name in sorted(survey.changing):
        host = survey.fleet.hosts[name]
        if host.dispatch is not None:
            if not host.dispatch.handed_at:
                continue
            rollout, began = host.dispatch.rollout, host.dispatch.until
        else:
            rollout, began = host.rollout, host.since
        layout = survey.fleet.layouts.get(rollout)
        if layout is None:
            continue
        policy = layout.rollout.policy
        bound = began + policy.start_within + policy.confirm_within + policy.rollback_within
        if survey.now > bound and survey.silent_for(name) > policy.offline_after:
            yield MarkLost(name, "it fell silent while it was changing")
