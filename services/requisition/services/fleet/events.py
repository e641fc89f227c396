"""What happens to a fleet: reports of hosts, verbs of operators, notes of the server, and the planner's actions. The
log holds them in one order (`Record`); the state is what they add up to (`fold`).

A host numbers its reports from 1 without gaps, per stream; a number is used once. Reports and verbs travel as signed
JSON (`Report`, `Command`), whose `version` is raised when an old reader could misread it.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from requisition.services.fleet.actions import PlanAction
from requisition.services.fleet.rollout import Digest, Name
from requisition.services.fleet.state import Phase, ProbeState, Settings

REPORT_TYPE = "application/vnd.requisition.report+json"
COMMAND_TYPE = "application/vnd.requisition.command+json"

MAX_TEXT = 2048
"""Characters of a text: what a tool printed may be of any length."""

Text = Annotated[str, Meta(max_length=MAX_TEXT)]
Moment = Annotated[int, Meta(ge=0, le=1 << 53)]
Cause = Literal["failed", "unconfirmed", "recalled"]
OrderOrNone = Annotated[str, Meta(pattern=r"^(sha256:[0-9a-f]{64})?$(?!\n)")]


class _Said(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="event"):
    pass


# -- a host says


class Began(_Said, frozen=True, tag="began"):
    """It took dispatch `dispatch` and installs `order`; if that must not stand it goes back to `prior` ("" for what was
    there before any order)."""

    rollout: Digest
    order: Digest
    prior: OrderOrNone
    dispatch: int


class Refused(_Said, frozen=True, tag="refused"):
    """It did not take a dispatch: what it verified does not permit it. `tip`: of which tip, by its `signed_at`."""

    rollout: Digest
    dispatch: int
    tip: Moment
    reason: Text


class Activated(_Said, frozen=True, tag="activated"):
    """The run is over, and `standing` stands. It soaks from here on."""

    rollout: Digest
    standing: OrderOrNone


class RestartNeeded(_Said, frozen=True, tag="restart_needed"):
    """The order takes hold when the machine, or a component of it, is started again."""

    rollout: Digest
    component: Text


class ActivationFailed(_Said, frozen=True, tag="activation_failed"):
    """The run failed, and there is nothing to take back, or policy says not to; `standing` stands now."""

    rollout: Digest
    exit_code: int
    reason: Text
    standing: OrderOrNone


class Probed(_Said, frozen=True, tag="probed"):
    """A probe says something for the first time since the activation, or something else than before."""

    rollout: Digest
    probe: Name
    passed: bool
    reason: Text = ""


class SoakFailed(_Said, frozen=True, tag="soak_failed"):
    """Enforced probes failed for too long in a row, and the order stays, as its policy says."""

    rollout: Digest
    reason: Text


class Converged(_Said, frozen=True, tag="converged"):
    """It soaked long enough, every declared probe was seen, every enforced one passes."""

    rollout: Digest
    standing: OrderOrNone


class RollbackBegan(_Said, frozen=True, tag="rollback_began"):
    """It goes back to `prior`: its run or its probes failed, nobody confirmed it in time, or it was called back by
    dispatch `dispatch`."""

    rollout: Digest
    prior: OrderOrNone
    cause: Cause
    reason: Text = ""
    dispatch: int = 0


class RolledBack(_Said, frozen=True, tag="rolled_back"):
    """It went back, and `standing` stands."""

    rollout: Digest
    standing: OrderOrNone


class RollbackFailed(_Said, frozen=True, tag="rollback_failed"):
    """It could not go back; `standing` is what stands, as far as it knows."""

    rollout: Digest
    exit_code: int
    reason: Text
    standing: OrderOrNone


class Restated(_Said, frozen=True, tag="restated"):
    """All that a host knows of itself, where the server lacks reports that it has no more. The only report that may
    leave numbers out."""

    phase: Phase
    rollout: OrderOrNone
    order: OrderOrNone
    prior: OrderOrNone
    standing: OrderOrNone
    cause: Literal["", "failed", "unconfirmed", "recalled"]
    reason: Text
    activated_at: Moment
    dispatches: int
    probes: tuple[ProbeState, ...] = ()


HostEvent = (
    Began
    | Refused
    | Activated
    | RestartNeeded
    | ActivationFailed
    | Probed
    | SoakFailed
    | Converged
    | RollbackBegan
    | RolledBack
    | RollbackFailed
    | Restated
)


def clipped(event: HostEvent) -> HostEvent:
    """The event with texts that are not too long to be read again."""
    long = {name: value for name in event.__struct_fields__ if isinstance(value := getattr(event, name), str)}
    cut = {name: value[: MAX_TEXT - 1] + "…" for name, value in long.items() if len(value) > MAX_TEXT}
    return replace(event, **cut) if cut else event


class Report(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, tag="report"):
    """A host's event as it travels: number `seq` of `stream`, at `at` of the host's clock."""

    version: Literal[1] = 1
    host: Name
    stream: Annotated[str, Meta(min_length=1, max_length=64)]
    seq: Annotated[int, Meta(ge=1, le=1 << 53)]
    at: Moment
    event: HostEvent


# -- an operator says


class Halt(_Said, frozen=True, tag="halt"):
    """No other host begins."""

    rollout: Digest
    reason: Text


class Pause(_Said, frozen=True, tag="pause"):
    """No other host begins for the time being; nothing is wrong."""

    rollout: Digest
    reason: Text = ""


class Resume(_Said, frozen=True, tag="resume"):
    """A paused or halted rollout goes on. Hosts that failed so far count no more; with `retry` they are tried again."""

    rollout: Digest
    reason: Text = ""
    retry: bool = False


class Cancel(_Said, frozen=True, tag="cancel"):
    """It is over; hosts stay where they are. Channels that wait for it go on."""

    rollout: Digest
    reason: Text


class RollBack(_Said, frozen=True, tag="roll_back"):
    """All of its hosts go back."""

    rollout: Digest
    reason: Text


class Promote(_Said, frozen=True, tag="promote"):
    """The next wave, `wave`, opens now."""

    rollout: Digest
    wave: int
    reason: Text


class Retry(_Said, frozen=True, tag="retry"):
    """A host is offered its rollout again."""

    host: Name
    reason: Text = ""


class Quarantine(_Said, frozen=True, tag="quarantine"):
    """No host of the channel is given this order."""

    channel: Name
    order: Digest
    reason: Text


class LiftQuarantine(_Said, frozen=True, tag="lift_quarantine"):
    """It may be given again."""

    channel: Name
    order: Digest
    reason: Text = ""


class Retire(_Said, frozen=True, tag="retire"):
    """A host is no longer part of the fleet."""

    host: Name
    reason: Text = ""


Verb = Halt | Pause | Resume | Cancel | RollBack | Promote | Retry | Quarantine | LiftQuarantine | Retire


class Command(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, tag="command"):
    """A verb as it travels, signed by an operator. `nonce` makes it good for one use; `by` is the name of the key that
    signed it, and is put in by who verified that."""

    version: Literal[1] = 1
    fleet: Name
    nonce: Annotated[str, Meta(min_length=16, max_length=64)]
    signed_at: Moment
    by: str = ""
    verb: Verb


# -- the server notes


class Published(_Said, frozen=True, tag="published"):
    """A verified tip names `rollout`, whose verified document is at hand."""

    channel: str
    rollout: str
    serial: int
    signed_at: int


class Enrolled(_Said, frozen=True, tag="enrolled"):
    """A host joined, or joined again: its reports begin at 1 of `stream`."""

    host: str
    stream: str
    key: str


class Handed(_Said, frozen=True, tag="handed"):
    """The host was given the offer `number` when it asked. Noted the first time only."""

    host: str
    number: int


class Configured(_Said, frozen=True, tag="configured"):
    """How long things are kept."""

    settings: Settings


class Planned(_Said, frozen=True, tag="planned"):
    """The planner asked for it."""

    action: PlanAction


Note = Published | Enrolled | Handed | Configured | Planned


class Noted(Struct, frozen=True, forbid_unknown_fields=True, tag="noted"):
    """Something the server itself did or saw."""

    note: Note


Event = Report | Command | Noted


class Record(Struct, frozen=True, forbid_unknown_fields=True):
    """One row of the log: its number, when the server took it in, what happened."""

    number: int
    at: int
    event: Event


class Heartbeat(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A host is there: in which stream, how many reports it made, and the time (the server's) that the last answer it
    had bore. It says nothing else, so that it can overwrite nothing. Not logged."""

    host: Name
    stream: str
    seq: int
    heard: Moment = 0
