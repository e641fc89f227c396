"""Effects of nodes: each journaled before it is made, finished, taken back when a try fails."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct

from requisition.runtime.host import RealHost
from requisition.runtime.hydrate import Bound, Hydrated
from requisition.runtime.journal import Finished, Intent, Journal, PhaseEnded, Undone
from requisition.runtime.ledger import Ledger
from requisition.runtime.restore import undo_files
from requisition.runtime.unwind import PhaseMark, RecoveryStack, Told, Unwinder
from requisition.runtime.values import Values
from requisition.schemas.diagnostic import Diagnostic, Failed
from requisition.schemas.document import Phase
from requisition.schemas.receipt import Attempt
from requisition.stdlib.action import ActionError, Cancelled, Change, Done, Raced, UndoConflict

Scope = tuple[int, ...]


class NodeFailed(Failed):
    """A node did not do what it should; its phase fails with it."""


class Step(Struct):
    """A node about to be done."""

    one: Bound
    slots: Struct
    change: Change
    position: int = -1


class Effects:
    """What a run does to the machine. `outside` counts effects so far that may have moved anything, not only the
    files that they declare."""

    def __init__(
        self, graph: Hydrated, journal: Journal, values: Values, ledger: Ledger, stack: RecoveryStack, host: RealHost
    ) -> None:
        self.graph = graph
        self.values = values
        self.ledger = ledger
        self.stack = stack
        self.outside = 0
        self._host = host
        self._journal = journal
        self._lock = threading.RLock()
        self._dirty = False

    def commit(self, steps: list[Step], scope: Scope) -> None:
        """Make prior states and intents durable. From here on the run can be taken back."""
        intents = [Intent(s.one.index, scope, s.change.files, s.change.undo, s.change.moves) for s in steps]
        for step, position in zip(steps, self._durably(intents), strict=True):
            step.position = position

    def clear(self, intent: Intent, host: RealHost) -> None:
        """Move away, or remove, what is in the way of a node; journaled like every effect."""
        self.stack.begun.update(self._durably([intent]))
        for move in intent.moves:
            host.rename(move.source, move.path)
        for change in intent.files:
            host.delete(change)

    def _durably(self, intents: list[Intent]) -> list[int]:
        """Positions on the stack of intents that are on the disk."""
        with self._lock:
            self._host.store.flush()
            self._journal.commit(intents)
            self._dirty = True
            return [self.stack.push(intent) for intent in intents]

    def do(self, step: Step, scope: Scope, host: RealHost, attempts: tuple[Attempt, ...] = ()) -> None:
        """Make the effect of a committed step, and finish it. Raises NodeFailed, Cancelled, Raced."""
        one, action = step.one, action_of(step.one)
        started = self.ledger.clock()
        host.sealed = one.secret
        self.stack.begun.add(step.position)
        host.made.clear()
        try:
            done: Done = self._effect(action, step, host)
        except Raced:
            self._retract(step, host)
            raise
        except Cancelled:
            raise
        except (ActionError, OSError) as error:
            raise self.failure(one, scope, error) from error
        self.finish(step, scope, done, started, attempts)

    def _effect(self, action: Any, step: Step, host: RealHost) -> Any:
        if action.spec.effect != "outside":
            return action.do(host, step.slots, step.change)
        try:
            return action.do(host, step.slots, step.change)
        finally:
            host.forget_answers()

    def _retract(self, step: Step, host: RealHost) -> None:
        """After a race, which destroys nothing but may come behind effects of our own: take those back.
        What another node has built upon stays, and stays on the stack for the unwind."""
        try:
            undo_files(host, host.made)
        except UndoConflict:
            return
        self.stack.begun.discard(step.position)
        self.stack.undone.add(step.position)
        with self._lock:
            self._journal.note(Undone(step.position, "done"))

    def finish(self, step: Step, scope: Scope, done: Done, started: int, attempts: tuple[Attempt, ...]) -> None:
        """A node was done: say so in journal and ledger, and hand its outputs on."""
        one = step.one
        consumed = one.index in self.graph.consumed
        if consumed:
            self.values.set_outputs(one.index, scope, done.outputs)
        kept = dict(done.outputs) if consumed and not one.secret else None
        outside = action_of(one).spec.effect == "outside"
        resources = tuple(left for left in done.left if left.kind == "token") if outside else ()
        with self._lock:
            self._journal.note(Finished(one.index, scope, "done", kept, resources))
            self.outside += outside
        if step.change.looks:
            self.ledger.unchanged(one, scope, done.left, started)  # it looked, and changed nothing
            return
        self.ledger.done(
            one,
            scope,
            reason=step.change.reason,
            started=started,
            left=done.left,
            outputs=done.outputs if consumed else None,
            attempts=attempts,
        )

    def end_phase(self, phase: Phase) -> None:
        """A forward phase is over: what it did is on the disk, and the journal says so."""
        self.end_phases([phase])
        if phase.compensate:
            self.stack.push(PhaseMark(phase.id, phase.compensate))

    def end_phases(self, phases: Sequence[Phase]) -> None:
        """The same for several at once, whose compensations are on the stack already."""
        with self._lock:
            if self._dirty and phases:
                self._host.sync()
                self._dirty = False
                self._journal.commit([PhaseEnded(phase.id, ()) for phase in phases])

    # failure and taking back ---------------------------------------------------------------------

    def failure(self, one: Bound, scope: Scope, error: Exception) -> NodeFailed:
        """A node failed: say so in the ledger; the finding, with its place and what to do."""
        hint = error.hint if isinstance(error, ActionError) else ""
        text = f"{error.strerror}: {error.filename}" if isinstance(error, OSError) and error.strerror else str(error)
        if one.node.retry is None:
            self.ledger.other(one, scope, "failed", text)
        item = f" (item {'.'.join(map(str, scope))})" if scope else ""
        return NodeFailed(
            Diagnostic(what=f"{one.node.id}{item}: {text}", where=one.node.location, next=hint, code="node")
        )

    def take_back_unfinished(self, mark: int, host: RealHost, node: int | None = None) -> None:
        """Undo what a failed try left half done, so that the next try starts from a known state."""

        def unfinished(intent: Intent) -> bool:
            run = self.ledger.nodes.get((intent.node, intent.scope))
            return node in (None, intent.node) and (run is None or run.status == "failed")

        self._take_back(mark, host, unfinished)

    def take_back_scope(self, mark: int, scope: Scope, host: RealHost) -> None:
        """Undo everything that a failed gather iteration did."""
        self._take_back(mark, host, lambda intent: intent.scope[: len(scope)] == scope)

    def take_back_phases(self, phases: set[int], host: RealHost, compensate: Callable[[str], None]) -> None:
        """Undo everything that some phases did, and compensate those that were completed."""
        order, bound = self.graph.order, self.graph.bound

        def unlocked(phase: str) -> None:
            self._lock.release()  # it does nodes itself, on threads of its own maybe
            try:
                compensate(phase)
            finally:
                self._lock.acquire()

        with self._lock:
            names = {order.phases[index].id for index in phases}
            part = self.stack.part(0, lambda intent: bound[intent.node].phase in phases, names)
            Unwinder(self.graph, host, self._journal, self.ledger, part, compensate=unlocked).unwind()
            self.stack.undone |= part.undone
            self.stack.compensated |= part.compensated

    def _take_back(self, mark: int, host: RealHost, chosen: Callable[[Intent], bool], told: Told | None = None) -> None:
        with self._lock:
            part = self.stack.part(mark, chosen)
            Unwinder(self.graph, host, self._journal, self.ledger, part, told=told).unwind()
            self.stack.undone |= part.undone

    def release(self, nodes: set[int], scope: Scope, host: RealHost) -> None:
        """Take back what was needed in passing only."""
        self._take_back(0, host, lambda i: i.node in nodes and i.scope == scope, self.ledger.released)
        with self._lock:
            self.outside += 1


def action_of(one: Bound) -> Any:
    """The action of a node that is none of flow."""
    if one.action is None:
        raise TypeError(f"{one.node.id} is a flow node")
    return one.action
