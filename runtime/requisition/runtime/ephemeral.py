"""Nodes that are there during their phase only, and only when a node that needs them has something to do."""

from requisition.runtime.host import RealHost
from requisition.runtime.hydrate import Bound, Hydrated, typed_slots
from requisition.runtime.values import Unresolved, Values
from requisition.schemas.diagnostic import BadInput
from requisition.stdlib.action import ActionError, Cancelled, Satisfied

Scope = tuple[int, ...]


class NotNow(ActionError):
    """Preflight runs no commands: the observation has to wait for the run."""


def is_ephemeral(one: Bound) -> bool:
    """Whether a node asks for that."""
    name = one.action.spec.ephemeral if one.action is not None else ""
    if not name:
        return False
    return bool(getattr(one.slots, name) if one.slots is not None else one.node.slots.get(name) is True)


def wanted(
    one: Bound,
    graph: Hydrated,
    values: Values,
    host: RealHost,
    scope: Scope = (),
    done: frozenset[tuple[int, Scope]] = frozenset(),
) -> bool:
    """Whether a node that needs this one has something to do, or cannot be looked at before. Raises NotNow when
    that is only known during the run."""
    later: NotNow | None = None
    for index in graph.then[one.index]:
        if (index, scope) in done:
            continue
        other = graph.bound[index]
        try:
            if is_ephemeral(other):
                if wanted(other, graph, values, host, scope, done):
                    return True
            elif not _settled(other, values, host, scope):
                return True
        except NotNow as wait:
            later = wait
        except Cancelled:
            raise
        except (Unresolved, ActionError, BadInput, OSError):
            return True
    if later is not None:
        raise later
    return False


def _settled(one: Bound, values: Values, host: RealHost, scope: Scope) -> bool:
    if one.action is None:
        return False
    slots = one.slots or typed_slots(one.node, one.action, values.resolve(one.node, scope))
    host.sealed = one.secret
    return isinstance(one.action.observe(host, slots), Satisfied)
