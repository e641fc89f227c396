"""What can be compared: an order, a receipt, nothing, or what stands on a target root; with the inputs at hand."""

import os
from collections.abc import Iterable, Sequence

from requisition.review.current import standing_order
from requisition.runtime.admission import source_folder
from requisition.runtime.inputs import Inputs
from requisition.schemas import orderfile
from requisition.schemas.diagnostic import BadInput
from requisition.schemas.document import Context, Input, Order, Platform
from requisition.schemas.orderfile import Sealed
from requisition.schemas.receipt import Receipt
from requisition.stdlib.action import ActionError

CURRENT = "@current"
NOTHING = os.devnull


class Side:
    """One of the two. `sealed` is None for what is no file."""

    def __init__(
        self, name: str, document: Order | Receipt, sealed: Sealed | None, sources: Sequence[tuple[Inputs, Sealed]]
    ) -> None:
        self.name = name
        self.document = document
        self.sealed = sealed
        self._sources = sources

    @property
    def order(self) -> Order:
        """The order, of a receipt the one that ran."""
        return orderfile.order_of(self.document)

    @property
    def checksum(self) -> str:
        """The document's; empty for what is no file."""
        return orderfile.checksum_of(self.sealed, self.document) if self.sealed is not None else ""

    def content(self, item: Input) -> bytes | None:
        """An input, verified by its digest; None when it is not at hand any more."""
        for inputs, sealed in self._sources:
            try:
                if inputs.digest(item.path)[0] == item.sha256 and _sound(item, sealed):
                    return inputs.content(item.path)
            except (ActionError, BadInput, OSError):
                continue  # absent, or another content by now: another source may have it
        return None

    def close(self) -> None:
        """Release files."""
        for inputs, sealed in self._sources:
            inputs.close()
            sealed.close()


def _sound(item: Input, sealed: Sealed) -> bool:
    """Whether a bundle holds as much as the order says, so that no more than that is read."""
    return sealed.blobs is None or item.sha256 not in sealed.blobs or sealed.blobs.size(item.sha256) == item.size


def open_side(path: str) -> Side:
    """An order or receipt file; /dev/null is an order of nothing. Raises BadInput."""
    if path == NOTHING:
        return Side("nothing", Order(0, "nothing", "", Platform(""), Context("", target_root="")), None, ())
    sealed = orderfile.read(path)
    document = orderfile.decode(sealed)
    return Side(path, document, sealed, [source_of(path, sealed, orderfile.order_of(document))])


def current_side(state_dir: str, target_root: str, packages: Iterable[str]) -> Side:
    """What stands of some packages on a target root. Raises BadInput."""
    order, runs = standing_order(state_dir, target_root, packages)
    sources = []
    for path, source_root, run in runs:
        sealed = orderfile.read(path)
        sources.append((Inputs(run.inputs, source_root or source_folder(path, sealed.source), sealed.blobs), sealed))
    return Side(f"{CURRENT} of {target_root}", order, None, sources)


def source_of(path: str, sealed: Sealed, order: Order) -> tuple[Inputs, Sealed]:
    """Where the inputs of a file may be: in it, or beside it as its hint says."""
    return Inputs(order.inputs, source_folder(path, sealed.source), sealed.blobs), sealed


def packages_of(order: Order) -> set[str]:
    """The packages whose phases an order has."""
    return {phase.id.partition("/")[0] for phase in order.phases}
