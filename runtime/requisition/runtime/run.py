"""One run from its opening to its receipt: the resources it holds and how it ends.

`apply`, `resume` and `rollback` open a `Run`, let the executor or the unwinder work on it, and close it
with a receipt. What must be durable before what is decided here:

    head (serial, active run) → order copy, journal begun → effects → receipt → entries → head (not active)
"""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import cached_property
from itertools import takewhile
from typing import Protocol, Self, TypeVar

import msgspec
from msgspec import Struct

from requisition.runtime.frames import Event, Request
from requisition.runtime.host import RealHost
from requisition.runtime.hydrate import Hydrated
from requisition.runtime.inputs import Inputs
from requisition.runtime.journal import Begun, Ended, Journal, Record, Resumed
from requisition.runtime.layout import StateDir, sync_directory, write_durably
from requisition.runtime.ledger import Ledger
from requisition.runtime.machine import boot_id, facts, hostname, platform_of_machine
from requisition.runtime.memberships import packages
from requisition.runtime.recall import Recall
from requisition.runtime.receipts import Trace, read_trace, write_receipt
from requisition.runtime.root import TargetRoot
from requisition.runtime.runinfo import RunInfo, read_info, standing_receipt
from requisition.runtime.sight import Known
from requisition.runtime.state import RootState, advance, without_paths, without_run
from requisition.runtime.store import UndoStore
from requisition.runtime.unwind import RecoveryStack
from requisition.runtime.values import Values
from requisition.schemas.diagnostic import BadInput
from requisition.schemas.receipt import RECEIPT_VERSION, Admission, OtherHalf, Outcome, Receipt, RunState

H = TypeVar("H", bound=RealHost)


class Watch(Struct, frozen=True):
    """The outside of a run: where events go, what time it is, whether to stop. Passed in, never global.

    `leave`: whether a run that was stopped is left as it stands, as if it had been cut off.
    """

    emit: Callable[[Event], None]
    clock: Callable[[], int]
    now: Callable[[], datetime]
    cancelled: Callable[[], bool]
    leave: Callable[[], bool] = lambda: False


class Ground(Struct):
    """What every verb stands on: state dir, target root and its state view, undo store."""

    state: StateDir
    root: TargetRoot
    view: RootState
    store: UndoStore

    @classmethod
    def open(cls, state: StateDir, target_root: str, resources: ExitStack) -> Self:
        """Open all of it; closed with `resources`."""
        try:
            root = TargetRoot(target_root)
        except OSError as error:
            raise BadInput.of(
                f"the target root cannot be opened: {error.strerror}",
                where=target_root,
                next="make it first, or name another with --root",
            ) from error
        resources.callback(root.close)
        store = UndoStore(state.store)
        resources.callback(store.close)
        return cls(state, root, RootState(state.root(target_root), target_root), store)


class OtherSide(Protocol):
    """The privileged half of a run, as its end needs it."""

    def end(self, state: RunState, outcome: Outcome, message: str) -> OtherHalf | None:
        """Close it; its receipt, None when it did nothing."""
        ...


class Run:
    """A run in progress. Everything it opens is closed with `resources`. `order_bytes` are the canonical bytes of
    the order, which go into the receipt as they are; where they are empty it is encoded again."""

    def __init__(
        self,
        ground: Ground,
        graph: Hydrated,
        watch: Watch,
        resources: ExitStack,
        *,
        run_id: str,
        checksum: str,
        order_bytes: bytes,
        inputs: Inputs,
        secrets: Mapping[str, str],
        admitted: tuple[Admission, ...] = (),
    ) -> None:
        from requisition.runtime.hooks import load_hooks

        self.ground = ground
        self.graph = graph
        self.watch = watch
        self.run_id = run_id
        self.checksum = checksum
        self.admitted = admitted
        self.directory = ground.state.run(run_id)
        self.stack = RecoveryStack()
        self.values = Values(graph.by_id, graph.consumed, secrets, graph.gathers)
        self.ledger = Ledger(graph, watch.clock, watch.emit, load_hooks(watch.emit))
        self.started = stamp(watch.now())
        self._order_bytes = order_bytes
        self._resources = resources
        self._inputs = inputs
        self._secrets = secrets
        self._recall = Recall()
        self._journal: Journal | None = None
        self.info: RunInfo | None = None
        self.half: OtherSide | None = None
        resources.callback(inputs.close)

    def make_host(self, kind: type[H]) -> H:
        """A host for this run, real or preflight; all share what they know of paths and tools' answers."""
        return kind(
            self.ground.root,
            self.ground.store,
            self._inputs,
            run_id=self.run_id,
            scratch=f"{self.directory}/scratch",
            secrets=self._secrets,
            facts=facts(platform_of_machine()),
            known=self._known,
            log=lambda text: self.ledger.event("log", text=text),
            cancelled=self.watch.cancelled,
            recall=self._recall,
        )

    @cached_property
    def _known(self) -> dict[str, Known]:
        return self.ground.view.known()

    def held_by_others(self) -> frozenset[str]:
        """Resources that are no files, and that other packages of this target root hold."""
        mine, entries = packages(self.graph.order), self.ground.view.entries
        return frozenset(path for path, e in entries.items() if e.left.kind == "token" and e.package not in mine)

    @property
    def journal(self) -> Journal:
        """The open journal. Raises ValueError before `begin` or `take_up`."""
        if self._journal is None:
            raise ValueError("the journal is not open")
        return self._journal

    # beginning -----------------------------------------------------------------------------------

    def begin(self, request: Request, source_root: str, verb: str = "") -> None:
        """Make durable that this run exists, what it runs, and that this serial was accepted. `run.json` comes
        before the journal, so that whatever has a journal is found."""
        order = self.graph.order
        os.mkdir(self.directory, 0o700)
        copy = f"{self.directory}/order{os.path.splitext(request.order_path)[1]}"
        shutil.copyfile(request.order_path, copy)
        _sync_file(copy)
        self.info = RunInfo(
            self.run_id,
            verb or request.verb,
            order.context.package,
            order.name,
            self.checksum,
            self.ground.root.path,
            source_root,
            self.started,
            elevate=request.elevate,
        )
        write_durably(f"{self.directory}/run.json", msgspec.json.encode(self.info))
        self._open_journal()
        self.journal.commit(
            [
                Begun(
                    self.run_id,
                    self.checksum,
                    self.ground.root.path,
                    source_root,
                    boot_id(),
                    self.started,
                    request.on_conflict,
                    request.keep_failed,
                    request.only,
                )
            ]
        )
        sync_directory(os.path.dirname(self.directory))
        head = self.ground.view.head
        self.ground.view.write_head(msgspec.structs.replace(head, serials=self._serials(), active=self.run_id))

    def take_up(self, records: list[Record]) -> None:
        """Continue a run that was cut off: its journal is opened again behind its last whole frame."""
        self._open_journal()
        self.journal.commit([*records, Resumed(boot_id(), self.started)])

    def _serials(self) -> dict[str, int]:
        """The highest serial of each package that was accepted here, this order's included."""
        order, known = self.graph.order, self.ground.view.head.serials
        package = order.context.package
        return {**known, package: max(order.serial, known.get(package, 0))}

    def _open_journal(self) -> None:
        self._journal = Journal(f"{self.directory}/journal")
        self._resources.callback(self._journal.close)

    # ending --------------------------------------------------------------------------------------

    def finish(
        self,
        state: RunState,
        outcome: Outcome,
        message: str = "",
        *,
        rolls_back: str = "",
        verb: str = "",
        stands: bool = False,
    ) -> tuple[Receipt, str]:
        """Write the receipt, then the state view, then that the run is over. `stands`: the state view stays as it
        is. Returns (receipt, path)."""
        receipt = self._receipt(state, outcome, message, rolls_back)
        if self._journal is None:
            os.makedirs(self.directory, 0o700, exist_ok=True)
        path = f"{self.directory}/receipt.plan"
        checksum = write_receipt(path, receipt, self.ground.state.host_key, self._order_bytes)
        if state == "executed" and not stands:
            updated = advance(self.ground.view.entries, receipt, self._known)
            if updated is not None:
                self.ground.view.write_entries(updated)
        head = self.ground.view.head
        self.ground.view.write_head(
            msgspec.structs.replace(
                head,
                serials=self._serials(),
                last_run=self.run_id,
                last_receipt=checksum,
                active="",
                settled=self.checksum if state == "executed" else "",
            )
        )
        if self._journal is not None:
            self._journal.commit([Ended(state)])
        self._write_info(receipt, checksum, verb)
        shutil.rmtree(f"{self.directory}/scratch", ignore_errors=True)
        return receipt, path

    def mark_active(self) -> None:
        """Make durable that this run is being changed again, so that a crash is noticed."""
        head = self.ground.view.head
        if head.active != self.run_id:
            self.ground.view.write_head(msgspec.structs.replace(head, active=self.run_id))

    def finish_rollback(
        self, clean: bool, *, paths: Iterable[str] | None = None, stands: bool = False
    ) -> tuple[Receipt, str]:
        """The receipt of a run that was taken back, beside its first one; the state view falls back to
        what the other receipts of this target root say of its paths. Of a tree, some packages may stand still:
        then `paths` are those of the others."""
        state: RunState = "executed" if stands else "rolled_back" if clean else "failed"
        receipt = self._receipt(state, "complete" if clean else "error", "rolled back", self.run_id)
        first = f"{self.directory}/receipt.plan"
        path = f"{self.directory}/rollback.plan" if os.path.exists(first) else first
        checksum = write_receipt(path, receipt, self.ground.state.host_key, self._order_bytes)
        view = self.ground.view
        if paths is None or not stands:
            entries = without_run(view, self.run_id, self.stack.paths(), self._earlier_receipts())
        else:
            entries = without_paths(view.entries, self.run_id, self._taken_back(), paths, self._earlier_receipts())
        view.write_entries(entries)
        head = msgspec.structs.replace(view.head, last_run=self.run_id, last_receipt=checksum, active="", settled="")
        view.write_head(head)
        self.journal.commit([Ended(state)])
        self._write_info(receipt, checksum, "rollback")
        return receipt, path

    def _taken_back(self) -> frozenset[str]:
        """Ids of the nodes that were undone."""
        nodes = self.graph.order.nodes
        return frozenset(
            nodes[index].id for (index, _), one in self.ledger.nodes.items() if one.status == "rolled_back"
        )

    def _earlier_receipts(self) -> Iterator[Trace]:
        """Receipts of this target root before this run, oldest first."""
        for name in takewhile(lambda name: name < self.run_id, self.ground.state.run_ids()):
            directory = self.ground.state.run(name)
            info = read_info(directory)
            mine = info is not None and info.target_root == self.ground.root.path
            if mine and info is not None and info.state == "executed":
                yield read_trace(standing_receipt(directory))

    def _write_info(self, receipt: Receipt, checksum: str, verb: str) -> None:
        context = receipt.order.context
        info = self.info or RunInfo(
            self.run_id,
            verb,
            context.package,
            receipt.order.name,
            self.checksum,
            receipt.target_root,
            "",
            receipt.started,
        )
        info = msgspec.structs.replace(
            info,
            state=receipt.state,
            outcome=receipt.outcome,
            finished=receipt.finished,
            receipt=checksum,
            summary=receipt.summary,
        )
        write_durably(f"{self.directory}/run.json", msgspec.json.encode(info))

    def _receipt(self, state: RunState, outcome: Outcome, message: str, rolls_back: str) -> Receipt:
        from requisition.schemas.version import TOOL

        nodes = self.ledger.node_runs()
        summary: dict[str, int] = {}
        for run in nodes:
            summary[run.status] = summary.get(run.status, 0) + 1
        return Receipt(
            RECEIPT_VERSION,
            f"{self.graph.order.context.package}-{self.run_id}",
            TOOL,
            self.run_id,
            state,
            outcome,
            self.graph.order,
            self.checksum,
            self.started,
            stamp(self.watch.now()),
            hostname(),
            self.ground.root.path,
            self.admitted,
            nodes,
            self.ledger.phase_runs(),
            tuple(self.ledger.rollback),
            summary,
            message,
            self.ground.view.head.last_receipt,
            rolls_back,
            self.half.end(state, outcome, message) if self.half is not None else None,
        )


def stamp(now: datetime) -> str:
    """RFC 3339 in UTC, to the second."""
    return f"{now.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _sync_file(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
