"""The executor: runs phases, each node as soon as its edges allow, every effect journaled before it is made.

Nodes that finish fast run in groups on the calling thread: observe all, make their intents durable with
one commit, then do all. Nodes that may take long, wait, or have a retry policy of their own run alone,
`jobs` at a time, on worker threads with a host of their own. Nodes of batched actions wait until nothing else
is ready, so that they are together (`batch.py`).
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from requisition.runtime.batch import run_batch
from requisition.runtime.effects import Effects, NodeFailed, Scope, action_of
from requisition.runtime.ephemeral import is_ephemeral
from requisition.runtime.host import RealHost
from requisition.runtime.hydrate import Bound, Hydrated
from requisition.runtime.journal import Journal
from requisition.runtime.ledger import Ledger
from requisition.runtime.preflight import Prospect
from requisition.runtime.prepare import AT_THE_START, Preparer, Progress
from requisition.runtime.unwind import RecoveryStack
from requisition.runtime.values import Unresolved, Values
from requisition.schemas.diagnostic import BadInput, Diagnostic
from requisition.schemas.document import ConflictPolicy, Phase, Retry
from requisition.schemas.receipt import Attempt
from requisition.stdlib.action import ActionError, Cancelled, Raced

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

GROUP = 256
RACES = 3


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
    keep_failed: bool = False


class Executor:
    """One run. `flow` executes the nodes that decide what runs; `held` are resources that other packages of this
    target root hold."""

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
        prospects: Mapping[int, Prospect] = MappingProxyType({}),
        progress: Progress = AT_THE_START,
        held: frozenset[str] = frozenset(),
    ) -> None:
        self.graph = graph
        self.host = host
        self.values = values
        self.ledger = ledger
        self.stack = stack
        self.rules = rules
        self.effects = Effects(graph, journal, values, ledger, stack, host)
        self.preparer = Preparer(self.effects, prospects, progress, rules.on_conflict)
        self._flow = flow
        self._cancelled = cancelled
        self._progress = progress
        self._held = held
        self._turn = threading.Lock()
        self._busy = threading.BoundedSemaphore(max(1, rules.jobs))

    # phases --------------------------------------------------------------------------------------

    def run(self) -> tuple[Diagnostic, ...]:
        """All forward phases; of a tree, what became of packages that failed. Raises NodeFailed, Cancelled, Stopped, or
        OSError from journal and disk."""
        if self.graph.order.members:
            from requisition.runtime.members import run_members

            return run_members(self)
        for index, phase in enumerate(self.graph.order.phases):
            if phase.kind == "forward":
                self.run_phase(index, (), self.host)
                self.effects.end_phase(phase)
        return ()

    def take_back_member(self, member: str, host: RealHost) -> None:
        """Undo everything that a package of a tree did, and compensate its completed phases."""
        phases = self.graph.order.phases
        mine = {index for index, phase in enumerate(phases) if phase.member == member}

        def compensate(phase: str) -> None:
            self.run_phase(self.graph.phases[phase], (), host)

        self.effects.take_back_phases(mine, host, compensate)

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
                self.effects.take_back_unfinished(mark, host)
                host.sleep_ms(delay_ms(retry, number))
            else:
                attempts.append(Attempt(number, begun, self.ledger.clock()))
                self._phase_record(phase, scope, "done", started, attempts if number > 1 else [])
                return

    def _release(self, index: int, scope: Scope, host: RealHost) -> None:
        """At the end of a phase: take back what was needed during it only, unless another package holds it."""
        passing = {i for i in self.graph.members[index] if is_ephemeral(self.graph.bound[i])}
        for i in sorted(passing):
            run = self.ledger.nodes.get((i, scope))
            if run is not None and any(left.path in self._held for left in run.left):
                passing.discard(i)
                self.ledger.released(i, scope, "done", "kept: another package holds it")
        if passing:
            self.effects.release(passing, scope, host)

    def _announce(self, phase: Phase, scope: Scope, status: str) -> None:
        if phase.kind != "body":
            self.ledger.event("phase", phase=phase.id, scope=scope, status=status)

    def _phase_record(self, phase: Phase, scope: Scope, status: Any, started: int, attempts: list[Attempt]) -> None:
        if phase.kind != "body" and not scope:
            self.ledger.phase(phase.id, status, started, tuple(attempts))

    def _walk(self, index: int, scope: Scope, host: RealHost) -> None:
        """Every node of a phase once, in any order that the edges allow."""
        members = [
            i for i in self.graph.members[index] if self._progress.only is None or scope or i in self._progress.only
        ]
        chosen = None if self._progress.only is None or scope else frozenset(members)
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
            if (index, scope) in self._progress.done:
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
        steps = [step for one in group if (step := self.preparer.prepare(one, scope, host)) is not None]
        single = [step for step in steps if len(step.change.files) <= 1]
        if single:
            self.effects.commit(single, scope)
        for step in single:
            try:
                self.effects.do(step, scope, host)
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
                run_batch(self.preparer, batch, scope, own)
        finally:
            own.root.close()

    def _flow_node(self, one: Bound, scope: Scope, host: RealHost) -> None:
        if self.preparer.is_closed(one, scope):
            return
        started = self.ledger.clock()
        try:
            self._flow(self, one, scope, host)
        except (Unresolved, BadInput, ActionError) as error:
            if isinstance(error, Cancelled):
                raise
            raise self.effects.failure(one, scope, error) from error
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
                self.effects.take_back_unfinished(mark, host, one.index)
                host.sleep_ms(delay_ms(retry, number))
            else:
                return

    def again(self, one: Bound, scope: Scope, host: RealHost) -> None:
        """Do a repeatable node once more, for a poll."""
        self._once(one, scope, host, (), asked=True)

    def _once(
        self, one: Bound, scope: Scope, host: RealHost, attempts: tuple[Attempt, ...], *, asked: bool = False
    ) -> None:
        if action_of(one).spec.batched:
            with self._turn:
                run_batch(self.preparer, [one], scope, host, attempts, asked=asked)
            return
        for _ in range(RACES):
            step = self.preparer.prepare(one, scope, host, fresh=True, asked=asked)
            if step is None:
                return
            self.effects.commit([step], scope)
            try:
                self.effects.do(step, scope, host, attempts)
            except Raced:
                continue
            return
        raise self.effects.failure(one, scope, ActionError("the target keeps changing under our hands"))


def delay_ms(retry: Retry, attempt: int) -> int:
    """Pause after the given attempt (from 1): none, attempt × initial, or initial × 2^(attempt−1), capped."""
    if retry.backoff == "linear":
        wanted = retry.initial_delay_ms * attempt
    elif retry.backoff == "exponential":
        wanted = retry.initial_delay_ms << min(attempt - 1, 32)
    else:
        wanted = 0
    return min(wanted, retry.max_delay_ms)


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
