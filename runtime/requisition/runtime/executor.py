"""The executor: runs phases, each node as soon as its edges allow, every effect journaled before it is made.

Nodes that finish fast run in groups on the calling thread: observe all, make their intents durable with
one commit, then do all. Nodes that may take long, wait, or have a retry policy of their own run alone,
`jobs` at a time, on worker threads with a host of their own. Nodes of batched actions wait until nothing else
is ready, so that they are together (`batch.py`).
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from requisition.runtime.batch import run_batch
from requisition.runtime.conflicts import conflicts_of, remedy
from requisition.runtime.ephemeral import is_ephemeral, wanted
from requisition.runtime.host import RealHost
from requisition.runtime.hydrate import Bound, Hydrated, slot_names, typed_slots
from requisition.runtime.journal import Finished, Intent, Journal, PhaseEnded, Undone
from requisition.runtime.ledger import Ledger
from requisition.runtime.preflight import Prospect, ours
from requisition.runtime.restore import undo_files
from requisition.runtime.unwind import PhaseMark, RecoveryStack, Told, Unwinder
from requisition.runtime.values import Unresolved, Values
from requisition.schemas.diagnostic import BadInput, Diagnostic, Failed
from requisition.schemas.document import ConflictPolicy, Phase, Retry
from requisition.schemas.receipt import Attempt, Left
from requisition.stdlib.action import ActionError, Cancelled, Change, Done, GateClosed, Raced, Satisfied, UndoConflict
from requisition.stdlib.host import FileChange, Move

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

Scope = tuple[int, ...]
GROUP = 256
RACES = 3


class NodeFailed(Failed):
    """A node did not do what it should; its phase fails with it."""


class Stopped(Exception):
    """A flow node ended the run: `outcome` is complete, degraded or fatal."""

    def __init__(self, outcome: str, message: str) -> None:
        super().__init__(message)
        self.outcome = outcome


class Rules(Struct, frozen=True):
    """What the person who applies chose. `group` is the most nodes in one commit."""

    on_conflict: ConflictPolicy = "stop"
    jobs: int = 4
    group: int = GROUP


class Step(Struct):
    """A node about to be done."""

    one: Bound
    slots: Struct
    change: Change
    position: int = -1


class Executor:
    """One run. `flow` executes the nodes that decide what runs; `done` are nodes that an earlier part of a resumed
    run finished, `doubtful` those that it may have done; `only` restricts the forward walk; `held` are resources
    that other packages of this target root hold."""

    def __init__(
        self,
        graph: Hydrated,
        host: RealHost,
        journal: Journal,
        values: Values,
        ledger: Ledger,
        stack: RecoveryStack,
        rules: Rules,
        *,
        flow: Callable[["Executor", Bound, Scope, RealHost], None],
        cancelled: Callable[[], bool],
        prospects: dict[int, Prospect] | None = None,
        done: frozenset[tuple[int, Scope]] = frozenset(),
        doubtful: frozenset[tuple[int, Scope]] = frozenset(),
        only: frozenset[int] | None = None,
        held: frozenset[str] = frozenset(),
    ) -> None:
        self.graph = graph
        self.host = host
        self.values = values
        self.ledger = ledger
        self.stack = stack
        self.rules = rules
        self._journal = journal
        self._flow = flow
        self._cancelled = cancelled
        self._prospects = prospects or {}
        self._done = done
        self._doubtful = doubtful
        self._only = only
        self._held = held
        self._turn = threading.Lock()
        self._lock = threading.RLock()
        self._busy = threading.BoundedSemaphore(max(1, rules.jobs))
        self._outside = 0  # effects so far that may have moved anything
        self._dirty = False

    # phases --------------------------------------------------------------------------------------

    def run(self) -> None:
        """All forward phases. Raises NodeFailed, Cancelled, Stopped, or OSError from journal and disk."""
        for index, phase in enumerate(self.graph.order.phases):
            if phase.kind == "forward":
                self.run_phase(index, (), self.host)
                self._end_phase(phase)

    def _end_phase(self, phase: Phase) -> None:
        if self._dirty:
            self.host.sync()
            self._dirty = False
            self._commit_records(PhaseEnded(phase.id, ()))
        if phase.compensate:
            self.stack.push(PhaseMark(phase.id, phase.compensate))

    def run_phase(self, index: int, scope: Scope, host: RealHost) -> None:
        """One phase to its end, tried as often as its retry policy says."""
        phase = self.graph.order.phases[index]
        retry = phase.retry or Retry(1)
        started, attempts = self.ledger.clock(), []
        for number in range(1, max(1, retry.max_attempts) + 1):
            mark, begun = len(self.stack.entries), self.ledger.clock()
            self._announce(phase, scope, "started" if number == 1 else "retrying")
            try:
                self._walk(index, scope, host)
                self._release(index, scope, host)
            except NodeFailed as failure:
                attempts.append(Attempt(number, begun, self.ledger.clock(), str(failure)))
                if number >= retry.max_attempts:
                    self._phase_record(phase, scope, "failed", started, attempts)
                    raise
                self._take_back_unfinished(mark, host)
                host.sleep_ms(delay_ms(retry, number))
            else:
                attempts.append(Attempt(number, begun, self.ledger.clock()))
                self._phase_record(phase, scope, "done", started, attempts if number > 1 else [])
                return

    def _announce(self, phase: Phase, scope: Scope, status: str) -> None:
        if phase.kind != "body":
            self.ledger.event("phase", phase=phase.id, scope=scope, status=status)

    def _phase_record(self, phase: Phase, scope: Scope, status: Any, started: int, attempts: list[Attempt]) -> None:
        if phase.kind != "body" and not scope:
            self.ledger.phase(phase.id, status, started, tuple(attempts))

    def _walk(self, index: int, scope: Scope, host: RealHost) -> None:
        """Every node of a phase once, in any order that the edges allow."""
        members = [i for i in self.graph.members[index] if self._only is None or scope or i in self._only]
        chosen = None if self._only is None or scope else frozenset(members)
        waits = {i: self._waits(i, chosen) for i in members}
        ready = deque(i for i in members if not waits[i])
        batches: dict[str, list[Bound]] = {}
        with self._workers() as pool:
            running: dict[Future[None], list[int]] = {}
            while ready or running or batches:
                if self._cancelled():
                    raise Cancelled("the run is being stopped")
                finished = self._fast(ready, scope, host, pool, running, batches)
                if not finished:
                    while batches:
                        _, batch = batches.popitem()
                        running[pool().submit(self._batch_apart, batch, scope, host)] = [one.index for one in batch]
                    finished = _wait(running)
                for done in finished:
                    for other in self.graph.then[done]:
                        if other in waits:
                            waits[other] -= 1
                            if not waits[other]:
                                ready.append(other)

    def _waits(self, index: int, chosen: frozenset[int] | None) -> int:
        if chosen is None:
            return self.graph.waits[index]
        needs = self.graph.order.nodes[index].needs
        return sum(1 for need in needs if self.graph.by_id[need] in chosen)

    def _fast(
        self,
        ready: deque[int],
        scope: Scope,
        host: RealHost,
        pool: Callable[[], "ThreadPoolExecutor"],
        running: dict["Future[None]", list[int]],
        batches: dict[str, list[Bound]],
    ) -> list[int]:
        """Start what is slow, put by what is done in batches, run a group of what is neither; the nodes that are
        finished now."""
        group: list[Bound] = []
        finished: list[int] = []
        while ready and len(group) < self.rules.group:
            index = ready.popleft()
            one = self.graph.bound[index]
            if (index, scope) in self._done:
                finished.append(index)
            elif one.action is not None and one.action.spec.batched and one.node.retry is None:
                batches.setdefault(one.node.action, []).append(one)
            elif one.action is None or one.action.spec.blocking or one.node.retry is not None:
                running[pool().submit(self._alone_apart, one, scope, host)] = [index]
            else:
                group.append(one)
        self._group(group, scope, host)
        finished.extend(one.index for one in group)
        return finished

    @contextmanager
    def _workers(self) -> Iterator[Callable[[], "ThreadPoolExecutor"]]:
        """A thread pool that is made when first asked for; leaving waits for what still runs."""
        pool: ThreadPoolExecutor | None = None

        def get() -> "ThreadPoolExecutor":
            nonlocal pool
            if pool is None:
                from concurrent.futures import ThreadPoolExecutor

                pool = ThreadPoolExecutor(max(1, self.rules.jobs), "node")
            return pool

        try:
            yield get
        finally:
            if pool is not None:
                pool.shutdown(wait=True, cancel_futures=True)

    # nodes ---------------------------------------------------------------------------------------

    def _group(self, group: list[Bound], scope: Scope, host: RealHost) -> None:
        steps = [step for one in group if (step := self.prepare(one, scope, host)) is not None]
        single = [step for step in steps if len(step.change.files) <= 1]
        if single:
            self.commit(single, scope)
        for step in single:
            try:
                self._do(step, scope, host)
            except Raced:
                self._alone(step.one, scope, host)
        for step in steps:
            if len(step.change.files) > 1:  # two of them may make the same parent: look again, one by one
                self._alone(step.one, scope, host)

    def _alone_apart(self, one: Bound, scope: Scope, host: RealHost) -> None:
        """On a worker thread: the same with a host of its own."""
        own = host.view()
        try:
            if one.action is None:
                self._flow_node(one, scope, own)
            else:
                with self._busy:
                    self._alone(one, scope, own)
        finally:
            own.root.close()

    def _batch_apart(self, batch: list[Bound], scope: Scope, host: RealHost) -> None:
        """On a worker thread: nodes of one batched action. Batches take turns, since package managers do."""
        own = host.view()
        try:
            with self._busy, self._turn:
                run_batch(self, batch, scope, own)
        finally:
            own.root.close()

    def _flow_node(self, one: Bound, scope: Scope, host: RealHost) -> None:
        if self._is_closed(one, scope):
            return
        started = self.ledger.clock()
        try:
            self._flow(self, one, scope, host)
        except (Unresolved, BadInput, ActionError) as error:
            if isinstance(error, Cancelled):
                raise
            raise self.failure(one, scope, error) from error
        self.ledger.unchanged(one, scope, (), started)  # by itself it changes nothing; its nodes tell

    def _alone(self, one: Bound, scope: Scope, host: RealHost) -> None:
        """One node by itself, tried as often as its own retry policy says."""
        retry = one.node.retry or Retry(1)
        attempts: list[Attempt] = []
        for number in range(1, max(1, retry.max_attempts) + 1):
            mark, begun = len(self.stack.entries), self.ledger.clock()
            try:
                self._once(one, scope, host, tuple(attempts))
            except NodeFailed as failure:
                attempts.append(Attempt(number, begun, self.ledger.clock(), str(failure)))
                if number >= retry.max_attempts:
                    if one.node.retry is not None:
                        what = failure.diagnostics[0].what.removeprefix(f"{one.node.id}: ")
                        self.ledger.other(one, scope, "failed", what, tuple(attempts))
                    raise
                self._take_back_unfinished(mark, host, one.index)
                host.sleep_ms(delay_ms(retry, number))
            else:
                return

    def again(self, one: Bound, scope: Scope, host: RealHost) -> None:
        """Do a repeatable node once more, for a poll."""
        self._once(one, scope, host, (), asked=True)

    def _once(
        self, one: Bound, scope: Scope, host: RealHost, attempts: tuple[Attempt, ...], *, asked: bool = False
    ) -> None:
        if _action(one).spec.batched:
            with self._turn:
                run_batch(self, [one], scope, host, attempts, asked=asked)
            return
        for _ in range(RACES):
            step = self.prepare(one, scope, host, fresh=True, asked=asked)
            if step is None:
                return
            self.commit([step], scope)
            try:
                self._do(step, scope, host, attempts)
            except Raced:
                continue
            return
        raise self.failure(one, scope, ActionError("the target keeps changing under our hands"))

    def prepare(
        self, one: Bound, scope: Scope, host: RealHost, *, fresh: bool = False, asked: bool = False
    ) -> Step | None:
        """Look at a node: None when it is settled (unchanged or skipped), else what is to be done. `asked`: someone
        wants this node now, so nobody else is looked at."""
        if self._is_closed(one, scope):
            return None
        host.forget_before(self._outside)
        prospect = None if fresh or scope or self._outside else self._prospects.get(one.index)
        if prospect is not None and prospect.reusable and prospect.found is not None:
            path = one.node.slots.get("path")
            if path.__class__ is not str or self.graph.writers.get(path, 1) == 1:
                return self._sort_out(one, scope, one.slots, prospect.found)
        try:
            slots = one.slots or typed_slots(one.node, _action(one), self.values.resolve(one.node, scope))
            if not asked and is_ephemeral(one) and not wanted(one, self.graph, self.values, host, scope, self._done):
                self.ledger.unchanged(one, scope, (), self.ledger.clock())
                return None
            host.sealed = one.secret
            found = _action(one).observe(host, slots)
            if isinstance(found, Change) and found.files:
                found = self._make_way(one, scope, host, slots, found)
        except Unresolved as wait:
            if wait.skipped:
                self._skip(one, scope, str(wait))
                return None
            raise self.failure(one, scope, wait) from wait
        except GateClosed as closed:
            self._close(one, scope, str(closed))
            return None
        except Cancelled:
            raise
        except (ActionError, BadInput, OSError) as error:
            raise self.failure(one, scope, error) from error
        return None if found is None else self._sort_out(one, scope, slots, found)

    def _sort_out(self, one: Bound, scope: Scope, slots: Struct | None, found: Satisfied | Change) -> Step | None:
        if isinstance(found, Satisfied):
            if one.index in self.graph.consumed:
                self.values.set_outputs(one.index, scope, found.outputs)
            now = self.ledger.clock()
            if (one.index, scope) in self._doubtful:  # its intent stands: this run did it
                why = "before the run was cut off"
                self.ledger.done(one, scope, reason=why, started=now, left=found.left, outputs=None)
            else:
                self.ledger.unchanged(one, scope, found.left, now)
            return None
        if slots is None:
            slots = typed_slots(one.node, _action(one), self.values.resolve(one.node, scope))
        return Step(one, slots, found)

    def _skip(self, one: Bound, scope: Scope, why: str) -> None:
        self.values.set_skipped(one.index, scope)
        self.ledger.other(one, scope, "skipped", why)

    def _is_closed(self, one: Bound, scope: Scope) -> bool:
        """Whether a gate before this node is closed; then it is one more such."""
        gate = self.values.closed_gate(one.node, scope)
        if gate:
            self._close(one, scope, f"{gate} was skipped")
        return bool(gate)

    def _close(self, one: Bound, scope: Scope, why: str) -> None:
        self.values.close(one.index, scope)
        self.ledger.other(one, scope, "skipped", why)

    def commit(self, steps: list[Step], scope: Scope) -> None:
        """Make prior states and intents durable. From here on the run can be taken back."""
        intents = [Intent(s.one.index, scope, s.change.files, s.change.undo, s.change.moves) for s in steps]
        with self._lock:
            self.host.store.flush()
            self._journal.commit(intents)
            for step, intent in zip(steps, intents, strict=True):
                step.position = self.stack.push(intent)
            self._dirty = True

    def _do(self, step: Step, scope: Scope, host: RealHost, attempts: tuple[Attempt, ...] = ()) -> None:
        one, action = step.one, _action(step.one)
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
        outside = _action(one).spec.effect == "outside"
        resources = tuple(left for left in done.left if left.kind == "token") if outside else ()
        with self._lock:
            self._journal.note(Finished(one.index, scope, "done", kept, resources))
            self._outside += outside
        if step.change.undo == {} and not step.change.files:
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

    # what stands in the way ----------------------------------------------------------------------

    def _make_way(
        self, one: Bound, scope: Scope, host: RealHost, slots: Struct, change: Change
    ) -> Satisfied | Change | None:
        """Apply the conflict policy; what is to be done after that, None when the node is skipped."""
        action = _action(one)
        if not slot_names(action.spec).claims:
            return change
        conflicts = conflicts_of(change.files, lambda path: ours(host, path))
        policy = one.node.on_conflict or self.rules.on_conflict
        remedies = {conflict.path: remedy(conflict, policy) for conflict in conflicts}
        if "stop" in remedies.values():
            raise ActionError(
                f"{conflicts[0].path}: a {conflicts[0].found} is in the way",
                "it appeared after preflight; look at it, then apply again with --on-conflict",
            )
        if "skip" in remedies.values():
            self._skip(one, scope, f"{conflicts[0].path} is in the way")
            return None
        cleared = [path for path, what in remedies.items() if what != "proceed"]
        if not cleared:
            return change
        for path in cleared:
            self._clear(one, scope, host, path, aside=remedies[path] == "move aside")
        found: Satisfied | Change = action.observe(host, slots)
        return found

    def _clear(self, one: Bound, scope: Scope, host: RealHost, path: str, *, aside: bool) -> None:
        """Move a conflicting path aside, or remove it whole; journaled like every effect."""
        moved = f"{path}.before-{host.run_id[-6:]}"
        files: tuple[FileChange, ...] = ()
        moves: tuple[Move, ...] = ()
        found = host.stat(path)
        if aside and found is not None:
            moves = (Move(path, moved, found.ino),)
        if not aside:
            below = [found for found, _ in host.walk(path)]
            files = tuple(FileChange(p, host.capture(p), Left(p, "absent")) for p in reversed(below))
        intent = Intent(one.index, scope, files, None, moves)
        with self._lock:
            host.store.flush()
            self._journal.commit([intent])
            self.stack.begun.add(self.stack.push(intent))
            self._dirty = True
        for move in moves:
            host.rename(move.source, move.path)
        for change in files:
            host.delete(change)
        self.ledger.event("log", node=one.node.id, text=f"{path} moved to {moved}" if aside else f"{path} removed")

    # failure -------------------------------------------------------------------------------------

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

    def _take_back_unfinished(self, mark: int, host: RealHost, node: int | None = None) -> None:
        """Undo what a failed try left half done, so that the next try starts from a known state."""

        def unfinished(intent: Intent) -> bool:
            run = self.ledger.nodes.get((intent.node, intent.scope))
            return node in (None, intent.node) and (run is None or run.status == "failed")

        self._take_back(mark, host, unfinished)

    def take_back_scope(self, mark: int, scope: Scope, host: RealHost) -> None:
        """Undo everything that a failed gather iteration did."""
        self._take_back(mark, host, lambda intent: intent.scope[: len(scope)] == scope)

    def _take_back(self, mark: int, host: RealHost, chosen: Callable[[Intent], bool], told: Told | None = None) -> None:
        with self._lock:
            part = self.stack.part(mark, chosen)
            Unwinder(self.graph, host, self._journal, self.ledger, part, told=told).unwind()
            self.stack.undone |= part.undone

    def _release(self, index: int, scope: Scope, host: RealHost) -> None:
        """At the end of a phase: take back what was needed during it only, unless another package holds it."""
        passing = {i for i in self.graph.members[index] if is_ephemeral(self.graph.bound[i])}
        if not passing:
            return
        for i in sorted(passing):
            run = self.ledger.nodes.get((i, scope))
            if run is not None and any(left.path in self._held for left in run.left):
                passing.discard(i)
                self.ledger.released(self.graph.bound[i].index, scope, "done", "kept: another package holds it")
        self._take_back(0, host, lambda i: i.node in passing and i.scope == scope, self.ledger.released)
        with self._lock:
            self._outside += 1

    def _commit_records(self, record: PhaseEnded) -> None:
        with self._lock:
            self._journal.commit([record])


def delay_ms(retry: Retry, attempt: int) -> int:
    """Pause after the given attempt (from 1): none, attempt × initial, or initial × 2^(attempt−1), capped."""
    if retry.backoff == "linear":
        wanted = retry.initial_delay_ms * attempt
    elif retry.backoff == "exponential":
        wanted = retry.initial_delay_ms << min(attempt - 1, 32)
    else:
        wanted = 0
    return min(wanted, retry.max_delay_ms)


def _action(one: Bound) -> Any:
    if one.action is None:
        raise TypeError(f"{one.node.id} is a flow node")
    return one.action


def _wait(running: dict["Future[None]", list[int]]) -> list[int]:
    """The nodes of the workers that finished; raises what the first failed one raised."""
    from concurrent.futures import FIRST_COMPLETED, wait

    finished, _ = wait(running, timeout=0.1, return_when=FIRST_COMPLETED)
    indexes = [index for future in finished for index in running.pop(future)]
    for future in finished:
        future.result()
    return indexes


def as_plain(value: Any) -> Any:
    """Outputs as plain JSON values, for results of bodies."""
    return msgspec.to_builtins(value)
