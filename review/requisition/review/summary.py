"""An order or receipt as its reviewer needs it: the document `plan show --json` prints (`plan schema show`)."""

from collections import Counter
from datetime import datetime

from msgspec import Struct

from requisition.review.risks import Risk, risks
from requisition.review.signatures import Standing, standing
from requisition.runtime.trust import staleness
from requisition.schemas import orderfile
from requisition.schemas.document import Order
from requisition.schemas.orderfile import Sealed
from requisition.schemas.receipt import Receipt


class _Shown(Struct, frozen=True, kw_only=True):
    """`actions`: how many nodes each has, the most first. `stale`: why an order is too old to be applied, or empty."""

    checksum: str
    standing: Standing
    actions: dict[str, int]
    risks: tuple[Risk, ...]
    stale: str = ""


class ShownOrder(_Shown, frozen=True, tag_field="type", tag="order", kw_only=True):
    """What an order will do."""

    document: Order


class ShownReceipt(_Shown, frozen=True, tag_field="type", tag="receipt", kw_only=True):
    """What a run did. Its risks are those that the order had."""

    document: Receipt


Shown = ShownOrder | ShownReceipt


def summary(sealed: Sealed, policy: str, now: datetime) -> Shown:
    """All of a file that is decoded here; nothing is decided by it. `policy`: the trust policy's file, or empty.
    Raises BadInput."""
    document = orderfile.decode(sealed)
    order = orderfile.order_of(document)
    actions = dict(Counter(node.action for node in order.nodes).most_common())
    checksum, found = orderfile.checksum_of(sealed, document), tuple(risks(order))
    stands = standing(sealed, policy, now)
    if isinstance(document, Receipt):
        return ShownReceipt(checksum=checksum, standing=stands, actions=actions, risks=found, document=document)
    stale = staleness(document, now)
    return ShownOrder(checksum=checksum, standing=stands, actions=actions, risks=found, stale=stale, document=document)
