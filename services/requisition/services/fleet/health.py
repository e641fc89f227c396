"""Whether a host that soaks has converged, fails, or must wait. One rule, used by the host that decides and by the
server that checks what the host claims.

Soak counts from the host's own activation; every declared probe must have been seen since; a probe that recovered is as
if it had never failed. All times are the host's.
"""

from collections.abc import Sequence
from typing import NamedTuple

from requisition.services.fleet.rollout import Probe
from requisition.services.fleet.state import ProbeState


class Verdict(NamedTuple):
    """`failed`: enforced probes that failed for long enough; `failing`: that fail now; `unseen`: not seen since the
    activation."""

    failed: tuple[str, ...]
    failing: tuple[str, ...]
    unseen: tuple[str, ...]
    soaked: bool

    @property
    def converged(self) -> bool:
        """Whether nothing is missing."""
        return self.soaked and not self.failing and not self.unseen

    @property
    def missing(self) -> str:
        """What is, in words; "" when nothing is."""
        if self.failing:
            return f"failing: {', '.join(self.failing)}"
        if self.unseen:
            return f"not seen since the activation: {', '.join(self.unseen)}"
        return "" if self.soaked else "the soak is not over"


def verdict(
    declared: Sequence[Probe], seen: Sequence[ProbeState], activated_at: int, soak: int, sustain: int, now: int
) -> Verdict:
    """How a soaking host stands at `now`."""
    known = {one.name: one for one in seen}
    enforced = [known[probe.name] for probe in declared if probe.mode == "enforce" and probe.name in known]
    failing = [one for one in enforced if not one.passed]
    return Verdict(
        tuple(one.name for one in failing if now - one.since >= sustain),
        tuple(one.name for one in failing),
        tuple(probe.name for probe in declared if probe.name not in known),
        now - activated_at >= soak,
    )


def observed(seen: tuple[ProbeState, ...], name: str, passed: bool, at: int, reason: str) -> tuple[ProbeState, ...]:
    """What is known with one more observation; unchanged when it says what was known."""
    old = next((one for one in seen if one.name == name), None)
    if old is not None and old.passed == passed:
        return seen
    others = [one for one in seen if one.name != name]
    return tuple(sorted((*others, ProbeState(name, passed, at, reason)), key=lambda one: one.name))
