"""A node is looked at: what is to be done about it now, if anything."""

from collections.abc import Mapping

from msgspec import Struct

from requisition.runtime.clearing import InTheWay, make_way
from requisition.runtime.effects import Effects, Scope, Step, action_of
from requisition.runtime.ephemeral import is_ephemeral, wanted
from requisition.runtime.host import RealHost
from requisition.runtime.hydrate import Bound, typed_slots
from requisition.runtime.preflight import Prospect
from requisition.runtime.reactive import is_due, reacts
from requisition.runtime.values import Unresolved
from requisition.schemas.diagnostic import BadInput
from requisition.schemas.document import ConflictPolicy
from requisition.stdlib.action import ActionError, Cancelled, Change, GateClosed, Satisfied


class Progress(Struct, frozen=True):
    """Where a run stands: `done` are nodes that an earlier part of a resumed run finished, `doubtful` those that it
    may have done; `only` restricts the forward walk."""

    done: frozenset[tuple[int, Scope]] = frozenset()
    doubtful: frozenset[tuple[int, Scope]] = frozenset()
    only: frozenset[int] | None = None


AT_THE_START = Progress()


class Preparer:
    """From nodes to steps, by what preflight saw where that is still good, else by another look."""

    def __init__(
        self, effects: Effects, prospects: Mapping[int, Prospect], progress: Progress, on_conflict: ConflictPolicy
    ) -> None:
        self.effects = effects
        self._graph = effects.graph
        self._values = effects.values
        self._ledger = effects.ledger
        self._prospects = prospects
        self._progress = progress
        self._on_conflict = on_conflict

    def prepare(
        self, one: Bound, scope: Scope, host: RealHost, *, fresh: bool = False, asked: bool = False
    ) -> Step | None:
        """Look at a node: None when it is settled (unchanged or skipped), else what is to be done. `asked`: someone
        wants this node now, so nobody else is looked at."""
        if self.is_closed(one, scope):
            return None
        host.forget_before(self.effects.outside)
        prospect = None if fresh or scope or self.effects.outside else self._prospects.get(one.index)
        if prospect is not None and prospect.reusable and prospect.found is not None:
            path = one.node.slots.get("path")
            if path.__class__ is not str or self._graph.writers.get(path, 1) == 1:
                return self._sort_out(one, scope, one.slots, prospect.found)
        try:
            slots = one.slots or self._slots(one, scope)
            if not asked and self._is_idle(one, scope, host):
                self._ledger.unchanged(one, scope, (), self._ledger.clock())
                return None
            host.sealed = one.secret
            found = action_of(one).observe(host, slots)
            if isinstance(found, Change) and found.files and self._make_way(one, scope, host, found):
                found = action_of(one).observe(host, slots)
        except Unresolved as wait:
            if wait.skipped:
                self._skip(one, scope, str(wait))
                return None
            raise self.effects.failure(one, scope, wait) from wait
        except InTheWay as reason:
            self._skip(one, scope, str(reason))
            return None
        except GateClosed as closed:
            self._close(one, scope, str(closed))
            return None
        except Cancelled:
            raise
        except (ActionError, BadInput, OSError) as error:
            raise self.effects.failure(one, scope, error) from error
        return self._sort_out(one, scope, slots, found)

    def _slots(self, one: Bound, scope: Scope) -> Struct:
        return typed_slots(one.node, action_of(one), self._values.resolve(one.node, scope))

    def _is_idle(self, one: Bound, scope: Scope, host: RealHost) -> bool:
        """Whether other nodes leave this one nothing to do: those that need it, or those that it reacts to."""
        if is_ephemeral(one):
            done, only = self._progress.done, self._progress.only
            return not wanted(one, self._graph, self._values, host, scope, done, only)
        return reacts(one) and not is_due(one, self._graph, self._ledger.nodes, scope)

    def _make_way(self, one: Bound, scope: Scope, host: RealHost, change: Change) -> bool:
        return make_way(self.effects, one, scope, host, change, one.node.on_conflict or self._on_conflict)

    def _sort_out(self, one: Bound, scope: Scope, slots: Struct | None, found: Satisfied | Change) -> Step | None:
        if isinstance(found, Satisfied):
            if one.index in self._graph.consumed:
                self._values.set_outputs(one.index, scope, found.outputs)
            now = self._ledger.clock()
            if (one.index, scope) in self._progress.doubtful:  # its intent stands: this run did it
                why = "before the run was cut off"
                self._ledger.done(one, scope, reason=why, started=now, left=found.left, outputs=None)
            else:
                self._ledger.unchanged(one, scope, found.left, now)
            return None
        if slots is None:
            slots = self._slots(one, scope)
        return Step(one, slots, found)

    def _skip(self, one: Bound, scope: Scope, why: str) -> None:
        self._values.set_skipped(one.index, scope)
        self._ledger.other(one, scope, "skipped", why)

    def is_closed(self, one: Bound, scope: Scope) -> bool:
        """Whether a gate before this node is closed; then it is one more such."""
        gate = self._values.closed_gate(one.node, scope)
        if gate:
            self._close(one, scope, f"{gate} was skipped")
        return bool(gate)

    def _close(self, one: Bound, scope: Scope, why: str) -> None:
        self._values.close(one.index, scope)
        self._ledger.other(one, scope, "skipped", why)
