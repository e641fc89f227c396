"""What the receipts of this machine say of the fleet's orders: which one stands, and what to take back to be where an
earlier one stood. Only runs of orders that the fleet gave count; what else somebody applies here is theirs.
"""

import os
from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from requisition.runtime.journal import Ended, read_journal
from requisition.runtime.past import runs
from requisition.runtime.runinfo import RunInfo, standing_receipt
from requisition.schemas import orderfile
from requisition.schemas.receipt import Receipt


class Ours(Struct, frozen=True):
    """A run of an order of the fleet."""

    order: str
    info: RunInfo

    @property
    def whole(self) -> bool:
        """Whether all that it did stands."""
        return self.info.state == "executed" and self.info.outcome != "error"

    @property
    def left_something(self) -> bool:
        """Whether there is something of it to take back."""
        return self.info.state == "running" or (
            self.info.state in ("executed", "failed") and bool(set(self.info.summary) - {"unchanged", "skipped"})
        )


def ours(past: Sequence[RunInfo], orders: dict[str, str]) -> tuple[Ours, ...]:
    """Runs of the fleet's orders, oldest first. `orders`: their names by checksum."""
    known = (info for info in past if info.order_checksum in orders and info.verb != "elevated")
    return tuple(Ours(orders[info.order_checksum], info) for info in known)


def standing(found: Sequence[Ours]) -> Ours | None:
    """The newest run of which something stands, whole or not."""
    return next((one for one in reversed(found) if one.whole or one.left_something), None)


def to_take_back(found: Sequence[Ours], order: str, prior: str) -> tuple[str, ...]:
    """The runs, newest first, after which what is left is what the last whole run of `prior` left; all, when it is "".
    Where no run of `prior` stands, those of `order` that came last: `prior` is to be installed then."""
    kept = [number for number, one in enumerate(found) if one.order == prior and one.whole]
    others = [number for number, one in enumerate(found) if prior and one.order != order]
    last = (kept or others or [-1])[-1]
    return tuple(one.info.run_id for one in reversed(found[last + 1 :]) if one.left_something)


def settled_runs(state_dir: str) -> list[RunInfo]:
    """All runs, oldest first, as their journals have them where the line for lists was not written in time: one that
    began nothing is none, and one that ended is not cut off. Raises BadInput for what cannot be read."""
    return [
        known for info in runs(state_dir) if (known := _settled(info, f"{state_dir}/runs/{info.run_id}")) is not None
    ]


def _settled(info: RunInfo, directory: str) -> RunInfo | None:
    if info.state != "running":
        return info
    records = read_journal(f"{directory}/journal") if os.path.exists(f"{directory}/journal") else []
    if not records:
        return None
    last = records[-1]
    if not isinstance(last, Ended):
        return info
    sealed = orderfile.read(standing_receipt(directory))
    sealed.close()
    receipt = orderfile.decode(sealed)
    assert isinstance(receipt, Receipt), "that is what it is named"
    return replace(info, state=last.state, outcome=receipt.outcome, summary=receipt.summary)
