"""What the planner asks for: each action is data, is written to the log as it is, and changes the state there only.

An action that was lost is planned again at the next tick, since its reason still holds; one that is applied twice
changes nothing the second time (`reducer`, `rollout_reducer`).
"""

from msgspec import Struct


class _Action(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="action"):
    pass


class OpenRollout(_Action, frozen=True, tag="open_rollout"):
    """A channel's published rollout begins; what was open there before is superseded."""

    rollout: str
    channel: str
    serial: int


class QueueDispatch(_Action, frozen=True, tag="queue_dispatch"):
    """A host is offered the order of its rollout until `until`, or, by `recall`, to go back from it."""

    host: str
    rollout: str
    order: str
    until: int
    recall: bool = False


class WithdrawDispatch(_Action, frozen=True, tag="withdraw_dispatch"):
    """An offer is handed out no more. `settled`: nobody can have begun it any more, so it is forgotten too."""

    host: str
    number: int
    reason: str
    settled: bool = False


class DeferDispatch(_Action, frozen=True, tag="defer_dispatch"):
    """A gate keeps a host waiting. Planned when gate or reason became another, and at no other time."""

    host: str
    rollout: str
    gate: str
    reason: str


class PromoteWave(_Action, frozen=True, tag="promote_wave"):
    """A wave is through; the next one opens."""

    rollout: str
    wave: int


class CompleteRollout(_Action, frozen=True, tag="complete_rollout"):
    """All waves are through."""

    rollout: str


class HaltRollout(_Action, frozen=True, tag="halt_rollout"):
    """Too many hosts failed: no other one begins."""

    rollout: str
    reason: str


class RollBackRollout(_Action, frozen=True, tag="roll_back_rollout"):
    """Too many hosts failed: all of the rollout's go back. Its orders are quarantined in its channel."""

    rollout: str
    reason: str


class CloseRollback(_Action, frozen=True, tag="close_rollback"):
    """Every host that can be reached is back, or cannot go back."""

    rollout: str
    reason: str


class MarkLost(_Action, frozen=True, tag="mark_lost"):
    """A host fell silent while it was changing, for longer than it can have needed."""

    host: str
    reason: str


class RotateKey(_Action, frozen=True, tag="rotate_key"):
    """A key slot is past its date and has a successor: a hint for people, at most once a slot and date."""

    slot: str
    retire_at: int


class PruneRollout(_Action, frozen=True, tag="prune_rollout"):
    """A rollout that ended long ago, and that no host stands on, is forgotten."""

    rollout: str


class PruneLog(_Action, frozen=True, tag="prune_log"):
    """Rows of the log from before `before` are no longer needed: the state is saved as it is, then they go."""

    before: int


PlanAction = (
    OpenRollout
    | QueueDispatch
    | WithdrawDispatch
    | DeferDispatch
    | PromoteWave
    | CompleteRollout
    | HaltRollout
    | RollBackRollout
    | CloseRollback
    | MarkLost
    | RotateKey
    | PruneRollout
    | PruneLog
)
