"""The rollout: which host gets which order, in which wave, under which rules. It is signed, and frozen: nothing of it
is ever looked up elsewhere later.

Its id is the SHA-256 of its canonical bytes, so that two rollouts with one id are one rollout. Next to it stands the
`Tip`: a small signed word that a rollout is the present one of its channel, made anew at each signing interval. So a
target stays fresh without becoming another one (TUF's timestamp role, tuf-spec §1.3). Times are milliseconds since
1970, UTC; spans are milliseconds; orders and rollouts are named `sha256:` + hex.
"""

import hashlib
from functools import cache
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import force_setattr

from requisition.schemas import canonical

ROLLOUT_TYPE = "application/vnd.requisition.rollout+json"
TIP_TYPE = "application/vnd.requisition.tip+json"

SKEW = 60_000
"""By how much clocks may differ, in milliseconds."""


@cache
def _defaults(record: type[Struct]) -> tuple[tuple[str, object], ...]:
    given = record.__struct_defaults__
    return tuple(zip(record.__struct_fields__[len(record.__struct_fields__) - len(given) :], given, strict=True))


Digest = Annotated[str, Meta(pattern=r"^sha256:[0-9a-f]{64}$(?!\n)")]
Name = Annotated[str, Meta(pattern=r"^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$(?!\n)")]
Span = Annotated[int, Meta(ge=0, le=366 * 86_400_000)]
Count = Annotated[int, Meta(ge=0, le=1_000_000)]
Percent = Annotated[int, Meta(ge=0, le=100)]

OnFailure = Literal["halt", "rollback-and-halt"]
ProbeKind = Literal["command", "http", "units", "drift"]
ProbeMode = Literal["enforce", "observe"]


class _Frozen(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is signed has one form: fields at their default are left out. The encoder knows a default only by its
    identity, so a value that equals it is made to be it."""

    def __post_init__(self) -> None:
        for name, default in _defaults(type(self)):
            if getattr(self, name) == default:
                force_setattr(self, name, default)


class Health(_Frozen, frozen=True):
    """When a rollout stops by itself: more than `max_failures` hosts failed, or more than `max_percent` of all its
    hosts. Each counts where it is given; with neither the first failure stops it. `lost`: whether a host that fell
    silent while it was changing is a failure."""

    max_failures: Count | None = None
    max_percent: Percent | None = None
    lost: Literal["failure", "ignore"] = "failure"


class Policy(_Frozen, frozen=True):
    """How hosts are changed, and what follows a failure.

    lease            how long a dispatch is offered before it is taken back
    start_within     a host begins within this of asking for work, or not at all
    confirm_within   from its beginning to the server's word that it was heard of; else the host goes back by itself
    rollback_within  how long going back may take
    sustain          how long an enforced probe fails in a row before the host has failed
    offline_after    a host that was not heard of for so long is offline
    """

    name: str
    on_failure: OnFailure = "rollback-and-halt"
    health: Health = Health()
    lease: Span = 300_000
    start_within: Span = 60_000
    confirm_within: Span = 600_000
    rollback_within: Span = 600_000
    sustain: Span = 60_000
    offline_after: Span = 180_000


class Wave(_Frozen, frozen=True):
    """Hosts of a wave soak for `soak` after their own activation. The next wave opens when none of this one's is still
    to be changed, and `proven` of them have converged (or all, where it has fewer). Hosts that are offline are not
    waited for; with `hold` they are, as long as too few have converged without them."""

    name: str
    soak: Span = 0
    proven: Count = 1
    absent: Literal["skip", "hold"] = "skip"


class Target(_Frozen, frozen=True, array_like=True):
    """A host, the index of its wave, its order, and the id of the key its reports are signed with ("" if unknown)."""

    host: Name
    wave: Count
    order: Digest
    key: str = ""


class Budget(_Frozen, frozen=True):
    """At most `max` of `hosts` change at a time, and at most `percent` of them (rounded down, but one at least)."""

    name: str
    hosts: tuple[Name, ...]
    max: Count | None = None
    percent: Percent | None = None

    @property
    def limit(self) -> int:
        """How many of the hosts may change at a time."""
        share = len(self.hosts)
        if self.percent is not None:
            share = max(1, share * self.percent // 100) if self.percent else 0
        return share if self.max is None else min(share, self.max)


class Probe(_Frozen, frozen=True):
    """What is looked at on `hosts` while they soak and afterwards, each `every`, for `timeout` at most. `command`: exit
    code 0; `http`: status `expect` from `url`; `units`: systemd units that are active; `drift`: the receipt still
    describes the machine. `enforce`: failing means something; `observe`: it is told."""

    name: str
    kind: ProbeKind
    hosts: tuple[Name, ...]
    mode: ProbeMode = "enforce"
    every: Span = 30_000
    timeout: Span = 10_000
    command: tuple[str, ...] = ()
    url: str = ""
    expect: int = 200
    units: tuple[str, ...] = ()


class Edge(_Frozen, frozen=True, array_like=True):
    """`after` is not changed before `before` has converged."""

    before: Name
    after: Name


class Rollout(_Frozen, frozen=True, kw_only=True):
    """Everything that a rollout is, for as long as it lives. `serial` grows with each resolve of the fleet that changed
    something; a host takes none that is lower than one it has seen. `targets`, hosts of budgets and of probes are
    sorted; `after`: the channels that must be through before this one begins; `freshness`: how old its tip may be."""

    version: Literal[1] = 1
    fleet: Name
    channel: Name
    serial: Annotated[int, Meta(ge=1, le=1 << 53)]
    freshness: Span
    policy: Policy
    waves: tuple[Wave, ...]
    targets: tuple[Target, ...]
    edges: tuple[Edge, ...] = ()
    after: tuple[Name, ...] = ()
    budgets: tuple[Budget, ...] = ()
    probes: tuple[Probe, ...] = ()


class Tip(_Frozen, frozen=True, kw_only=True):
    """`rollout` is the present one of `channel`, as of `signed_at`."""

    version: Literal[1] = 1
    fleet: Name
    channel: Name
    serial: Annotated[int, Meta(ge=1, le=1 << 53)]
    rollout: Digest
    signed_at: Annotated[int, Meta(ge=0, le=1 << 53)]


def faults(rollout: Rollout) -> list[str]:
    """What contradicts itself in a rollout that somebody signed; nobody acts by one that has any."""
    hosts = [target.host for target in rollout.targets]
    found = []
    if hosts != sorted(set(hosts)):
        found.append("its targets are not sorted, or name a host twice")
    if not rollout.waves or any(target.wave >= len(rollout.waves) for target in rollout.targets):
        found.append("a target is in a wave that is not there")
    if not {name for edge in rollout.edges for name in (edge.before, edge.after)} <= set(hosts):
        found.append("an edge names a host that is no target")
    wave_of = {target.host: target.wave for target in rollout.targets}
    if any(wave_of.get(edge.before, 0) > wave_of.get(edge.after, 0) for edge in rollout.edges):
        found.append("a host waits for one of a later wave, which waits for it")
    lists = [budget.hosts for budget in rollout.budgets] + [probe.hosts for probe in rollout.probes]
    if any(list(names) != sorted(set(names)) for names in lists):
        found.append("the hosts of a budget or probe are not sorted, or one is there twice")
    if len({probe.name for probe in rollout.probes}) < len(rollout.probes):
        found.append("two probes have one name")
    return found


def payload(document: Struct) -> bytes:
    """The bytes that are signed. Raises NotCanonical."""
    return canonical.encode(document)


def digest(data: bytes) -> str:
    """The name of a document: the digest of the bytes that are signed."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def rollout_id(rollout: Rollout) -> str:
    """The id of a rollout."""
    return digest(payload(rollout))


def same_but_serial(one: Rollout, other: Rollout) -> bool:
    """Whether two rollouts say the same, so that the second is no new one."""
    return msgspec.structs.replace(one, serial=1) == msgspec.structs.replace(other, serial=1)
