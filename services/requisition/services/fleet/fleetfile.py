"""fleet.yaml as it is written down: its records, field by field, and how durations are read. What they mean together is
looked at in `config`."""

from typing import Literal

from msgspec import Struct

from requisition.schemas import quantities
from requisition.schemas.diagnostic import BadInput
from requisition.services.fleet.rollout import OnFailure, ProbeKind

_LONGEST = 366 * 86_400_000


class HostEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """A machine. `platform`: os, os/arch or os/arch/distro. `key`: the public key that its reports are signed with."""

    channel: str
    platform: str = "linux"
    tags: tuple[str, ...] = ()
    key: str = ""


class ChannelEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """What its hosts are given: an `order` file, or the order of a `package`. `after`: channels that come first. What
    is signed for it may be `freshness` old, and is signed anew each `signing`: at least twice as often."""

    policy: str
    order: str = ""
    package: str = ""
    freshness: str = "1d"
    signing: str = "6h"
    after: tuple[str, ...] = ()


class WaveEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """The hosts of the channel that the selector means and that are in no wave before. See `rollout.Wave`."""

    name: str
    hosts: str = "all"
    soak: str = "0s"
    proven: int = 1
    absent: Literal["skip", "hold"] = "skip"


class HealthEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """As `rollout.Health` has it."""

    max_failures: int | None = None
    max_percent: int | None = None
    lost: Literal["failure", "ignore"] = "failure"


class PolicyEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """As `rollout.Policy` has it. Without waves all hosts are one."""

    waves: tuple[WaveEntry, ...] = ()
    on_failure: OnFailure = "rollback-and-halt"
    health: HealthEntry = HealthEntry()
    lease: str = "5m"
    start_within: str = "1m"
    confirm_within: str = "10m"
    rollback_within: str = "10m"
    sustain: str = "1m"
    offline_after: str = "3m"


class EdgeEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """Host `after` is not changed before host `before` of the same channel has converged."""

    before: str
    after: str


class BudgetEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """How many of the hosts may change at a time: `max`, `percent`, or the lower of both."""

    hosts: str
    max: int | None = None
    percent: int | None = None


class ProbeEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """As `rollout.Probe` has it; one that is `disabled` is left out."""

    kind: ProbeKind
    hosts: str = "all"
    mode: Literal["enforce", "observe", "disabled"] = "enforce"
    every: str = "30s"
    timeout: str = "10s"
    command: tuple[str, ...] = ()
    url: str = ""
    expect: int = 200
    units: tuple[str, ...] = ()


class Fleet(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The file."""

    version: Literal["1"]
    fleet: str
    hosts: dict[str, HostEntry]
    channels: dict[str, ChannelEntry]
    policies: dict[str, PolicyEntry]
    edges: tuple[EdgeEntry, ...] = ()
    budgets: dict[str, BudgetEntry] = {}
    probes: dict[str, ProbeEntry] = {}


def span(text: str) -> int:
    """A duration in milliseconds. Raises BadInput."""
    found = round(quantities.seconds(text) * 1000)
    if found > _LONGEST:
        raise BadInput.of(f"{text!r} is longer than a year", next="write a shorter one")
    return found
