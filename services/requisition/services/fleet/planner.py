"""What is to be done next: `plan_next(fleet, now)`. Pure: it knows nothing of what became of earlier actions but what
the state says, so an action that was lost is planned again, and one that was applied is not.

Order is the same everywhere and always: actions by kind as below, within them by channel, rollout, wave and name.
"""

from collections.abc import Iterator

from requisition.services.fleet import offers
from requisition.services.fleet.actions import (
    CloseRollback,
    CompleteRollout,
    DeferDispatch,
    HaltRollout,
    OpenRollout,
    PlanAction,
    PromoteWave,
    PruneLog,
    PruneRollout,
    QueueDispatch,
    RollBackRollout,
    RotateKey,
)
from requisition.services.fleet.gates import closing, disruption_budgets, first_block, offline
from requisition.services.fleet.layout import Layout
from requisition.services.fleet.state import BUSY, CHANGING, FleetState, HostState, Phase, Stage
from requisition.services.fleet.survey import Scope, Survey

_LOG_STEPS = 8
"""The log is cut when an eighth of what is kept is too old."""


def plan_next(fleet: FleetState, now: int) -> tuple[PlanAction, ...]:
    """All that can be done at `now`."""
    survey = Survey(fleet, now)
    actions: list[PlanAction] = list(_opened(fleet))
    opening = {one.channel for one in actions if isinstance(one, OpenRollout)}
    actions += offers.withdrawn(survey)
    actions += offers.lost(survey)
    for state in sorted(fleet.rollouts.values(), key=lambda one: (one.serial, one.channel, one.id)):
        layout = fleet.layouts.get(state.id)
        if layout is None or state.stage is Stage.SUPERSEDED or state.channel in opening:
            continue
        scope = Scope(survey, layout, state)
        if state.stage in (Stage.ROLLING_BACK, Stage.ROLLED_BACK):
            actions += _taken_back(scope)
        elif (stop := _stopped(scope)) is not None:
            actions.append(stop)
        else:
            actions += advanced(scope)
            actions += _dispatched(scope)
    return (*actions, *_housekeeping(survey))


def _opened(fleet: FleetState) -> Iterator[PlanAction]:
    """Published rollouts that are not open yet, and whose document is at hand."""
    for name in sorted(fleet.channels):
        channel = fleet.channels[name]
        if channel.tip and channel.tip not in fleet.rollouts and channel.tip in fleet.layouts:
            yield OpenRollout(channel.tip, name, channel.serial)


# -- rollouts


def _stopped(scope: Scope) -> PlanAction | None:
    """The end of a rollout with too many failures."""
    if scope.state.stage not in (Stage.ACTIVE, Stage.COMPLETED):
        return None
    failed, allowed = scope.survey.members[scope.layout.id].failed, allowed_failures(scope.layout)
    if failed <= allowed:
        return None
    reason = f"{failed} {'host' if failed == 1 else 'hosts'} failed, {allowed} may"
    if scope.policy.on_failure == "halt":
        return HaltRollout(scope.layout.id, reason)
    return RollBackRollout(scope.layout.id, reason)


def allowed_failures(layout: Layout) -> int:
    """How many hosts may fail before the rollout stops."""
    health, hosts = layout.rollout.policy.health, len(layout.targets)
    share = hosts if health.max_percent is None else hosts * health.max_percent // 100
    count = hosts if health.max_failures is None else health.max_failures
    return 0 if health.max_percent is None and health.max_failures is None else min(share, count)


def advanced(scope: Scope) -> Iterator[PlanAction]:
    """Waves that are through are promoted, one after the other, and the scope goes along; after the last one the
    rollout is complete."""
    if scope.state.stage is not Stage.ACTIVE:
        return
    while through(scope, scope.wave):
        if scope.wave + 1 == len(scope.layout.waves_of):
            yield CompleteRollout(scope.layout.id)
            return
        scope.wave += 1
        yield PromoteWave(scope.layout.id, scope.wave)


def through(scope: Scope, wave: int) -> bool:
    """Whether nobody of a wave is still to be changed, and enough of its hosts converged."""
    names = [name for name in scope.layout.waves_of[wave] if _concerns(scope, name)]
    hosts, terms = scope.survey.fleet.hosts, scope.layout.rollout.waves[wave]
    proven = sum(1 for name in names if _converged(scope, hosts.get(name)))
    skipped: dict[str, bool] = {}
    could = len(names) if terms.absent == "hold" else sum(1 for name in names if not _absent(scope, name, skipped))
    if proven < min(terms.proven, could):
        return False
    return not any(unfinished(scope, name, skipped) for name in names)


def _absent(scope: Scope, name: str, skipped: dict[str, bool]) -> bool:
    """Whether a host has still to be changed and cannot be reached."""
    host = scope.survey.fleet.hosts.get(name)
    return host is None or (scope.survey.waits(host, scope.layout.id) and _skipped(scope, name, skipped))


def _concerns(scope: Scope, name: str) -> bool:
    return scope.survey.targets.get(name) == scope.layout.id


def _converged(scope: Scope, host: HostState | None) -> bool:
    return host is not None and host.rollout == scope.layout.id and host.phase is Phase.CONVERGED and not host.again


def unfinished(scope: Scope, name: str, skipped: dict[str, bool]) -> bool:
    """Whether a wave waits for a host: it changes, or is about to and can be reached. `skipped`: what was found of
    other hosts before."""
    host = scope.survey.fleet.hosts.get(name)
    if host is None:
        return False
    here = host.rollout == scope.layout.id and host.phase in CHANGING
    if not host.lost and (here or host.dispatch is not None or host.phase in BUSY):
        return True
    return scope.survey.waits(host, scope.layout.id) and not _skipped(scope, name, skipped)


def _skipped(scope: Scope, name: str, known: dict[str, bool]) -> bool:
    """Whether a waiting host cannot be reached, or waits for one that cannot."""
    if name not in known:
        known[name] = False  # an edge that leads in a circle
        hosts = scope.survey.fleet.hosts
        known[name] = scope.survey.offline(name, scope.policy.offline_after) or any(
            not _converged(scope, hosts.get(before)) and _skipped(scope, before, known)
            for before in scope.layout.before.get(name, ())
        )
    return known[name]


def _dispatched(scope: Scope) -> Iterator[PlanAction]:
    """Each host that waits is offered its order, or is told at which gate it waits, when that became another one."""
    survey, layout, hosts = scope.survey, scope.layout, scope.survey.fleet.hosts
    until, gates = survey.now + scope.policy.lease, closing(scope)
    for wave in layout.waves_of:
        for name in wave:
            host = hosts.get(name)
            if host is None or not survey.waits(host, layout.id):
                continue
            block = first_block(scope, host, gates)
            if block is None:
                scope.took(name)
                yield QueueDispatch(name, layout.id, layout.targets[name].order, until)
            elif _another(host, layout.id, *block):
                yield DeferDispatch(name, layout.id, *block)


def _another(host: HostState, rollout: str, gate: str, reason: str) -> bool:
    old = host.deferral
    return old is None or old.gate != gate or old.reason != reason or old.rollout != rollout


# -- back


def _taken_back(scope: Scope) -> Iterator[PlanAction]:
    """Hosts on which the rollout's order stands are called back, as far as budgets allow. When nobody who can be
    reached is left, the rollback is over; who comes back later is called back then."""
    survey, layout = scope.survey, scope.layout
    left = any(one.changing and one.dispatch and one.dispatch.rollout == layout.id for one in survey.offered)
    for host in sorted(survey.members[layout.id].hosts, key=lambda one: one.name):
        stands = to_be_taken_back(host) and _concerns(scope, host.name)
        away = survey.offline(host.name, scope.policy.offline_after)
        left = left or host.changing or (stands and not away)
        if not stands or host.dispatch is not None:
            continue
        block = next((b for b in (("offline", offline(scope, host)), _budget(scope, host)) if b[1]), None)
        if block is None:
            scope.took(host.name)
            until = survey.now + scope.policy.lease
            yield QueueDispatch(host.name, layout.id, host.order, until, recall=True)
        elif _another(host, layout.id, *block):
            yield DeferDispatch(host.name, layout.id, *block)
    if not left and scope.state.stage is Stage.ROLLING_BACK:
        yield CloseRollback(layout.id, scope.state.reason)


def _budget(scope: Scope, host: HostState) -> tuple[str, str]:
    return "disruption-budgets", disruption_budgets(scope, host)


def to_be_taken_back(host: HostState) -> bool:
    """Whether the order of the host's last rollout stands there, or may."""
    if host.phase is Phase.RESTART:
        return True
    return host.phase in (Phase.SOAKING, Phase.CONVERGED, Phase.FAILED) and host.standing != host.prior


# -- housekeeping


def _housekeeping(survey: Survey) -> Iterator[PlanAction]:
    fleet, now = survey.fleet, survey.now
    for retiring in sorted(fleet.settings.retiring, key=lambda one: one.slot):
        if now >= retiring.retire_at and fleet.hinted.get(retiring.slot) != retiring.retire_at:
            yield RotateKey(retiring.slot, retiring.retire_at)
    old = {host.rollout for host in fleet.hosts.values()} | {one.present for one in fleet.channels.values()}
    for name in sorted(fleet.rollouts):
        rollout = fleet.rollouts[name]
        if rollout.stage is Stage.SUPERSEDED and name not in old and _rows_are_gone(fleet, rollout.since):
            yield PruneRollout(name)
    before = now - fleet.settings.keep_log
    if before - fleet.log_from >= fleet.settings.keep_log // _LOG_STEPS:
        yield PruneLog(before)


def _rows_are_gone(fleet: FleetState, since: int) -> bool:
    """Whether no row of the log is left that the rollout's document is needed for to read."""
    return fleet.log_from >= since + fleet.settings.keep_rollouts
