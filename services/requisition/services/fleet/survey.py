"""What one tick of the planner needs to know of all hosts, gathered in one pass.

A host's target is the present rollout that lists it; where several do (it moved to another channel), that of the
highest serial. `changing` grows while the tick gives out dispatches, so that no two of them take the same place in a
budget.
"""

from functools import cached_property

from requisition.services.fleet.fold import failed_in
from requisition.services.fleet.layout import Layout
from requisition.services.fleet.rollout import SKEW
from requisition.services.fleet.state import BUSY, CHANGING, FAILURES, FleetState, HostState, RolloutState, Stage


class Member:
    """What is known of one rollout's hosts: those that stand or stood in it, by what became of them."""

    __slots__ = ("failed", "failing", "hosts")

    def __init__(self) -> None:
        self.hosts: list[HostState] = []
        self.failed = 0
        self.failing: list[HostState] = []


class Survey:
    """One moment of a fleet."""

    def __init__(self, fleet: FleetState, now: int) -> None:
        self.fleet, self.now = fleet, now
        self.targets = _targets(fleet)
        self.changing: set[str] = set()
        self.members: dict[str, Member] = {name: Member() for name in fleet.rollouts}
        self.offered: list[HostState] = []
        stranger = Member()
        for name, host in fleet.hosts.items():
            member = self.members.get(host.rollout, stranger)
            member.hosts.append(host)
            if host.dispatch is not None:
                self.offered.append(host)
            if (host.dispatch is not None or host.phase in CHANGING) and host.changing:
                self.changing.add(name)
            if host.probes and any(not one.passed for one in host.probes):
                member.failing.append(host)
            if host.lost or host.phase in FAILURES:
                self._count_failure(host)

    def _count_failure(self, host: HostState) -> None:
        for rollout in {host.rollout, host.dispatch.rollout if host.dispatch else host.rollout}:
            layout = self.fleet.layouts.get(rollout)
            if layout is not None and rollout in self.members:
                counts = layout.rollout.policy.health.lost == "failure"
                self.members[rollout].failed += failed_in(host, rollout, lost_counts=counts)

    def offline(self, name: str, after: int) -> bool:
        """Whether a host has not been heard of for so long; one that this server never heard of is offline."""
        seen = self.fleet.presence.get(name)
        return seen is None or self.now - seen.seen_at > after

    def silent_for(self, name: str) -> int:
        """For how long a host was not heard of, as far as this server can know."""
        seen = self.fleet.presence.get(name)
        return self.now - max(self.fleet.up_since, seen.seen_at if seen is not None else 0)

    def waits(self, host: HostState, rollout: str) -> bool:
        """Whether a host is to be offered the rollout, gates or not."""
        idle = host.dispatch is None and host.phase not in BUSY
        return idle and (host.rollout != rollout or host.again) and self.targets.get(host.name) == rollout


class Scope:
    """One open rollout within a survey, and what its gates share."""

    def __init__(self, survey: Survey, layout: Layout, state: RolloutState) -> None:
        self.survey, self.layout, self.state = survey, layout, state
        self.wave = state.wave
        self.policy = layout.rollout.policy

    @cached_property
    def in_flight(self) -> list[int]:
        """How many hosts of each budget change. Kept by `took`."""
        return [len(self.survey.changing & hosts) for hosts in self.layout.budget_hosts]

    def took(self, name: str) -> None:
        """A host was offered something: it counts from now on."""
        if name in self.survey.changing:
            return
        _ = self.in_flight
        self.survey.changing.add(name)
        for number in self.layout.budgets_of.get(name, ()):
            self.in_flight[number] += 1

    @cached_property
    def first_failing(self) -> int:
        """The first wave with a host whose enforced probe fails now; the number of waves when there is none."""
        enforced = {probe.name for probe in self.layout.rollout.probes if probe.mode == "enforce"}
        waves = [len(self.layout.waves_of)]
        for host in self.survey.members[self.layout.id].failing:
            target = self.layout.targets.get(host.name)
            if target is not None and any(not one.passed and one.name in enforced for one in host.probes):
                waves.append(target.wave)
        return min(waves)

    @cached_property
    def closed_edge(self) -> str:
        """The reason why channels that must be through before are not; "" when they are."""
        fleet = self.survey.fleet
        for name in self.layout.rollout.after:
            channel = fleet.channels.get(name)
            if channel is None or not channel.tip:
                continue
            before = fleet.rollouts.get(channel.tip)
            if before is None:
                return f"channel {name} comes first, and its rollout is not open yet"
            if before.stage not in (Stage.COMPLETED, Stage.CANCELLED):
                return f"channel {name} comes first, and its rollout is {before.stage}"
        return ""

    @cached_property
    def stale(self) -> str:
        """The reason why what is published for the channel is too old; "" when it is not."""
        channel = self.survey.fleet.channels[self.layout.rollout.channel]
        age = self.survey.now - channel.signed_at
        return "" if age <= self.layout.rollout.freshness + SKEW else "what was signed for the channel is too old"


def _targets(fleet: FleetState) -> dict[str, str]:
    present = [fleet.rollouts[one.present] for one in fleet.channels.values() if one.present in fleet.rollouts]
    targets: dict[str, str] = {}
    for rollout in sorted(present, key=lambda one: (one.serial, one.channel)):
        layout = fleet.layouts.get(rollout.id)
        if layout is not None:
            targets.update(dict.fromkeys(layout.targets, rollout.id))
    return targets
