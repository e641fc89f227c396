"""What an event makes of a rollout: `step(rollout, event, at, by)`. What it makes of its hosts is said in `fold`."""

from typing import Any

from msgspec.structs import replace

from requisition.services.fleet import events
from requisition.services.fleet.actions import (
    CloseRollback,
    CompleteRollout,
    HaltRollout,
    OpenRollout,
    PromoteWave,
    RollBackRollout,
)
from requisition.services.fleet.effects import Effect, RefuseVerb, SaveRollout
from requisition.services.fleet.state import RolloutState, Stage

RolloutVerb = events.Halt | events.Pause | events.Resume | events.Cancel | events.RollBack | events.Promote
RolloutAction = PromoteWave | CompleteRollout | HaltRollout | RollBackRollout | CloseRollback | OpenRollout

_RUNNING = frozenset({Stage.ACTIVE, Stage.COMPLETED})
_STOPPED = frozenset({Stage.PAUSED, Stage.HALTED})
FOLLOWS: dict[type[Any], tuple[frozenset[Stage], Stage]] = {
    PromoteWave: (frozenset({Stage.ACTIVE}), Stage.ACTIVE),
    CompleteRollout: (frozenset({Stage.ACTIVE}), Stage.COMPLETED),
    HaltRollout: (_RUNNING, Stage.HALTED),
    RollBackRollout: (_RUNNING, Stage.ROLLING_BACK),
    CloseRollback: (frozenset({Stage.ROLLING_BACK}), Stage.ROLLED_BACK),
    OpenRollout: (frozenset(Stage) - {Stage.SUPERSEDED}, Stage.SUPERSEDED),
    events.Halt: (_RUNNING | {Stage.PAUSED}, Stage.HALTED),
    events.Pause: (frozenset({Stage.ACTIVE}), Stage.PAUSED),
    events.Resume: (_STOPPED, Stage.ACTIVE),
    events.Cancel: (_STOPPED | {Stage.ACTIVE, Stage.ROLLED_BACK}, Stage.CANCELLED),
    events.RollBack: (_RUNNING | _STOPPED | {Stage.CANCELLED}, Stage.ROLLING_BACK),
    events.Promote: (frozenset({Stage.ACTIVE}), Stage.ACTIVE),
}
"""The stages that each event may follow, and the one it leads to. `OpenRollout` is the successor's."""


def step(
    rollout: RolloutState, event: RolloutVerb | RolloutAction, at: int, by: str, waves: int
) -> tuple[RolloutState, tuple[Effect, ...]]:
    """The rollout (of `waves` waves) after an event at `at`, by the key of that name ("" for the server), and what has
    to be done. A verb that does not apply is refused in words; an action that does not is one that was applied."""
    if why := objection(rollout, event, waves):
        verb = not isinstance(event, RolloutAction)
        return rollout, (RefuseVerb(why),) if verb else ()
    _, leads_to = FOLLOWS[type(event)]
    if isinstance(event, (PromoteWave, events.Promote)):
        new = replace(rollout, wave=event.wave)
    else:
        new = replace(rollout, stage=leads_to, since=at, reason=getattr(event, "reason", ""), by=by)
    return new, (SaveRollout(new),)


def objection(rollout: RolloutState, event: RolloutVerb | RolloutAction, waves: int) -> str:
    """Why an event does not apply to a rollout; "" when it does."""
    stages, _ = FOLLOWS[type(event)]
    name = event.__struct_config__.tag
    if rollout.stage not in stages:
        return f"{name} does not apply to a rollout that is {rollout.stage}"
    if isinstance(event, (PromoteWave, events.Promote)):
        if event.wave != rollout.wave + 1:
            return f"wave {rollout.wave} is the last open one; {rollout.wave + 1} would be the next"
        if event.wave >= waves:
            return "the last wave is open already"
    return ""
