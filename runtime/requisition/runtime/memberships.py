"""What an order says of the packages of a tree, checked before it is believed."""

from requisition.schemas.diagnostic import BadInput
from requisition.schemas.document import Order


def check_members(order: Order) -> None:
    """Every phase of a tree belongs to a member, whose needs are listed before it, and nodes wait only for what is
    there then. Raises BadInput."""
    if not order.members:
        stray = next((phase for phase in order.phases if phase.member), None)
        if stray is not None:
            raise BadInput.of(f"the phase {stray.id!r} belongs to {stray.member!r}, which the order does not list")
        return
    before: dict[str, frozenset[str]] = {}
    for member in order.members:
        missing = [path for path in member.needs if path not in before]
        if member.path in before or missing:
            what = f"is listed twice or needs what is not listed before it: {', '.join(missing)}"
            raise BadInput.of(f"the package {member.path!r} of the tree {what}")
        before[member.path] = frozenset(member.needs).union(*(before[path] for path in member.needs))
    homes = {phase.id: phase.member for phase in order.phases}
    for phase in order.phases:
        if phase.member not in before:
            raise BadInput.of(f"the phase {phase.id!r} belongs to {phase.member!r}, which the order does not list")
        if phase.compensate and homes.get(phase.compensate) != phase.member:
            raise BadInput.of(f"the phase {phase.id!r} is compensated by one of another package")
    at = {node.id: homes.get(node.phase) for node in order.nodes}
    for node in order.nodes:
        own = homes.get(node.phase, "")
        for need in node.needs:
            other = at.get(need)
            if other is not None and other != own and other not in before.get(own, ()):
                raise BadInput.of(f"{node.id} waits for {need}, of a package that its own does not need")


def packages(order: Order) -> frozenset[str]:
    """Names of the packages that an order installs."""
    return frozenset((order.context.package, *(member.name for member in order.members)))
