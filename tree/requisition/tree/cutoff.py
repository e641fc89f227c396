"""What the event log says of work that was cut off: a torn line, a sync and starts that nobody ended."""

from collections.abc import Iterator, Sequence

from requisition.schemas.diagnostic import BadInput
from requisition.tree import installed
from requisition.tree.events import EventLog, Halted, Known, Sync, log_path, read_events, torn_bytes
from requisition.tree.finding import Finding, Kind, Mended, done, gone, left
from requisition.tree.history import State, fold
from requisition.tree.local import Clock

KINDS: tuple[Kind, ...] = ("damaged log", "torn log", "sync cut off", "start without an end")
_LOG = ".plan/events.jsonl"
_WHY = "the sync was cut off"


def find(root: str) -> Iterator[Finding]:
    """Findings of the log. Changes nothing."""
    path = log_path(root)
    try:
        installed.read(root)
    except BadInput as error:
        yield _damaged("damaged record", root, error)
    try:
        torn = torn_bytes(path)
        state = fold(read_events(path))
    except BadInput as error:
        yield _damaged("damaged log", root, error)
        return
    if torn:
        text = f"the last line has no end: {torn} bytes that were never announced"
        yield Finding(kind="torn log", root=root, path=_LOG, text=text, mend="the line is cut off")
    if state.sync is not None and state.cut_off:
        text = f"the sync that began at {state.sync.at} did not end"
        mend = "the log says that it was cut off"
        yield Finding(kind="sync cut off", root=root, path="", text=text, mend=mend, other=state.sync.at)
    for start in state.dangling:
        yield Finding(
            kind="start without an end",
            root=root,
            path=start.path,
            text=f"its installation began at {start.at}, and nothing tells how it ended",
            mend="the log says that it was halted; the next sync looks at all of it again",
            other=start.at,
        )


def mend(findings: Sequence[Finding], clock: Clock) -> Iterator[Mended]:
    """Mend findings of one root's log. What was ended since is left as it is."""
    root = findings[0].root
    if any(one.kind == "damaged log" for one in findings):
        yield from map(left, findings)
        return
    with EventLog.open(root, clock) as log:
        state = log.fold()
        ends = [(one, _end(one, state)) for one in findings]
        _forget(root, [end.path for _, end in ends if isinstance(end, Halted)])
        log.append_many([end for _, end in ends if end is not None])
        healed = bool(log.healed)
    for one, end in ends:
        yield done(one) if end is not None or (one.kind == "torn log" and healed) else gone(one)


def _end(finding: Finding, state: State) -> Known | None:
    """The event that ends what a finding is about, if nothing did since."""
    if finding.kind == "sync cut off" and state.sync is not None and state.cut_off and state.sync.at == finding.other:
        return Sync(step="end", order=state.sync.order, packages=state.sync.packages, outcome="cut off")
    if finding.kind == "start without an end":
        package = state.packages.get(finding.path)
        if package is not None and package.step is not None and package.dangling and package.step.at == finding.other:
            start = package.step
            return Halted(path=start.path, commit=start.commit, hash=start.hash, why=_WHY, next="plan sync")
    return None


def _damaged(kind: Kind, root: str, error: BadInput) -> Finding:
    told = error.diagnostics[0]
    text = ": ".join(filter(None, (told.what, told.why)))
    return Finding(kind=kind, root=root, path=told.where.removeprefix(f"{root}/"), text=text, next=told.next)


def _forget(root: str, paths: Sequence[str]) -> None:
    """Nobody knows what of these packages is installed, so that none of them may be skipped."""
    try:
        known = installed.read(root)
    except BadInput:
        return  # a finding of its own; a sync does not begin before it is gone
    if any(path in known for path in paths):
        installed.write(root, {path: one for path, one in known.items() if path not in paths})
