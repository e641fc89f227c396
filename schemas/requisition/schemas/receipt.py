"""The receipt: an order after its run.

The order stays inside byte for byte, with the signatures it was admitted under, so that a receipt
alone says what ran, who approved it and what it left. Times are microseconds since `started`.
"""

from typing import Literal

from msgspec import Struct

from requisition.schemas.document import Order

RECEIPT_VERSION = 1

NodeStatus = Literal["pending", "done", "unchanged", "skipped", "failed", "rolled_back", "undo_failed"]
PhaseStatus = Literal["pending", "done", "failed", "rolled_back", "skipped"]
RunState = Literal["executed", "failed", "rolled_back", "interrupted"]
Outcome = Literal["complete", "degraded", "fatal", "error"]
LeftKind = Literal["file", "dir", "link", "absent", "token"]


class Left(Struct, frozen=True, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    """The state of one resource as a node left it: what `plan status` compares with.

    `path` is below the target root. `sha256` is of a file's content, or, when `sealed` (the content
    carries a secret), a keyed digest that only this host can compute. `target` is a link's target;
    `token` any other fingerprint (a version, a service's state).
    """

    path: str
    kind: LeftKind
    mode: int = 0
    uid: int = -1
    gid: int = -1
    size: int = -1
    sha256: str = ""
    target: str = ""
    token: str = ""
    sealed: bool = False


class Attempt(Struct, frozen=True, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    """One try of a node or phase; `error` is empty when it succeeded."""

    number: int
    started: int
    finished: int
    error: str = ""


class NodeRun(Struct, frozen=True, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    """What became of one node; `scope` holds the item index of each enclosing gather, outermost first.

    `result` is the SHA-256 of the canonical bytes of its outputs, never the outputs themselves.
    """

    node: int
    status: NodeStatus
    scope: tuple[int, ...] = ()
    reason: str = ""
    started: int = 0
    finished: int = 0
    attempts: tuple[Attempt, ...] = ()
    error: str = ""
    result: str = ""
    left: tuple[Left, ...] = ()


class PhaseRun(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What became of one phase."""

    id: str
    status: PhaseStatus
    started: int = 0
    finished: int = 0
    attempts: tuple[Attempt, ...] = ()


class RollbackEntry(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One step of an unwind, in the order it was made."""

    what: Literal["node", "compensation"]
    id: str
    status: Literal["done", "failed", "not_compensable"]
    scope: tuple[int, ...] = ()
    error: str = ""


class Admission(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A signature that counted when the order was admitted."""

    keyid: str
    method: str
    signer: str = ""
    role: str = ""


class OtherHalf(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The privileged half of a run: its run id in root's state directory, and the checksum of its receipt there."""

    run_id: str
    receipt: str


class Receipt(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a run did. `nodes` holds one entry a node (several for a gather's body), in order of nodes.

    `previous` is the checksum of the receipt that described this target root before; `rolls_back` the
    run that this one took back (its nodes are then that run's, undone); `elevated` what root did of it.
    """

    version: int
    name: str
    tool: str
    run_id: str
    state: RunState
    outcome: Outcome
    order: Order
    order_checksum: str
    started: str
    finished: str
    host: str
    target_root: str
    admitted: tuple[Admission, ...] = ()
    nodes: tuple[NodeRun, ...] = ()
    phases: tuple[PhaseRun, ...] = ()
    rollback: tuple[RollbackEntry, ...] = ()
    summary: dict[str, int] = {}
    message: str = ""
    previous: str = ""
    rolls_back: str = ""
    elevated: OtherHalf | None = None
