"""Nodes that are judged together before anything is touched: two that bound the version of one package, say."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from requisition.schemas.diagnostic import Diagnostic
from requisition.stdlib.action import Asked

if TYPE_CHECKING:
    from requisition.runtime.hydrate import Bound


def judge(bound: "Sequence[Bound]") -> list[Diagnostic]:
    """Let each family agree on the slots of its nodes, which are theirs from here on; what it cannot agree on."""
    families: dict[str, list[Bound]] = {}
    for one in bound:
        if one.slots is not None and one.action is not None and one.action.spec.family:
            families.setdefault(one.action.spec.family, []).append(one)
    findings = []
    for members in families.values():
        speaker: Any = members[0].action
        agreed, quarrels = speaker.judge([Asked(m.node.id, m.node.location, m.node.action, m.slots) for m in members])
        for one, slots in zip(members, agreed, strict=True):
            one.slots = slots
        for at, message, hint in quarrels:
            node = members[at].node
            findings.append(Diagnostic(what=f"{node.id}: {message}", where=node.location, next=hint))
    return findings
