"""What stands in the way of taking a run back: paths that someone changed since. Looks, changes nothing.

The run is walked backwards, as an unwind does. Where it put something else in a directory's place, what was
below that directory is not to be seen now: it is gone, or has moved aside with it, and is judged there.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from requisition.runtime.host import RealHost
from requisition.runtime.hydrate import Hydrated
from requisition.runtime.journal import Intent
from requisition.runtime.restore import CrashWindow, is_ours, is_prior
from requisition.runtime.unwind import RecoveryStack
from requisition.schemas.diagnostic import Diagnostic
from requisition.stdlib.action import ActionError
from requisition.stdlib.host import FileChange

_GONE = ""


@dataclass
class _Hidden:
    """Directories that the run displaced: where each one's content is now, `_GONE` when it was removed."""

    places: dict[str, str]

    def note(self, change: FileChange) -> None:
        if change.prior.kind == "dir" and change.expect.kind != "dir":
            self.places[change.path] = _GONE

    def place(self, path: str) -> str:
        """Where the content of a path is to be looked for now; `_GONE` when nowhere."""
        if not self.places:
            return path
        above = path.rpartition("/")[0]
        while above:
            if above in self.places:
                now = self.places[above]
                return self.place(now + path[len(above) :]) if now else _GONE
            above = above.rpartition("/")[0]
        return path


def obstacles(stack: RecoveryStack, graph: Hydrated, host: RealHost, crash: CrashWindow | None) -> Iterable[Diagnostic]:
    """Paths whose present state is neither what the run left nor what was before, one finding each."""
    latest: set[str] = set()
    hidden = _Hidden({})
    for entry, position in zip(reversed(stack.entries), reversed(stack.positions), strict=True):
        if not isinstance(entry, Intent) or position in stack.undone:
            continue
        for change in reversed(entry.files):
            if change.path not in latest:
                latest.add(change.path)
                why = _why_not(change, hidden.place(change.path), host, crash)
                if why:
                    yield _finding(change.path, graph.order.nodes[entry.node].location, why)
            hidden.note(change)
        hidden.places.update(entry.aside)


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


def _finding(path: str, where: str, why: str) -> Diagnostic:
    return Diagnostic(
        what=f"{path} cannot be taken back",
        where=where,
        why=why,
        next="roll back the later run first, or use --force to take back everything else",
        code="conflict",
    )
