"""What a host knows of itself, and what it is told: the records of `agent_reducer`. Times are of the host's clock, in
milliseconds since 1970."""

from typing import Literal, NamedTuple

from msgspec import Struct

from requisition.services.fleet.layout import Layout
from requisition.services.fleet.rollout import Probe
from requisition.services.fleet.state import Phase, ProbeState


class Terms(Struct, frozen=True):
    """What a signed rollout says for one host. `keyed`: it names the keys of all its hosts, so that their failures can
    be proved by their own signed reports."""

    rollout: str
    serial: int
    order: str
    freshness: int
    soak: int
    sustain: int
    start_within: int
    confirm_within: int
    goes_back: bool
    keyed: bool
    probes: tuple[Probe, ...]


class AgentState(Struct, frozen=True, kw_only=True):
    """A host as it knows itself.

    seq, confirm  number of its last report; of the one whose acknowledgement confirms the activation
    serial        of the highest rollout that it began
    dispatches    number of the last offer that it looked at
    good          the order that last converged here and was not taken back, "" for what was there before any
    deadline      by when it must be confirmed, or goes back; 0 when nothing is to be confirmed
    """

    host: str
    stream: str
    seq: int = 0
    confirm: int = 0
    serial: int = 0
    dispatches: int = 0
    phase: Phase = Phase.IDLE
    terms: Terms | None = None
    prior: str = ""
    standing: str = ""
    good: str = ""
    cause: Literal["", "failed", "unconfirmed", "recalled"] = ""
    reason: str = ""
    activated_at: int = 0
    deadline: int = 0
    probes: tuple[ProbeState, ...] = ()


# -- what it is told


class Offered(NamedTuple):
    """The answer to what it asked at `asked_at`: an offer, with the terms of its verified rollout and when the verified
    tip was signed. `by_operator`: a verified verb of an operator asks to go back. `objection`: why it was not
    verified."""

    number: int
    recall: bool
    terms: Terms
    tip: int
    asked_at: int
    authority: Literal["", "proof", "operator"] = ""
    objection: str = ""


class RunEnded(NamedTuple):
    """The run that `RunOrder` began is over, and `standing` stands."""

    ok: bool
    standing: str
    exit_code: int = 0
    reason: str = ""


class RunDeferred(NamedTuple):
    """The run is over; the order takes hold when `component` is started again."""

    component: str


class RollbackEnded(NamedTuple):
    """What `TakeBack` began is over, and `standing` stands."""

    ok: bool
    standing: str
    exit_code: int = 0
    reason: str = ""


class ProbeSeen(NamedTuple):
    """A probe was looked at."""

    probe: str
    passed: bool
    reason: str = ""


class Heard(NamedTuple):
    """The server has all reports up to `seq` on its disk."""

    seq: int


class Missing(NamedTuple):
    """The server asks for reports that are not in the outbox any more."""


class Joined(NamedTuple):
    """It was enrolled, for the first time or again: its reports begin at 1 of `stream`, and offers are numbered anew.
    What was in the outbox of another stream is of no use any more."""

    stream: str


class Started(NamedTuple):
    """The agent was started; `standing` stands, and no run is under way."""

    standing: str


class Tick(NamedTuple):
    """Time has passed."""


Said = Offered | RunEnded | RunDeferred | RollbackEnded | ProbeSeen | Heard | Missing | Joined | Started | Tick


def terms_of(layout: Layout, host: str) -> Terms:
    """What a rollout says for a host that it lists."""
    rollout, policy = layout.rollout, layout.rollout.policy
    return Terms(
        layout.id,
        rollout.serial,
        layout.targets[host].order,
        rollout.freshness,
        layout.wave_of(host).soak,
        policy.sustain,
        policy.start_within,
        policy.confirm_within,
        policy.on_failure == "rollback-and-halt",
        all(target.key for target in rollout.targets),
        layout.probes_of(host),
    )
