"""A rollout as the planner asks of it: by host. Made once when the rollout becomes known, never stored."""

from typing import NamedTuple

from requisition.services.fleet.rollout import Probe, Rollout, Target, Wave, rollout_id


class Layout(NamedTuple):
    """`waves_of`: hosts of each wave, sorted. `budgets_of`: indexes into the rollout's budgets by host; `limits` of
    each budget. `before`: the hosts that a host waits for."""

    id: str
    rollout: Rollout
    targets: dict[str, Target]
    waves_of: tuple[tuple[str, ...], ...]
    budgets_of: dict[str, tuple[int, ...]]
    budget_hosts: tuple[frozenset[str], ...]
    limits: tuple[int, ...]
    before: dict[str, tuple[str, ...]]

    def wave_of(self, host: str) -> Wave:
        """The wave that a host is in."""
        return self.rollout.waves[self.targets[host].wave]

    def probes_of(self, host: str) -> tuple[Probe, ...]:
        """The probes that are declared for a host, by name."""
        return tuple(probe for probe in self.rollout.probes if host in probe.hosts)

    @property
    def orders(self) -> tuple[str, ...]:
        """The different orders of the rollout, sorted."""
        return tuple(sorted({target.order for target in self.rollout.targets}))


def layout(rollout: Rollout) -> Layout:
    """Index a rollout."""
    budgets: dict[str, tuple[int, ...]] = {}
    for number, budget in enumerate(rollout.budgets):
        for host in budget.hosts:
            budgets[host] = (*budgets.get(host, ()), number)
    before: dict[str, tuple[str, ...]] = {}
    for edge in rollout.edges:
        before[edge.after] = (*before.get(edge.after, ()), edge.before)
    waves: list[list[str]] = [[] for _ in rollout.waves]
    for target in rollout.targets:
        waves[target.wave].append(target.host)
    return Layout(
        rollout_id(rollout),
        rollout,
        {target.host: target for target in rollout.targets},
        tuple(tuple(sorted(hosts)) for hosts in waves),
        budgets,
        tuple(frozenset(budget.hosts) for budget in rollout.budgets),
        tuple(budget.limit for budget in rollout.budgets),
        before,
    )
