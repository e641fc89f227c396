"""What stands in the way of taking a run back: paths that someone changed since. Looks, changes nothing.

The run is walked backwards, as an unwind does. What it moved, or put something else in the place of, is not
to be seen now where it was then; it is judged where it is now, or as absent where it was removed.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from requisition.runtime.host import RealHost
from requisition.runtime.hydrate import Hydrated
from requisition.runtime.journal import Intent
from requisition.runtime.restore import CrashWindow, has_moved, is_ours, is_prior
from requisition.runtime.unwind import RecoveryStack
from requisition.schemas.diagnostic import Diagnostic
from requisition.stdlib.action import ActionError, UndoConflict
from requisition.stdlib.host import FileChange, Move

_GONE = ""


class _Displaced(NamedTuple):
    """The `at`-th displacement, counted from the run's end: what was at `path` or below it is `now` there."""

    at: int
    path: str
    now: str


class Whereabouts:
    """Where that which was at a path before the displacements noted so far is now. They are noted last first."""

    def __init__(self) -> None:
        self._with_itself: dict[str, list[_Displaced]] = {}
        self._below: dict[str, list[_Displaced]] = {}
        self._noted = 0

    def emptied(self, path: str) -> None:
        """A directory was removed: what is below that name now came later."""
        self._noted += 1
        self._below.setdefault(path, []).append(_Displaced(self._noted, path, _GONE))

    def moved(self, source: str, path: str) -> None:
        """What was at `source` came to `path`, which was free before."""
        self._noted += 1
        self._with_itself.setdefault(source, []).append(_Displaced(self._noted, source, path))
        self._with_itself.setdefault(path, []).append(_Displaced(self._noted, path, _GONE))

    def place(self, path: str) -> str:
        """The name under which it is found now; `_GONE` when it was removed."""
        before = self._noted + 1
        while self._noted:
            found = max((one for one in self._above(path) if one.at < before), default=None)
            if found is None:
                return path
            if found.now == _GONE:
                return _GONE
            path, before = found.now + path[len(found.path) :], found.at
        return path

    def _above(self, path: str) -> Iterator[_Displaced]:
        """Displacements of the path itself and of directories above it."""
        yield from self._with_itself.get(path, ())
        above = path.rpartition("/")[0]
        while above:
            yield from self._with_itself.get(above, ())
            yield from self._below.get(above, ())
            above = above.rpartition("/")[0]


def obstacles(stack: RecoveryStack, graph: Hydrated, host: RealHost, crash: CrashWindow | None) -> Iterable[Diagnostic]:
    """Paths whose present state is neither what the run left nor what was before, one finding each."""
    judged: set[str] = set()  # by present place; what was removed by its name then, behind a NUL
    where = Whereabouts()
    for entry, position in zip(reversed(stack.entries), reversed(stack.positions), strict=True):
        if not isinstance(entry, Intent) or position in stack.undone:
            continue
        location = graph.order.nodes[entry.node].location
        for change in reversed(entry.files):
            place = where.place(change.path)
            thing = place or "\0" + change.path
            if thing not in judged:
                judged.add(thing)
                why = _why_not(change, place, host, crash)
                if why:
                    yield _finding(change.path, location, why)
            if change.prior.kind == "dir" and change.expect.kind != "dir":
                where.emptied(change.path)
        for move in reversed(entry.moves):
            place = where.place(move.path)
            if place == _GONE or place in judged:  # a later change, judged above, put it there
                where.moved(move.source, move.path)
                continue
            why = _why_not_back(move, place, where, host)
            if why:
                yield _finding(move.path, location, why)


def _why_not(change: FileChange, place: str, host: RealHost, crash: CrashWindow | None) -> str:
    """Why a change cannot be taken back; empty when it can."""
    if place == _GONE:
        return "" if "absent" in (change.prior.kind, change.expect.kind) else "its directory was removed"
    if place != change.path:
        expect = msgspec.structs.replace(change.expect, path=place)
        change = msgspec.structs.replace(change, path=place, expect=expect)
    try:
        info = host.lstat(place)
        if is_prior(host, change, info) or is_ours(host, change, info, crash):
            return ""
    except (OSError, ActionError) as error:
        # Something of ours may stand where its directory was; that goes first.
        return "" if change.expect.kind == "absent" else str(error)
    return "it was changed since the run"


def _why_not_back(move: Move, place: str, where: Whereabouts, host: RealHost) -> str:
    """Why a rename cannot be taken back, empty when it can; what was moved is known to `where` from here on."""
    try:
        if has_moved(host, Move(move.source, place, move.ino)):
            where.moved(move.source, move.path)
        return ""
    except (OSError, ActionError, UndoConflict) as error:
        where.moved(move.source, move.path)
        return str(error)


def _finding(path: str, where: str, why: str) -> Diagnostic:
    return Diagnostic(
        what=f"{path} cannot be taken back",
        where=where,
        why=why,
        next="roll back the later run first, or use --force to take back everything else",
        code="conflict",
    )
