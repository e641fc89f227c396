"""Slots of the nodes that the runtime itself executes, checked before anything runs. See stdlib/…/flow.py."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from requisition.schemas.document import Node

Milliseconds = Annotated[int, Meta(ge=0)]
Tree = Annotated[list[Any], Meta(min_length=1)]


class Gather(Struct, frozen=True, forbid_unknown_fields=True):
    """`items` is a list, or a promise or item that gives one."""

    items: list[Any] | dict[str, Any]
    body: str
    limit: Annotated[int, Meta(ge=0)] = 0


class Case(Struct, frozen=True, forbid_unknown_fields=True):
    """One branch of a choose."""

    when: Tree
    body: str


class Choose(Struct, frozen=True, forbid_unknown_fields=True):
    """`input` is any value or a promise."""

    cases: list[Case]
    input: Any = None
    default: str = ""


class WaitUntil(Struct, frozen=True, forbid_unknown_fields=True):
    """Polls `body`, or the node that `input` is a promise of."""

    until: Tree
    input: dict[str, Any] | None = None
    body: str = ""
    timeout: Milliseconds = 60_000
    interval: Milliseconds = 5_000


class Ending(Struct, frozen=True, forbid_unknown_fields=True):
    """`message` is text, or a promise of some."""

    message: str | dict[str, Any] = ""


FLOW_SLOTS: dict[str, type[Struct]] = {
    "flow.gather": Gather,
    "flow.choose": Choose,
    "flow.wait_until": WaitUntil,
    "flow.complete": Ending,
    "flow.degraded": Ending,
    "flow.fatal": Ending,
}


def objection(node: Node) -> str:
    """What is wrong with a flow node's slots; empty when nothing is."""
    kind = FLOW_SLOTS.get(node.action)
    if kind is None:
        return f"this runtime does not know {node.action}"
    try:
        slots = msgspec.convert(node.slots, kind)
    except msgspec.ValidationError as error:
        return str(error)
    if isinstance(slots, WaitUntil) and not slots.body and "$ref" not in (slots.input or {}):
        return "it polls nothing: neither a body nor a promise is given"
    return ""
