"""Unwinding: what a run did is taken back, last in first out.

The recovery stack holds an `Intent` for every node that was about to have an effect and a `PhaseMark` for
every completed phase that has a compensation. A failed undo is recorded and the unwind goes on.
"""

from collections.abc import Callable, Container, Iterator, Sequence
from typing import Any, Literal

from msgspec import Struct

from requisition.runtime.host import RealHost
from requisition.runtime.hydrate import Hydrated
from requisition.runtime.journal import Compensated, Intent, Journal, Record, Undone
from requisition.runtime.ledger import Ledger
from requisition.runtime.restore import CrashWindow, undo_files, undo_move
from requisition.schemas.diagnostic import Diagnostic, Failed
from requisition.schemas.receipt import RollbackEntry
from requisition.stdlib.action import ActionError, NotCompensable, UndoConflict

GROUP = 512
UndoStatus = Literal["done", "failed", "not_compensable"]
Told = Callable[[int, tuple[int, ...], UndoStatus, str], None]


class PhaseMark(Struct, frozen=True):
    """A completed phase on the recovery stack, with the phase that compensates it."""

    phase: str
    compensate: str


class RecoveryStack:
    """Everything to take back, oldest first. Intents keep their position, by which `Undone` names them.

    `begun` holds the positions whose effect was started: the others need no undo. `compensated` are phases whose
    compensation was run.
    """

    def __init__(self) -> None:
        self.entries: list[Intent | PhaseMark] = []
        self.positions: list[int] = []
        self.intents = 0
        self.begun: set[int] = set()
        self.undone: set[int] = set()
        self.compensated: set[str] = set()

    def push(self, entry: Intent | PhaseMark) -> int:
        """Add; returns the position among intents (or −1 for a mark)."""
        self.entries.append(entry)
        position = -1
        if isinstance(entry, Intent):
            position = self.intents
            self.intents += 1
        self.positions.append(position)
        return position

    def stands(self) -> bool:
        """Whether anything that was begun was not taken back."""
        return bool(self.begun - self.undone)

    def paths(self) -> Iterator[str]:
        """Every path that an intent names."""
        for entry in self.entries:
            if isinstance(entry, Intent):
                yield from entry.paths()

    def part(
        self, mark: int, chosen: Callable[[Intent], bool], phases: Container[str] = frozenset()
    ) -> "RecoveryStack":
        """A stack of those begun intents above `mark` that are chosen and still to be taken back, and of the marks of
        some phases; they keep their positions."""
        part = RecoveryStack()
        for entry, position in zip(self.entries[mark:], self.positions[mark:], strict=True):
            if isinstance(entry, PhaseMark):
                if entry.phase in phases and entry.phase not in self.compensated:
                    part.entries.append(entry)
                    part.positions.append(position)
            elif position in self.begun and position not in self.undone and chosen(entry):
                part.entries.append(entry)
                part.positions.append(position)
                part.begun.add(position)
        return part


class Unwinder:
    """Takes back entries of a stack through one host. `compensate` runs a compensation phase."""

    def __init__(
        self,
        graph: Hydrated,
        host: RealHost,
        journal: Journal,
        ledger: Ledger,
        stack: RecoveryStack,
        *,
        crash: CrashWindow | None = None,
        compensate: Callable[[str], None] | None = None,
        told: Told | None = None,
    ) -> None:
        self._told = told or ledger.taken_back
        self._graph = graph
        self._host = host
        self._journal = journal
        self._ledger = ledger
        self._stack = stack
        self._crash = crash
        self._compensate = compensate
        self._journal_failed = False
        self._twice = _paths_changed_twice(stack.entries)
        self._remade = _moved_then_changed(stack.entries)

    def unwind(self) -> bool:
        """Take back every entry that was not yet; True when no undo failed. What cannot be undone at all
        is reported, and is no failure of the unwind."""
        stack, clean, pending = self._stack, True, 0
        for part in self._parts():
            if isinstance(part, PhaseMark):
                clean = self._run_compensation(part) and clean
                continue
            together = self._undo_many([entry for entry, _ in part])
            for entry, position in part:
                status = self._undo(entry, effects=not together)
                clean = clean and status != "failed"
                stack.undone.add(position)
                self._record(Undone(position, status))
                pending += 1
                if pending >= GROUP or any(path in self._twice for path in entry.paths()):
                    self._settle()
                    pending = 0
        self._settle()
        return clean

    def _parts(self) -> Iterator[PhaseMark | list[tuple[Intent, int]]]:
        """What is to be taken back, last first: marks, and intents with their positions; those of one batched
        action that follow each other as one part. What only reacted to others is taken back behind all of them."""
        stack = self._stack
        part: list[tuple[Intent, int]] = []
        entries = list(zip(reversed(stack.entries), reversed(stack.positions), strict=True))
        entries.sort(key=lambda one: self._reacts(one[0]))
        for entry, position in entries:
            if isinstance(entry, PhaseMark):
                if part:
                    yield part
                    part = []
                if entry.phase not in stack.compensated:
                    yield entry
            elif position not in stack.undone and position in stack.begun:
                if part and not self._goes_with(part[0][0], entry):
                    yield part
                    part = []
                part.append((entry, position))
        if part:
            yield part

    def _reacts(self, entry: Intent | PhaseMark) -> bool:
        action = self._graph.bound[entry.node].action if isinstance(entry, Intent) else None
        return action is not None and bool(action.spec.reactive)

    def _goes_with(self, one: Intent, other: Intent) -> bool:
        action = self._graph.bound[one.node].action
        return action is not None and action.spec.batched and action is self._graph.bound[other.node].action

    def _undo_many(self, part: list[Intent]) -> bool:
        """Take back the effects of a whole part; False when that has to be done one by one."""
        action: Any = self._graph.bound[part[0].node].action
        undos = [intent.undo for intent in part if intent.undo is not None]
        if len(undos) < 2 or action is None or not action.spec.batched:
            return False
        self._host.forget_answers()
        try:
            action.undo_many(self._host, undos)
        except (NotCompensable, UndoConflict, ActionError, OSError, Failed):
            return False  # each is tried again by itself, and tells what is in its way
        finally:
            self._host.forget_answers()
        return True

    def _undo(self, intent: Intent, *, effects: bool = True) -> UndoStatus:
        if intent.looks:
            return "done"
        status: UndoStatus = "done"
        message = ""
        try:
            self._undo_effects(intent, effects=effects)
        except NotCompensable as error:
            status, message = "not_compensable", str(error)
        except (UndoConflict, ActionError, OSError, Failed) as error:
            status, message = "failed", str(error)
        self._told(intent.node, intent.scope, status, message)
        if status != "done":
            self._ledger.problems.append(self._problem(intent, status, message))
        return status

    def _undo_effects(self, intent: Intent, *, effects: bool) -> None:
        action = self._graph.bound[intent.node].action
        own = action if effects and intent.undo is not None else None
        if own is not None:
            self._reach_out(own.undo, intent.undo)
        undo_files(self._host, intent.files, self._crash)
        for move in reversed(intent.moves):
            undo_move(self._host, move, remade=move.path in self._remade)
        if own is not None and (intent.files or intent.moves):
            self._reach_out(own.undone, intent.undo)
        if action is not None and not action.spec.compensable and intent.undo is None:
            raise NotCompensable(f"{action.spec.name} cannot be undone")

    def _reach_out(self, undo: Callable[[RealHost, Any], None], data: Any) -> None:
        self._host.forget_answers()
        try:
            undo(self._host, data)
        finally:
            self._host.forget_answers()

    def _problem(self, intent: Intent, status: UndoStatus, message: str) -> Diagnostic:
        node = self._graph.order.nodes[intent.node]
        why = "its effect cannot be undone" if status == "not_compensable" else "the undo did not succeed"
        return Diagnostic(what=f"{node.id}: {message}", where=node.location, why=why, next="look at it by hand")

    def _run_compensation(self, mark: PhaseMark) -> bool:
        if self._compensate is None or not mark.compensate:
            return True
        status: Literal["done", "failed"] = "done"
        message = ""
        try:
            self._compensate(mark.compensate)
        except (Failed, ActionError, OSError) as error:
            status, message = "failed", str(error)
            self._ledger.problems.append(
                Diagnostic(what=f"compensation of {mark.phase} failed: {message}", next="look at it by hand")
            )
        self._ledger.rollback.append(RollbackEntry("compensation", mark.compensate, status, (), message))
        self._ledger.event("rollback", phase=mark.compensate, status=status, text=message or "compensated")
        if status == "done":
            self._stack.compensated.add(mark.phase)
        self._record(Compensated(mark.phase, status))
        return status == "done"

    def _record(self, record: Record) -> None:
        if not self._journal_failed:
            self._journal.note(record)

    def _settle(self) -> None:
        """Make what was taken back durable, then say so; a journal that cannot be written is reported
        once and does not stop the unwind, which may be repeated safely."""
        try:
            self._host.sync()
            if not self._journal_failed:
                self._journal.commit()
        except OSError as error:
            self._journal_failed = True
            self._ledger.problems.append(
                Diagnostic(
                    what=f"the rollback could not be recorded: {error}",
                    why="the state directory cannot be written",
                    next="free some space, then run plan rollback again: it is safe to repeat",
                )
            )


def _paths_changed_twice(entries: Sequence[Intent | PhaseMark]) -> frozenset[str]:
    """Paths that several intents change: these are recorded one by one, because a repeated unwind could
    not tell a middle state from someone else's change."""
    seen: set[str] = set()
    twice: set[str] = set()
    for entry in entries:
        if isinstance(entry, Intent):
            for path in entry.paths():
                (twice if path in seen else seen).add(path)
    return frozenset(twice)


def _moved_then_changed(entries: Sequence[Intent | PhaseMark]) -> frozenset[str]:
    """Names to which something was moved that a later intent changed: an unwind puts another inode there."""
    moved: set[str] = set()
    changed: set[str] = set()
    for entry in entries:
        if isinstance(entry, Intent):
            changed.update(change.path for change in entry.files if change.path in moved)
            moved.update(move.path for move in entry.moves)
    return frozenset(changed)
