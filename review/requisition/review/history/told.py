"""What the receipts of one run say, as the index keeps it. Nothing in a receipt is believed to be well-formed."""

import os
import stat
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec
from msgspec import Struct

from requisition.review.history import forms
from requisition.review.history.fold import DONE, FAILED, STATUSES
from requisition.review.history.inventory import Key
from requisition.runtime.halves import BY_THE_OTHER
from requisition.schemas import orderfile
from requisition.schemas.checksum import checksum
from requisition.schemas.diagnostic import BadInput, Failure
from requisition.schemas.receipt import RECEIPT_VERSION, Admission, NodeStatus, OtherHalf, Outcome, RunState

MAX_RECEIPT = 1 << 28
"""Bytes; a receipt of a hundred thousand nodes is a third of it."""

_KEPT_ORDERS = 64
_TAKEN = ("rolled_back", "undo_failed")
_NUMBERS = {name: number for number, name in enumerate(STATUSES)}
_KEPT_LEFTS = 400_000  # some hundred megabytes


class NodeFacts(Struct, frozen=True, gc=False):
    """A node of an order: `claims` is the path that it names, if it names one; `elevated`: root does it, and keeps
    what it left to a receipt of its own."""

    id: str
    action: str
    phase: str
    location: str
    package: str
    claims: str
    elevated: bool


class OrderFacts(Struct, frozen=True):
    """Of an order, what its touches refer to."""

    checksum: str
    name: str
    package: str
    version: str
    scope: str
    nodes: tuple[NodeFacts, ...]


class LeftAt(NamedTuple):
    """A path and how it was left; `mark` is the JSON of the fields of `Left` behind its path."""

    path: str
    mark: str
    gone: bool


Touch = tuple[int, int, bytes, str]
"""One node's word on some paths: its number, what became of it (a number of `fold`), the JSON of what it left (for
`Reader.lefts`), and the one path that it claims, where nothing is known of how it was left. Millions of these are made,
so they are plain tuples."""


class Told(Struct, frozen=True):
    """What a run's receipts say. Times are seconds since 1970; `until` is when something of it was taken back. `half`
    is what root did of it, `is_half`: it is what root did of another user's run. `receipt` is the checksum of the last;
    `counts` are nodes by package and status; `problem` says which of the receipts could not be read, and why."""

    order: OrderFacts
    root: str
    tool: str
    state: RunState
    outcome: Outcome
    started: int
    finished: int
    until: int
    message: str
    admitted: tuple[Admission, ...]
    half: OtherHalf | None
    is_half: bool
    receipt: str
    counts: Mapping[tuple[str, NodeStatus], int]
    touches: list[Touch]
    problem: str = ""


class Unreadable(Exception):
    """None of a run's receipts says anything; why."""


_receipts = msgspec.json.Decoder(forms.Receipt)
_orders = msgspec.json.Decoder(forms.Order)
_lefts = msgspec.json.Decoder(tuple[forms.Left, ...])


class Reader:
    """Reads receipts one after another. What came before is not read again: orders repeat, and most runs find most
    paths as the run before had left them, in the very same bytes."""

    def __init__(self) -> None:
        self._orders: dict[str, OrderFacts] = {}
        self._lefts: dict[bytes, tuple[LeftAt, ...]] = {}

    def lefts(self, left: bytes) -> tuple[LeftAt, ...]:
        """What a node left, by the JSON in a touch. Raises BadInput."""
        found = self._lefts.get(left)
        if found is None:
            found = self._lefts[left] = _left_at(left)
        return found

    def read(self, key: Key, paths: Sequence[str]) -> Told:
        """Of the receipt and the rollback's receipt of a run. Raises Unreadable."""
        found: list[forms.Receipt] = []
        sums: list[str] = []
        problems: list[str] = []
        for path in paths:
            if not os.path.lexists(path):
                continue
            try:
                receipt, payload = _decoded(path, key[1])
                found.append(receipt)
                sums.append(checksum("receipt", receipt.name, payload))
            except (Failure, OSError) as error:
                problems.append(f"{os.path.basename(path)}: {_words(error)}")
        problem = "; ".join(problems)
        try:
            if found:
                return self._told(found, sums[-1], problem)
        except (Failure, ValueError) as error:
            problem = "; ".join([*problems, _words(error)])
        raise Unreadable(problem or "there is no such file")

    def _order(self, receipt: forms.Receipt) -> OrderFacts:
        """Raises BadInput when the order in a receipt is not the one that it names."""
        body, stated = bytes(receipt.order), receipt.order_checksum
        known = self._orders.get(stated)
        if known is not None and checksum("order", known.name, body) == stated:
            return known
        try:
            order = _orders.decode(body)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise BadInput.of(f"the order in the receipt is damaged: {error}") from error
        if checksum("order", order.name, body) != stated:
            raise BadInput.of("the receipt holds another order than it names")
        if len(self._orders) >= _KEPT_ORDERS:
            del self._orders[next(iter(self._orders))]
        facts = self._orders[stated] = _order_facts(order, stated)
        return facts

    def _told(self, found: list[forms.Receipt], receipt: str, problem: str) -> Told:
        first, last = found[0], found[-1]
        order = self._order(last)
        if any(max([run.node for run in one.nodes], default=-1) >= len(order.nodes) for one in found):
            raise BadInput.of(f"the receipt tells of a node that its order does not have, of {len(order.nodes)}")
        packages = [node.package for node in order.nodes]
        counts = Counter([(packages[run.node], run.status) for run in last.nodes])
        touches = _touches(first, last, order)
        if len(self._lefts) > _KEPT_LEFTS:
            self._lefts.clear()
        for left in {left for _, _, left, _ in touches} - self._lefts.keys():
            self.lefts(left)
        return Told(
            order,
            last.target_root,
            last.tool,
            last.state,
            last.outcome,
            _seconds(first.started),
            _seconds(first.finished),
            _seconds(last.finished) if last.rolls_back else 0,
            last.message,
            last.admitted,
            last.elevated,
            any(run.status == "skipped" and run.reason == BY_THE_OTHER for run in last.nodes),
            receipt,
            counts,
            touches,
            problem,
        )


def _decoded(path: str, run: str) -> tuple[forms.Receipt, bytes]:
    info = os.lstat(path)
    if not stat.S_ISREG(info.st_mode):
        raise BadInput.of("it is no regular file")
    if info.st_size > MAX_RECEIPT:
        raise BadInput.of(f"it is larger than {MAX_RECEIPT} bytes")
    sealed = orderfile.read(path)
    sealed.close()
    if sealed.kind != "receipt":
        raise BadInput.of("this is an order, not a receipt")
    try:
        receipt = _receipts.decode(sealed.payload)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise BadInput.of(f"the receipt is damaged: {error}") from error
    if receipt.version != RECEIPT_VERSION:
        raise BadInput.of(f"unsupported receipt version {receipt.version}")
    if receipt.run_id != run:
        raise BadInput.of(f"this is the receipt of another run, {receipt.run_id!r}")
    return receipt, sealed.payload


def _touches(first: forms.Receipt, last: forms.Receipt, order: OrderFacts) -> list[Touch]:
    """What a node left before it was taken back is in the run's first receipt only."""
    before = {(run.node, run.scope): bytes(run.left) for run in first.nodes} if first is not last else {}
    found: list[Touch] = []
    for run in last.nodes:
        status = _NUMBERS.get(run.status)
        if status is None:
            continue
        left = bytes(run.left)
        if not left and run.status in _TAKEN:
            left = before.get((run.node, run.scope), b"")
        if left:
            found.append((run.node, status, left, ""))
            continue
        node = order.nodes[run.node]
        if node.claims and (status >= FAILED or (status == DONE and node.elevated)):
            found.append((run.node, status, b"", node.claims))
    return found


def _left_at(left: bytes) -> tuple[LeftAt, ...]:
    try:
        found = _lefts.decode(left) if left else ()
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise BadInput.of(f"the receipt is damaged: {error}") from error
    return tuple(
        LeftAt(one.path, msgspec.json.encode(msgspec.structs.astuple(one)[1:]).decode(), one.kind == "absent")
        for one in found
    )


def _order_facts(order: forms.Order, stated: str) -> OrderFacts:
    context, tree = order.context, bool(order.members)
    nodes = tuple(
        NodeFacts(
            node.id,
            node.action,
            node.phase,
            node.location,
            node.id.partition("/")[0] if tree else context.package,  # as the state view has it
            path if isinstance(path := node.slots.path, str) else "",
            node.elevate,
        )
        for node in order.nodes
    )
    return OrderFacts(stated, order.name, context.package, context.package_version, context.scope, nodes)


def _seconds(text: str) -> int:
    """Of a time in RFC 3339. Raises ValueError."""
    return int(datetime.fromisoformat(text).timestamp())


def _words(error: Exception) -> str:
    if isinstance(error, Failure):
        return error.diagnostics[0].what
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
