"""What a server knows: of hosts, of rollouts, of channels. Records that never change; the reducers make new ones.

A host's record mirrors what the host itself reported, and nothing else; what it should be is its channel's present
rollout. So a host waits when the two differ, and nobody has to write that down. `dispatch` is the server's standing
offer. Times are milliseconds since 1970, UTC, by the server's clock unless a field says otherwise.
"""

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct

from requisition.services.fleet.layout import Layout


class Phase(StrEnum):
    """Where a host stands in its last rollout, as it says itself."""

    IDLE = "idle"
    ACTIVATING = "activating"
    RESTART = "restart"
    SOAKING = "soaking"
    CONVERGED = "converged"
    FAILED = "failed"
    ROLLING_BACK = "rolling_back"
    REVERTED = "reverted"
    STUCK = "stuck"


class Stage(StrEnum):
    """The state of a rollout."""

    ACTIVE = "active"
    PAUSED = "paused"
    HALTED = "halted"
    ROLLING_BACK = "rolling_back"
    COMPLETED = "completed"
    ROLLED_BACK = "rolled_back"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"


CHANGING = frozenset({Phase.ACTIVATING, Phase.RESTART, Phase.SOAKING, Phase.ROLLING_BACK})
"""Phases that budgets count: the host may be out of service because of us."""

BUSY = frozenset({Phase.ACTIVATING, Phase.ROLLING_BACK})
"""Phases in which the machine is being changed; it is offered nothing else until that is over."""

FAILURES = frozenset({Phase.FAILED, Phase.ROLLING_BACK, Phase.REVERTED, Phase.STUCK})
"""Phases that the health gate counts, but for hosts that were called back."""


class ProbeState(Struct, frozen=True, gc=False, array_like=True):
    """What a probe last said, and since when (the host's clock) it says so."""

    name: str
    passed: bool
    since: int
    reason: str = ""


class Dispatch(Struct, frozen=True, gc=False, omit_defaults=True):
    """An offer to a host: install the order of a rollout, or go back from it (`recall`). `number` grows with each
    offer to the host. It may be handed out until `until`; `handed_at`: when it first was, 0 if never; `withdrawn`: it
    is handed out no more, but the host may have begun."""

    number: int
    rollout: str
    order: str
    recall: bool
    queued_at: int
    until: int
    handed_at: int = 0
    withdrawn: bool = False


class Deferral(Struct, frozen=True, gc=False):
    """Why a host waits: for which rollout, at which gate, in which words, since when."""

    rollout: str
    gate: str
    reason: str
    since: int


class Refusal(Struct, frozen=True, gc=False):
    """A dispatch that the host did not take: of which rollout, under which tip (`signed_at`), in which words."""

    rollout: str
    tip: int
    reason: str


class HostState(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One host.

    stream        its series of reports; a new one begins when it is enrolled again
    seq           number of its last report that was taken in; the next is one higher
    phase, rollout, order, prior   as reported: what it did last, and to which order it would go back
    standing      the order that stands there, "" if none or unknown
    cause         why it goes or went back: failed, unconfirmed, recalled
    activated_at  when its order was in place, by the host's clock
    lost          it fell silent while it was changing, so budgets count it no more, until it is done with that
    forgiven      its failure counts no more; `again`: it is offered the same rollout once more
    """

    name: str
    stream: str
    key: str = ""
    seq: int = 0
    phase: Phase = Phase.IDLE
    since: int = 0
    rollout: str = ""
    order: str = ""
    prior: str = ""
    standing: str = ""
    cause: str = ""
    reason: str = ""
    activated_at: int = 0
    probes: tuple[ProbeState, ...] = ()
    dispatches: int = 0
    dispatch: Dispatch | None = None
    deferral: Deferral | None = None
    refusal: Refusal | None = None
    lost: bool = False
    forgiven: bool = False
    again: bool = False

    @property
    def changing(self) -> bool:
        """Whether budgets count it: it changes, or may have begun to."""
        return not self.lost and (self.dispatch is not None or self.phase in CHANGING)


class RolloutState(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One rollout. `wave`: index of the last open wave; `since`, `reason`, `by` (whose key, "" for the server): of the
    stage."""

    id: str
    channel: str
    serial: int
    stage: Stage = Stage.ACTIVE
    wave: int = 0
    opened_at: int = 0
    since: int = 0
    reason: str = ""
    by: str = ""


class ChannelState(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What is published for a channel (`tip`, of `serial`, signed at `signed_at`), and which rollout was opened
    last."""

    name: str
    tip: str = ""
    serial: int = 0
    signed_at: int = 0
    present: str = ""


class Quarantined(Struct, frozen=True, gc=False, omit_defaults=True):
    """An order that no host of a channel is given: since when, why, and by whom ("" for the server)."""

    channel: str
    order: str
    since: int
    reason: str
    by: str = ""


class Presence(Struct, frozen=True, gc=False):
    """When a host was last heard of; of the newest of its words that arrived, how many reports it had made, and when
    (by the server's clock) it had last had an answer: what it says is younger than `heard`, however long it was under
    way."""

    seen_at: int
    seq: int
    heard: int


class Retiring(Struct, frozen=True, gc=False):
    """A key slot that has a successor, and when its keys retire."""

    slot: str
    retire_at: int


class Settings(Struct, frozen=True, omit_defaults=True):
    """How long ended rollouts nobody stands on, and rows of the log, are kept; and which keys are to be replaced
    when."""

    keep_rollouts: int = 90 * 86_400_000
    keep_log: int = 90 * 86_400_000
    retiring: tuple[Retiring, ...] = ()


class FleetState(Struct, frozen=True, kw_only=True):
    """All of it, as of log record `number`; rows of the log are there from `log_from` on. `layouts` are the rollouts'
    verified documents; `nonces` the verbs that were used lately, and when; `hinted` the keys of which was said that
    they are to be replaced. `presence` is the one part that is not in the log: it is true of now, or of nothing;
    `up_since` is when this server began to listen."""

    number: int = 0
    log_from: int = 0
    hosts: Mapping[str, HostState] = {}
    rollouts: Mapping[str, RolloutState] = {}
    channels: Mapping[str, ChannelState] = {}
    quarantined: Mapping[tuple[str, str], Quarantined] = {}
    nonces: Mapping[str, int] = {}
    hinted: Mapping[str, int] = {}
    settings: Settings = Settings()
    layouts: Mapping[str, Layout] = {}
    presence: Mapping[str, Presence] = {}
    up_since: int = 0
