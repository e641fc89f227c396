"""What has to be done outside because of an event: data, for the applier of a server (remote) or the shell of an agent
(local). One that reaches the wrong side is a defect there; it is dropped and logged.

Remote effects of one event are one transaction with the event itself, but for `Acknowledge` and `AskAgain`: these are
answers to the host, given when the transaction is on the disk. All of them are idempotent.
"""

from msgspec import Struct

from requisition.services.fleet.events import Event, HostEvent
from requisition.services.fleet.rollout import Probe
from requisition.services.fleet.state import ChannelState, Dispatch, HostState, Quarantined, RolloutState, Settings


class _Effect(Struct, frozen=True, tag_field="effect"):
    pass


# -- of a server


class AppendLog(_Effect, frozen=True, tag="append_log"):
    """The event belongs into the log. One that changed nothing, such as a report told twice, does not."""

    event: Event


class SaveHost(_Effect, frozen=True, tag="save_host"):
    """The host's record is this now."""

    host: HostState


class SaveRollout(_Effect, frozen=True, tag="save_rollout"):
    """The rollout's record is this now."""

    rollout: RolloutState


class ForgetHost(_Effect, frozen=True, tag="forget_host"):
    """The host is no longer part of the fleet."""

    host: str


class ForgetRollout(_Effect, frozen=True, tag="forget_rollout"):
    """The rollout's record and document are no longer needed."""

    rollout: str


class SaveChannel(_Effect, frozen=True, tag="save_channel"):
    """The channel's record is this now."""

    channel: ChannelState


class SaveSettings(_Effect, frozen=True, tag="save_settings"):
    """How long things are kept."""

    settings: Settings


class PutDispatch(_Effect, frozen=True, tag="put_dispatch"):
    """This is what the host is given when it asks; nothing else is."""

    host: str
    dispatch: Dispatch


class PurgeDispatch(_Effect, frozen=True, tag="purge_dispatch"):
    """The host is given nothing when it asks."""

    host: str


class InsertQuarantine(_Effect, frozen=True, tag="insert_quarantine"):
    """The order is not given to hosts of the channel. The first reason stays."""

    quarantined: Quarantined


class ClearQuarantine(_Effect, frozen=True, tag="clear_quarantine"):
    """It may be given again."""

    channel: str
    order: str


class UseNonce(_Effect, frozen=True, tag="use_nonce"):
    """A verb with this nonce was used; nonces from before `forget` are too old to be used again anyway."""

    nonce: str
    at: int
    forget: int


class SaveHint(_Effect, frozen=True, tag="save_hint"):
    """It was said that the keys of a slot retire then."""

    slot: str
    retire_at: int


class CutLog(_Effect, frozen=True, tag="cut_log"):
    """Save the state as it is, then delete the rows of the log from before."""

    before: int


class Acknowledge(_Effect, frozen=True, tag="acknowledge"):
    """All reports up to `seq` are on the disk."""

    host: str
    stream: str
    seq: int


class AskAgain(_Effect, frozen=True, tag="ask_again"):
    """Reports from `seq` on are missing."""

    host: str
    stream: str
    seq: int


class RefuseVerb(_Effect, frozen=True, tag="refuse_verb"):
    """An operator's verb does not apply, and why."""

    reason: str


# -- of an agent


class RunOrder(_Effect, frozen=True, tag="run_order"):
    """Install the order. Its end is told by `RunEnded`, `RunDeferred`."""

    rollout: str
    order: str


class StopRun(_Effect, frozen=True, tag="stop_run"):
    """Its time is over: end the run that is under way."""


class TakeBack(_Effect, frozen=True, tag="take_back"):
    """Take the order's run back, or install `prior` where no run of it stands. Its end is told by `RollbackEnded`."""

    rollout: str
    order: str
    prior: str


class StartProbes(_Effect, frozen=True, tag="start_probes"):
    """Look at these from now on, at each at once and then each `every`. What is looked at already goes on."""

    rollout: str
    probes: tuple[Probe, ...]


class StopProbes(_Effect, frozen=True, tag="stop_probes"):
    """Look at nothing."""


class EmitEvent(_Effect, frozen=True, tag="emit_event"):
    """Put the report into the outbox, in the transaction that saves the agent's state; then send what is there."""

    seq: int
    at: int
    event: HostEvent


class WakeAt(_Effect, frozen=True, tag="wake_at"):
    """Tell the time again at this moment, the latest."""

    at: int


# -- of both


class Tell(_Effect, frozen=True, tag="tell"):
    """Something people should find in the log."""

    level: str
    text: str


class CountUp(_Effect, frozen=True, tag="count_up"):
    """A counter of this name goes up by one."""

    name: str


Remote = (
    AppendLog
    | SaveHost
    | ForgetHost
    | SaveRollout
    | ForgetRollout
    | SaveChannel
    | SaveSettings
    | PutDispatch
    | PurgeDispatch
    | InsertQuarantine
    | ClearQuarantine
    | UseNonce
    | SaveHint
    | CutLog
    | Acknowledge
    | AskAgain
    | RefuseVerb
)
Local = RunOrder | StopRun | TakeBack | StartProbes | StopProbes | EmitEvent | WakeAt
Shared = Tell | CountUp
Effect = Remote | Local | Shared
