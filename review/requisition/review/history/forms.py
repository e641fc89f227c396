"""What of receipts and orders is decoded for the index. Everything else in them is skipped: slots, inputs, attempts and
times are most of a receipt, and say nothing of who left what."""

from typing import Annotated, Any

from msgspec import Meta, Raw, Struct

from requisition.schemas.receipt import Admission, LeftKind, NodeStatus, OtherHalf, Outcome, RunState

_Small = Annotated[int, Meta(ge=-1, lt=1 << 53)]
_NOTHING = Raw(b"")


class Left(Struct, frozen=True, gc=False):
    """How a path was left."""

    path: str
    kind: LeftKind
    mode: _Small = 0
    uid: _Small = -1
    gid: _Small = -1
    size: _Small = -1
    sha256: str = ""
    target: str = ""
    token: str = ""
    sealed: bool = False


class NodeRun(Struct, frozen=True, gc=False):
    """What became of a node. `left` is not decoded: most nodes left what the run before had left."""

    node: Annotated[int, Meta(ge=0, lt=1 << 31)]
    status: NodeStatus
    scope: tuple[_Small, ...] = ()
    reason: str = ""
    left: Raw = _NOTHING


class Receipt(Struct, frozen=True):
    """A receipt. `order` is not decoded: most orders were read before."""

    version: int
    name: str
    run_id: str
    tool: str
    state: RunState
    outcome: Outcome
    order: Raw
    order_checksum: str
    started: str
    finished: str
    target_root: str
    admitted: tuple[Admission, ...] = ()
    nodes: tuple[NodeRun, ...] = ()
    message: str = ""
    rolls_back: str = ""
    elevated: OtherHalf | None = None


class Slots(Struct, frozen=True, gc=False):
    """Of a node's slots, the path that it names: any value, a promise maybe."""

    path: Any = None


class Node(Struct, frozen=True, gc=False):
    """A node of an order."""

    id: str
    action: str
    phase: str
    location: str = ""
    slots: Slots = Slots()
    elevate: bool = False


class Context(Struct, frozen=True):
    """Whose an order is."""

    package: str
    package_version: str = ""
    scope: str = "system"


class Order(Struct, frozen=True):
    """An order. `members`: whether there are any."""

    name: str
    context: Context
    nodes: tuple[Node, ...] = ()
    members: tuple[Any, ...] = ()
