"""How long one tick of the planner takes: 10,000 hosts and 20 rollouts, in the situations that are the hardest for it.

`python bench/fleet_plan.py [HOSTS] [ROLLOUTS]` prints the median of each in milliseconds. "scan" is the reference, run
side by side: one pass over all hosts that looks at one field.
"""

import statistics
import sys
import time

from msgspec.structs import replace

from requisition.services.fleet.actions import PlanAction
from requisition.services.fleet.events import Noted, Planned, Probed, Report
from requisition.services.fleet.fold import apply
from requisition.services.fleet.layout import layout
from requisition.services.fleet.planner import plan_next
from requisition.services.fleet.rollout import Budget, Health, Policy, Probe, Rollout, Target, Wave, digest
from requisition.services.fleet.state import (
    ChannelState,
    FleetState,
    HostState,
    Phase,
    Presence,
    ProbeState,
    RolloutState,
)

NOW = 1_800_000_000_000


def fleet(hosts: int, rollouts: int) -> FleetState:
    """Every channel has a rollout of its own part of the hosts, all of them active, with a budget over all hosts."""
    names = [f"h{number:05d}" for number in range(hosts)]
    presence = {name: Presence(NOW, 0, NOW) for name in names}
    states, channels, layouts = {}, {}, {}
    for number in range(rollouts):
        members = names[number::rollouts]
        made = layout(
            Rollout(
                fleet="bench",
                channel=f"c{number}",
                serial=number + 1,
                freshness=86_400_000,
                policy=Policy("p", health=Health(max_percent=50)),
                waves=(Wave("canary"), Wave("all")),
                targets=tuple(Target(name, int(n >= 5), digest(b"new")) for n, name in enumerate(members)),
                budgets=(
                    Budget("all", tuple(names), percent=10),
                    Budget("own", tuple(members), percent=50),
                ),
                probes=(Probe("answers", "command", tuple(members), command=("true",)),),
            )
        )
        layouts[made.id] = made
        states[made.id] = RolloutState(
            id=made.id, channel=f"c{number}", serial=number + 1, wave=1, opened_at=NOW, since=NOW
        )
        channels[f"c{number}"] = ChannelState(
            name=f"c{number}", tip=made.id, serial=number + 1, signed_at=NOW, present=made.id
        )
    known = {name: HostState(name=name, stream=name) for name in names}
    return FleetState(
        number=1, log_from=NOW, hosts=known, rollouts=states, channels=channels, layouts=layouts, presence=presence
    )


def with_hosts(state: FleetState, **fields: object) -> FleetState:
    of = {name: one.id for one in state.layouts.values() for name in one.targets}
    hosts = {
        name: replace(host, rollout=of[name], order=digest(b"new"), **fields) for name, host in state.hosts.items()
    }
    return replace(state, hosts=hosts)


def applied(state: FleetState, actions: tuple[PlanAction, ...]) -> FleetState:
    for action in actions:
        state, _ = apply(state, Noted(Planned(action)), NOW)
    return state


def median(state: FleetState, runs: int = 15) -> tuple[float, float, int]:
    times, scans, actions = [], [], 0
    for _ in range(runs):
        begin = time.perf_counter()
        actions = len(plan_next(state, NOW))
        middle = time.perf_counter()
        sum(1 for host in state.hosts.values() if host.phase is Phase.SOAKING)
        times.append(middle - begin)
        scans.append(time.perf_counter() - middle)
    return statistics.median(times) * 1000, statistics.median(scans) * 1000, actions


def main() -> None:
    hosts, rollouts = (int(one) for one in (*sys.argv[1:3], *("10000", "20")[len(sys.argv) - 1 :]))
    seen = (ProbeState("answers", passed=True, since=NOW),)
    start = fleet(hosts, rollouts)
    deferred = applied(start, plan_next(start, NOW))
    situations = {
        "all wait, budget used up, nothing told yet": start,
        "all wait, budget used up, all told": deferred,
        "all soak": with_hosts(start, phase=Phase.SOAKING, probes=seen, activated_at=NOW),
        "all have converged": with_hosts(start, phase=Phase.CONVERGED, probes=seen, standing=digest(b"new")),
        "all are offline": replace(start, presence={}),
    }
    print(f"{hosts} hosts, {rollouts} rollouts; milliseconds, median of 15")
    for name, state in situations.items():
        spent, scan, actions = median(state)
        print(f"  {name:<44} {spent:7.1f}   scan {scan:5.2f}   {spent / scan:5.0f} ×   {actions} actions")
    print(f"  one report taken in {report(start):30.3f}")


def report(state: FleetState, runs: int = 200) -> float:
    """Milliseconds to take one report of a host in."""
    name, times = next(iter(state.hosts)), []
    rollout = next(iter(state.layouts))
    for number in range(1, runs + 1):
        event = Probed(rollout, "answers", passed=bool(number % 2))
        one = Report(host=name, stream=name, seq=number, at=NOW, event=event)
        begin = time.perf_counter()
        state, _ = apply(state, one, NOW)
        times.append(time.perf_counter() - begin)
    return statistics.median(times) * 1000


if __name__ == "__main__":
    main()
