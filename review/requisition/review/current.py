"""What stands on a target root, as an order: the nodes of the last run of each package, and of earlier runs those that
made what the state view still knows. Read from the state directory; nothing is made in it.

A body or compensation stands with the order that has it, for it runs on demand.
"""

import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from msgspec.structs import replace

from requisition.runtime.layout import StateDir, root_directory
from requisition.runtime.runinfo import RunInfo, read_info, run_order, standing_receipt
from requisition.runtime.state import RootState
from requisition.schemas import orderfile
from requisition.schemas.diagnostic import BadInput
from requisition.schemas.document import Input, Node, Order, Phase
from requisition.schemas.receipt import Receipt

_STANDS = ("done", "unchanged")


class PastOrder(NamedTuple):
    """Where the order of a run lies, the folder of its inputs, and the order."""

    path: str
    source_root: str
    order: Order


def standing_order(state_dir: str, target_root: str, packages: Iterable[str]) -> tuple[Order, list[PastOrder]]:
    """An order named `@current` of what stands, and the orders that it is taken from, the newest first. Raises
    BadInput when nothing of these packages was applied there."""
    missing, taken, runs = set(packages), _Taken(), []
    for directory, info in _standing_runs(state_dir, target_root):
        if not missing:
            break
        receipt = _receipt(directory)
        found = missing & {phase.id.partition("/")[0] for phase in receipt.order.phases}
        if found:
            taken.last_of(receipt, found)
            runs.append(_past(directory, info, receipt))
            missing -= found
    if not runs:
        what = f"nothing of {', '.join(sorted(packages)) or 'any package'} was applied to {target_root}"
        raise BadInput.of(what, where=state_dir, next="name its target root with --root, its state with --state")
    runs += _earlier(state_dir, target_root, set(packages), taken)
    newest = runs[0].order
    order = replace(newest, name="@current", phases=taken.all_phases(), nodes=tuple(taken.nodes.values()))
    return replace(order, inputs=tuple(taken.inputs.values())), runs


class _Taken:
    """Nodes that stand, and what they need, by name."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.phases: dict[str, Phase] = {}
        self.inputs: dict[str, Input] = {}

    def last_of(self, receipt: Receipt, packages: set[str]) -> None:
        """All of some packages that their last run left standing."""
        order = receipt.order
        done = {run.node for run in receipt.nodes if run.status in _STANDS}
        on_demand = {phase.id for phase in order.phases if phase.kind != "forward"}
        for number, node in enumerate(order.nodes):
            if node.id.partition("/")[0] in packages and (number in done or node.phase in on_demand):
                self.nodes[node.id] = node
        self._keep(order, packages)

    def one_of(self, order: Order, ids: set[str]) -> None:
        """Single nodes of an earlier run."""
        self.nodes |= {node.id: node for node in order.nodes if node.id in ids}
        self._keep(order, {name.partition("/")[0] for name in ids})

    def _keep(self, order: Order, packages: set[str]) -> None:
        for phase in order.phases:
            if phase.id.partition("/")[0] in packages:
                self.phases.setdefault(phase.id, phase)
        for item in order.inputs:
            self.inputs.setdefault(item.path, item)

    def all_phases(self) -> tuple[Phase, ...]:
        """Phases that some node stands in."""
        used = {node.phase for node in self.nodes.values()}
        return tuple(phase for phase in self.phases.values() if phase.id in used)


def _earlier(state_dir: str, target_root: str, packages: set[str], taken: _Taken) -> Iterator[PastOrder]:
    """Orders of earlier runs that made what the state view still knows and no last run has."""
    left: dict[str, set[str]] = {}
    view = RootState(root_directory(state_dir, target_root), target_root)
    for entry in view.entries.values():
        if entry.package in packages and entry.node not in taken.nodes:
            left.setdefault(entry.run_id, set()).add(entry.node)
    for run_id, ids in sorted(left.items(), reverse=True):
        directory = f"{state_dir}/runs/{run_id}"
        info = read_info(directory)
        if info is not None and standing_receipt(directory):
            receipt = _receipt(directory)
            taken.one_of(receipt.order, ids - taken.nodes.keys())
            yield _past(directory, info, receipt)


def _standing_runs(state_dir: str, target_root: str) -> Iterator[tuple[str, RunInfo]]:
    """Directories of runs that stand on a target root, the newest first."""
    if not os.path.isdir(f"{state_dir}/runs"):
        return
    state, root = StateDir(state_dir), os.path.realpath(target_root)
    for name in reversed(state.run_ids()):
        info = read_info(state.run(name))
        if info is not None and info.state == "executed" and os.path.realpath(info.target_root) == root:
            yield state.run(name), info


def _receipt(directory: str) -> Receipt:
    path = standing_receipt(directory)
    if not path:
        raise BadInput.of("the run has no receipt", where=directory, next="plan recover")
    sealed = orderfile.read(path)
    sealed.close()
    found = orderfile.decode(sealed)
    if not isinstance(found, Receipt):
        raise BadInput.of("this is an order, not a receipt", where=path)
    return found


def _past(directory: str, info: RunInfo, receipt: Receipt) -> PastOrder:
    return PastOrder(run_order(directory) or standing_receipt(directory), info.source_root, receipt.order)
