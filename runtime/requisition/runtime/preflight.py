"""Preflight: what would happen, found out without changing anything.

Every node whose slots are known is observed; pure nodes are computed, so that what they feed is known
too. A node that needs the output of something that only runs later is `unknown`, with the reason. All
that would stop the run (bad inputs, conflicts, no room, no permission) is gathered and reported at once.
"""

import os
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from msgspec import Struct

from requisition.runtime.conflicts import Conflict, conflicts_of, remedy
from requisition.runtime.ephemeral import NotNow, is_ephemeral, wanted
from requisition.runtime.host import RealHost
from requisition.runtime.hydrate import Bound, Hydrated, slot_names, typed_slots
from requisition.runtime.reactive import causes, reacts
from requisition.runtime.sight import Known, untouched
from requisition.runtime.values import Unresolved, Values
from requisition.schemas.diagnostic import BadInput, Diagnostic
from requisition.schemas.document import ConflictPolicy
from requisition.schemas.receipt import Left
from requisition.stdlib.action import ActionError, Change, GateClosed, Satisfied
from requisition.stdlib.host import ABSENT, CommandResult, Kind, Prior


class Prospect(Struct, frozen=True, gc=False):
    """What preflight found of one node. `reusable`: the executor may act on `found` without looking again,
    because its effects are guarded by the prior state in it."""

    status: Literal["change", "unchanged", "look", "unknown", "skip"]
    reason: str = ""
    found: Satisfied | Change | None = None
    reusable: bool = False
    conflicts: tuple[Conflict, ...] = ()


class Report(Struct):
    """Preflight of a whole order: `prospects` by node index; nodes in bodies have none. `unsettled` is the
    first node that may change anything at all: later phases cannot be foreseen past it. `touched` and
    `above` map paths that are to change, and their parents, to the node that changes them. `closed` are gates that
    do not let their dependents through, and these."""

    prospects: dict[int, Prospect]
    findings: list[Diagnostic]
    conflicts: list[Diagnostic]
    unsettled: str = ""
    unsettled_phase: int = -1
    touched: dict[str, str] = {}
    above: dict[str, str] = {}
    closed: set[str] = set()

    def counts(self) -> dict[str, int]:
        """How many nodes would change, are as wanted, only look, cannot be known, or wait for a gate that is closed."""
        counted = {"change": 0, "unchanged": 0, "unknown": 0}
        for prospect in self.prospects.values():
            counted[prospect.status] = counted.get(prospect.status, 0) + 1
        return counted


class PreflightHost(RealHost):
    """The host with every effect taken out: it saves nothing, runs nothing, and remembers which parents
    are absent, since nothing can change under a preflight but by others."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._missing: set[str] = set()
        self.unsaved = False

    def lstat(self, path: str) -> os.stat_result | None:
        """As in RealHost, at no system call below a parent that is known to be absent."""
        if self._below_missing(path):
            return None
        return super().lstat(path)

    def matches(self, expect: Left) -> bool:
        """As in RealHost, at no system call below a parent that is known to be absent."""
        if self._missing and self._below_missing(expect.path):
            return expect.kind == "absent"
        return super().matches(expect)

    def _below_missing(self, path: str) -> bool:
        head = path.rpartition("/")[0]
        if not head or head in self.root.kept:
            return False
        if head in self._missing:
            return True
        if self._below_missing(head):
            self._missing.add(head)
            return True
        try:
            self.root.parent(path)
        except FileNotFoundError:
            self._missing.add(head)
            return True
        return False

    def _save(self, path: str, *, sealed: bool) -> str:
        self.unsaved = True
        return ""

    def _xattrs(self, path: str, kind: Kind) -> Mapping[str, bytes] | None:
        return None

    def run(self, *_args: Any, **_kwargs: Any) -> CommandResult:
        """Refused: see NotNow."""
        raise NotNow("a command decides it, which runs only when the order is applied")

    def scratch(self) -> str:
        """Refused: see NotNow."""
        raise NotNow("it needs scratch space, which is made only when the order is applied")


def preflight(
    graph: Hydrated,
    host: PreflightHost,
    values: Values,
    policy: ConflictPolicy,
    only: frozenset[int] | None,
    settled: Mapping[str, list[Known]],
) -> Report:
    """Observe everything. `values` gains the outputs that are known before the run. `settled` is what the
    last run left of this very order, by node id: a node whose paths are untouched since is as wanted."""
    report = Report({}, [], [])
    if os.geteuid() != 0 and not graph.elevated:
        report.findings.extend(_elevation(one) for one in graph.bound if one.node.elevate)
    forward = [phase.kind == "forward" for phase in graph.order.phases]
    for index in graph.sequence:
        one = graph.bound[index]
        if not forward[one.phase] or (only is not None and index not in only):
            continue
        left = settled.get(one.node.id)
        if (
            left
            and not one.secret
            and not report.touched
            and index not in values.wanted
            and all(untouched(host.root, *state) for state in left)
        ):
            kept = Satisfied(left=tuple(state for _, state in left))
            report.prospects[index] = Prospect("unchanged", found=kept, reusable=True)
            continue
        gate = next((need for need in one.node.needs if need in report.closed), "") if report.closed else ""
        found = Prospect("skip", f"{gate} is skipped") if gate else _foresee(one, graph, host, values, report)
        if found is None:
            continue
        if found.status == "skip":
            report.closed.add(one.node.id)
            report.prospects[index] = found
            continue
        prospect = report.prospects[index] = found
        if prospect.status not in ("unchanged", "look"):
            _touch(one, prospect, report)
            if not report.unsettled and _reaches_out(one):
                report.unsettled, report.unsettled_phase = one.node.id, one.phase
        for conflict in prospect.conflicts:
            if remedy(conflict, one.node.on_conflict or policy) == "stop":
                report.conflicts.append(_conflict(one, conflict))
    report.findings.extend(_homeless(graph, report, host))
    report.findings.extend(_room(report, host))
    return report


def _foresee(one: Bound, graph: Hydrated, host: PreflightHost, values: Values, report: Report) -> Prospect | None:
    """What one node would do, given what those before it are to change; None when that is a finding."""
    pending = ""
    try:
        if reacts(one) and not _may_react(one, graph, report):
            return Prospect("unchanged", found=Satisfied())
    except ActionError as error:
        report.findings.append(_finding(one, error))
        return None
    if one.action is not None and one.action.spec.effect == "outside":
        pending = _pending(one, graph, report)
        if pending:
            return Prospect("unknown", f"it depends on what {pending} does")
    try:
        if is_ephemeral(one) and not wanted(one, graph, values, host):
            return Prospect("unchanged", found=Satisfied())
        prospect = observe(one, host, values)
    except GateClosed as closed:
        return Prospect("skip", str(closed))
    except NotNow as wait:
        return Prospect("unknown", str(wait))
    except BadInput as failure:
        report.findings.extend(failure.diagnostics)
        return None
    except ActionError as error:
        pending = _pending(one, graph, report)
        if pending:
            return Prospect("unknown", f"it depends on what {pending} does")
        report.findings.append(_finding(one, error))
        return None
    if prospect.status == "unchanged" and _toucher(one, report):
        return msgspec.structs.replace(prospect, reusable=False)
    return prospect


def _may_react(one: Bound, graph: Hydrated, report: Report) -> bool:
    """Whether something that a node reacts to is to change, or cannot be foreseen."""
    found = (report.prospects.get(index) for index, inside in causes(one, graph) if not inside)
    return any(prospect is not None and prospect.status in ("change", "unknown") for prospect in found)


def _pending(one: Bound, graph: Hydrated, report: Report) -> str:
    """A node before this one that is still to change something this one may look at; empty when none."""
    for need in one.node.needs:
        before = report.prospects.get(graph.by_id[need])
        if before is not None and before.status not in ("unchanged", "look", "skip"):
            return need
    if report.unsettled and one.phase != report.unsettled_phase:
        return report.unsettled
    return _toucher(one, report)


def _toucher(one: Bound, report: Report) -> str:
    """The node that is to change one of this one's paths, or what lies above or below it."""
    if not report.touched or one.action is None:
        return ""
    for name in slot_names(one.action.spec).paths:
        path = one.node.slots.get(name)
        if not isinstance(path, str):
            continue
        if path in report.above:
            return report.above[path]
        while path:
            if path in report.touched:
                return report.touched[path]
            path = path.rpartition("/")[0]
    return ""


def _touch(one: Bound, prospect: Prospect, report: Report) -> None:
    """Remember what a node is to change. Parents are only remembered for nodes that take things away."""
    files = prospect.found.files if isinstance(prospect.found, Change) else ()
    paths = [change.path for change in files]
    if one.action is not None and not files:
        slots = (one.node.slots.get(name) for name in slot_names(one.action.spec).paths)
        paths = [path for path in slots if isinstance(path, str)]
    for path in paths:
        report.touched.setdefault(path, one.node.id)
        parent = path.rpartition("/")[0]
        while parent and parent not in report.above:
            report.above[parent] = one.node.id
            parent = parent.rpartition("/")[0]


def observe(one: Bound, host: PreflightHost, values: Values) -> Prospect:
    """What one node would do."""
    action = one.action
    if action is None:
        return Prospect("unknown", "decided while the order runs")
    slots = one.slots
    if slots is None:
        try:
            slots = typed_slots(one.node, action, values.resolve(one.node, ()))
        except Unresolved as wait:
            return Prospect("unknown", str(wait), conflicts=_probe(one, host))
    host.sealed = one.secret
    host.unsaved = False
    try:
        found = action.observe(host, slots)
    except NotNow as wait:
        return Prospect("unknown", str(wait))
    if found.outputs is not None and one.index in values.wanted:
        values.set_outputs(one.index, (), found.outputs)
    if isinstance(found, Satisfied):
        return Prospect("unchanged", found=found, reusable=True)
    names = slot_names(action.spec)
    for name in names.inputs:
        source = getattr(slots, name)
        if source:
            host.inputs.verify(source)
    conflicts = conflicts_of(found.files, lambda path: ours(host, path)) if names.claims and found.files else ()
    reusable = not host.unsaved and not conflicts and len(found.files) == 1
    return Prospect("look" if found.looks else "change", found.reason, found, reusable, conflicts)


def _reaches_out(one: Bound) -> bool:
    """Whether the node may change more than the files it declares."""
    return one.action is None or one.action.spec.effect == "outside"


def ours(host: RealHost, path: str) -> bool:
    """Whether the path still is as one of our runs left it."""
    known: Known | None = host.known.get(path)
    return known is not None and host.matches(known[1])


def _probe(one: Bound, host: PreflightHost) -> tuple[Conflict, ...]:
    """Conflicts at the paths of a node whose content is not known yet."""
    assert one.action is not None
    found = []
    for name in slot_names(one.action.spec).paths:
        slot, path = one.action.spec.slot(name), one.node.slots.get(name)
        if slot is None or not slot.claims or not isinstance(path, str):
            continue
        prior: Prior = host.capture(path, content=False)
        if prior is not ABSENT and prior.kind != "dir" and not ours(host, path):
            found.append(Conflict(path, "foreign link" if prior.kind == "link" else "regular file", "file"))
    return tuple(found)


def _homeless(graph: Hydrated, report: Report, host: PreflightHost) -> list[Diagnostic]:
    """Files whose directory neither exists nor is made by any node; not decided where a node may do anything."""
    if report.unsettled:
        return []
    changes = [
        (index, change)
        for index, prospect in report.prospects.items()
        if isinstance(prospect.found, Change)
        for change in prospect.found.files
    ]
    made = {change.path for _, change in changes if change.expect.kind == "dir"}
    findings = []
    for index, change in changes:
        parent = change.path.rpartition("/")[0]
        if change.prior.kind != "absent" or not parent or parent in made or host.lstat(parent) is not None:
            continue
        if _made_on_the_way(report, parent):
            continue
        node = graph.order.nodes[index]
        findings.append(
            Diagnostic(
                what=f"{node.id}: the directory {parent} does not exist, and no node makes it",
                where=node.location,
                next=f'add plan.file.mkdir("{parent}") before it',
            )
        )
    return findings


def _made_on_the_way(report: Report, path: str) -> bool:
    """Whether a node changes the path or one above it: moves a directory there, extracts an archive."""
    while path:
        if path in report.touched:
            return True
        path = path.rpartition("/")[0]
    return False


def _room(report: Report, host: RealHost) -> list[Diagnostic]:
    """Space for all new content, with the blocks it will take, on the file system of the root."""
    info = os.fstatvfs(host.root.fd)
    block = info.f_frsize or 4096
    needed = 0
    for prospect in report.prospects.values():
        if isinstance(prospect.found, Change):
            for change in prospect.found.files:
                if change.expect.size > 0:
                    needed += -(-change.expect.size // block) * block
    free = info.f_bavail * block
    if needed <= free:
        return []
    return [
        Diagnostic(
            what=f"not enough space: the order writes {needed >> 10} KiB, {free >> 10} KiB are free",
            where=host.root.path,
            next="free some space, or apply to another target root",
        )
    ]


def _elevation(one: Bound) -> Diagnostic:
    return Diagnostic(
        what=f"{one.node.id} must run as root",
        where=one.node.location,
        why="the package marks it with plan.elevate",
        next="add --elevate sudo, or run plan apply as root",
    )


def _finding(one: Bound, error: ActionError) -> Diagnostic:
    return Diagnostic(what=f"{one.node.id}: {error}", where=one.node.location, next=error.hint)


def _conflict(one: Bound, conflict: Conflict) -> Diagnostic:
    return Diagnostic(
        what=f"{conflict.path}: a {conflict.found} is in the way",
        where=one.node.location,
        why=f"{one.node.id} would replace it, and no run of ours put it there as it is now",
        next="look at it with --dry-run --diff, then choose --on-conflict backup, overwrite or skip",
        code="conflict",
    )
