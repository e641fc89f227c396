"""What is known of a run so far: node and phase records for the receipt, and events for who watches."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec

from requisition.runtime.frames import Event
from requisition.runtime.hydrate import Bound, Hydrated
from requisition.schemas.diagnostic import Diagnostic
from requisition.schemas.receipt import (
    Attempt,
    Left,
    NodeRun,
    NodeStatus,
    PhaseRun,
    PhaseStatus,
    RollbackEntry,
)

Scope = tuple[int, ...]
Hook = Callable[[Event], None]


class Ledger:
    """Append-only but for the status of a node that is rolled back. `hooks` see every event and can
    break nothing: what they raise is counted and shown as a warning."""

    def __init__(self, graph: Hydrated, clock: Callable[[], int], emit: Hook, hooks: tuple[Hook, ...] = ()) -> None:
        self.graph = graph
        self.clock = clock
        self.nodes: dict[tuple[int, Scope], NodeRun] = {}
        self.phases: dict[str, PhaseRun] = {}
        self.rollback: list[RollbackEntry] = []
        self.problems: list[Diagnostic] = []
        self.hook_failures = 0
        self._emit = emit
        self._hooks = hooks

    def event(self, kind: str, **fields: Any) -> None:
        """Tell everyone."""
        event = Event(kind=kind, at=self.clock(), **fields)
        for hook in self._hooks:
            try:
                hook(event)
            except Exception as error:  # noqa: BLE001  (design §6: hooks can break nothing; counted and shown)
                self.hook_failures += 1
                self._emit(Event(kind="warning", at=event.at, text=f"a lifecycle hook failed: {error}"))
        self._emit(event)

    def unchanged(self, one: Bound, scope: Scope, left: tuple[Left, ...], started: int) -> None:
        """A node needed nothing. Not announced one by one."""
        self.nodes[one.index, scope] = NodeRun(
            one.index, "unchanged", scope, started=started, finished=started, left=left
        )

    def done(
        self,
        one: Bound,
        scope: Scope,
        *,
        reason: str,
        started: int,
        left: tuple[Left, ...],
        outputs: Mapping[str, Any] | None,
        attempts: tuple[Attempt, ...] = (),
    ) -> None:
        """A node was done."""
        finished = self.clock()
        self.nodes[one.index, scope] = NodeRun(
            one.index,
            "done",
            scope,
            reason,
            started,
            finished,
            attempts,
            "",
            _digest(outputs) if outputs and not one.secret else "",
            left,
        )
        self.event("node", node=one.node.id, scope=scope, status="done", phase=one.node.phase, text=reason)

    def other(self, one: Bound, scope: Scope, status: NodeStatus, why: str, attempts: tuple[Attempt, ...] = ()) -> None:
        """A node was skipped or failed."""
        now = self.clock()
        before = self.nodes.get((one.index, scope))
        self.nodes[one.index, scope] = NodeRun(
            one.index,
            status,
            scope,
            reason="" if status == "failed" else why,
            started=before.started if before else now,
            finished=now,
            attempts=attempts,
            error=why if status == "failed" else "",
        )
        self.event(
            "node",
            node=one.node.id,
            scope=scope,
            status=status,
            phase=one.node.phase,
            location=one.node.location,
            text=why,
        )

    def taken_back(
        self, index: int, scope: Scope, status: Literal["done", "failed", "not_compensable"], error: str
    ) -> None:
        """A node was undone, or could not be."""
        node = self.graph.order.nodes[index]
        self.rollback.append(RollbackEntry("node", node.id, status, scope, error))
        became: NodeStatus = "rolled_back" if status == "done" else "undo_failed"
        before = self.nodes.get((index, scope))
        if before is not None and before.status != "failed":
            self.nodes[index, scope] = msgspec.structs.replace(before, status=became, left=())
        self.event(
            "rollback",
            node=node.id,
            scope=scope,
            status=status,
            location=node.location,
            text=error or "undone",
        )

    def released(
        self, index: int, scope: Scope, status: Literal["done", "failed", "not_compensable"], error: str
    ) -> None:
        """What was needed during its phase only is gone again, or had to stay."""
        before = self.nodes.get((index, scope))
        if before is not None and status == "done":
            self.nodes[index, scope] = msgspec.structs.replace(before, left=())
        node = self.graph.order.nodes[index]
        text = error or "no longer needed, taken back"
        self.event("log", node=node.id, scope=scope, phase=node.phase, location=node.location, text=text)

    def phase(self, name: str, status: PhaseStatus, started: int, attempts: tuple[Attempt, ...] = ()) -> None:
        """A phase reached a status."""
        self.phases[name] = PhaseRun(name, status, started, self.clock(), attempts)
        self.event("phase", phase=name, status=status)

    def node_runs(self) -> tuple[NodeRun, ...]:
        """One record for every node, in order; nodes that never started are pending."""
        for index, _ in enumerate(self.graph.order.nodes):
            if (index, ()) not in self.nodes and self.graph.bound[index].index == index:
                phase = self.graph.order.phases[self.graph.bound[index].phase]
                if phase.kind == "forward":
                    self.nodes[index, ()] = NodeRun(index, "pending")
        return tuple(self.nodes[key] for key in sorted(self.nodes))

    def phase_runs(self) -> tuple[PhaseRun, ...]:
        """One record for every phase that was reached, in the order's order."""
        return tuple(self.phases[p.id] for p in self.graph.order.phases if p.id in self.phases)


def _digest(outputs: Mapping[str, Any]) -> str:
    import hashlib

    return hashlib.sha256(msgspec.json.encode(outputs, order="sorted")).hexdigest()
