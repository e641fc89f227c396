"""Nodes that are done together: one command for all of them, while each keeps its intent, result and failure.

The order of events is that of a group: look at each, one commit for all intents, then the effect. So whenever the
run is killed, either no intent of the batch is in the journal and nothing was done, or all are, and each undo finds
out what was done.
"""

from collections.abc import Sequence

from requisition.runtime.effects import Effects, NodeFailed, Scope, Step, action_of
from requisition.runtime.host import RealHost
from requisition.runtime.hydrate import Bound
from requisition.runtime.prepare import Preparer
from requisition.schemas.diagnostic import Diagnostic
from requisition.schemas.receipt import Attempt
from requisition.stdlib.action import ActionError, Cancelled, Change, Done, SomeFailed


def run_batch(
    preparer: Preparer,
    members: Sequence[Bound],
    scope: Scope,
    host: RealHost,
    attempts: tuple[Attempt, ...] = (),
    *,
    asked: bool = False,
) -> None:
    """Nodes of one action to their end: one effect for all that have the same key. Raises NodeFailed."""
    batches: dict[str, list[Step]] = {}
    for one in members:
        step = preparer.prepare(one, scope, host, fresh=asked or bool(attempts), asked=asked)
        if step is not None:
            batches.setdefault(action_of(step.one).batch(step.slots), []).append(step)
    for steps in batches.values():
        _together(preparer.effects, steps, scope, host, attempts)


def _together(effects: Effects, steps: list[Step], scope: Scope, host: RealHost, attempts: tuple[Attempt, ...]) -> None:
    action = action_of(steps[0].one)
    started = effects.ledger.clock()
    host.sealed = any(step.one.secret for step in steps)
    try:
        changes: Sequence[Change] = action.join(host, [(step.slots, step.change) for step in steps])
        for step, change in zip(steps, changes, strict=True):
            step.change = change
        effects.commit(steps, scope)
        effects.stack.begun.update(step.position for step in steps)
        try:
            results: Sequence[Done] = action.do_many(host, [(step.slots, step.change) for step in steps])
        finally:
            host.forget_answers()
    except Cancelled:
        raise
    except (ActionError, OSError) as error:
        raise _failed(effects, steps, scope, error) from error
    for step, done in zip(steps, results, strict=True):
        effects.finish(step, scope, done, started, attempts)


def _failed(effects: Effects, steps: list[Step], scope: Scope, error: ActionError | OSError) -> NodeFailed:
    """One finding for each node at fault; where none is, one for all, told at the first."""
    guilty = [steps[at] for at in error.at] if isinstance(error, SomeFailed) and error.at else []
    failures = [effects.failure(step.one, scope, error) for step in guilty or steps]
    if guilty or len(failures) == 1:
        return NodeFailed(found for failure in failures for found in failure.diagnostics)
    first = failures[0].diagnostics[0]
    others = ", ".join(step.one.node.id for step in steps[1:6]) + (", …" if len(steps) > 6 else "")
    why = f"it was done together with {others}"
    return NodeFailed(Diagnostic(what=first.what, where=first.where, why=why, next=first.next, code=first.code))
