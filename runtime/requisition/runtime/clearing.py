"""The way is made clear for a node, as the conflict policy says, at the moment of its effect."""

from requisition.runtime.conflicts import Conflict, Remedy, conflicts_of, remedy
from requisition.runtime.effects import Effects, Scope
from requisition.runtime.host import RealHost
from requisition.runtime.hydrate import Bound, slot_names
from requisition.runtime.journal import Intent
from requisition.runtime.preflight import ours
from requisition.schemas.document import ConflictPolicy
from requisition.schemas.receipt import Left
from requisition.stdlib.action import ActionError, Change
from requisition.stdlib.host import FileChange, Move


class InTheWay(Exception):
    """The node is skipped for what is in its way."""


def make_way(
    effects: Effects, one: Bound, scope: Scope, host: RealHost, change: Change, policy: ConflictPolicy
) -> bool:
    """Whether something was cleared, so that the node has to be looked at again. Raises InTheWay, and ActionError
    when the policy is to stop."""
    assert one.action is not None
    if not slot_names(one.action.spec).claims:
        return False
    conflicts = conflicts_of(change.files, lambda path: ours(host, path))
    remedies = [remedy(conflict, policy) for conflict in conflicts]
    if "stop" in remedies:
        raise ActionError(
            f"{conflicts[0].path}: a {conflicts[0].found} is in the way",
            "it appeared after preflight; look at it, then apply again with --on-conflict",
        )
    if "skip" in remedies:
        raise InTheWay(f"{conflicts[0].path} is in the way")
    cleared = False
    for conflict, what in zip(conflicts, remedies, strict=True):
        if what != "proceed":
            _clear(effects, one, scope, host, conflict, what)
            cleared = True
    return cleared


def _clear(effects: Effects, one: Bound, scope: Scope, host: RealHost, conflict: Conflict, what: Remedy) -> None:
    path, moved = conflict.path, f"{conflict.path}.before-{host.run_id[-6:]}"
    files: tuple[FileChange, ...] = ()
    moves: tuple[Move, ...] = ()
    found = host.stat(path)
    if what == "clear":
        below = [inner for inner, _ in host.walk(path)]
        files = tuple(FileChange(inner, host.capture(inner), Left(inner, "absent")) for inner in reversed(below))
        text = f"{path} removed"
    else:
        moves = (Move(path, moved, found.ino),) if found is not None else ()
        text = f"{path} moved to {moved}"
    effects.clear(Intent(one.index, scope, files, None, moves), host)
    effects.ledger.event("log", node=one.node.id, text=text)
