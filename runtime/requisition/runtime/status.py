"""`status`: how the target root differs from what the receipts say was left there. Changes nothing."""

from collections.abc import Collection, Iterable
from contextlib import ExitStack

from requisition.runtime.diffs import difference
from requisition.runtime.frames import Event, Request, Result
from requisition.runtime.host import RealHost
from requisition.runtime.inputs import Inputs
from requisition.runtime.layout import StateDir
from requisition.runtime.run import Ground, Watch
from requisition.runtime.sight import describe
from requisition.runtime.state import Entry
from requisition.schemas.diagnostic import Failure
from requisition.stdlib.action import ActionError


def status(request: Request, watch: Watch) -> Result:
    """One `drift` event a path that is not as it was left; the result counts them by kind."""
    with ExitStack() as resources:
        state = StateDir(request.state_dir)
        ground = Ground.open(state, request.target_root, resources)
        host = RealHost(
            ground.root,
            ground.store,
            Inputs((), None, None),
            run_id="status",
            scratch="",
            secrets={},
            facts={},
            known=ground.view.known(),
            log=lambda _: None,
            cancelled=watch.cancelled,
        )
        counts = {"ok": 0, "changed": 0, "missing": 0, "extra": 0}
        drifted: list[Entry] = []
        asked = [entry for entry in ground.view.entries.values() if _is_asked(request, entry)]
        for entry in asked:
            if entry.left.kind == "token":
                continue
            found = _drift(host, entry)
            counts[found] += 1
            if found != "ok":
                drifted.append(entry)
                _tell(watch, host, entry, found)
        for entry, found, text in resource_drift(host, asked):
            counts[found] += 1
            if found != "ok":
                _say(watch, entry, entry.left.path, found, text)
        for path, entry in _extra(host, asked, ground.view.entries):
            counts["extra"] += 1
            _say(watch, entry, path, "extra", f"{path} is in a directory that {entry.node} made")
        if request.diff:
            from requisition.runtime.drifted import tell_diffs

            tell_diffs(request, watch, ground, drifted, resources)
        dirty = any(counts[kind] for kind in ("changed", "missing", "extra"))
        return Result(status="changes" if dirty else "done", summary=counts)


def resource_drift(host: RealHost, entries: Iterable[Entry]) -> Iterable[tuple[Entry, str, str]]:
    """Entries of what is no file, each with ok, changed or missing, and words for it. One look an action."""
    by_action: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.left.kind == "token":
            by_action.setdefault(entry.action, []).append(entry)
    if not by_action:
        return
    from requisition.runtime.registry import Registry

    registry = Registry()
    for name, ours in by_action.items():
        try:
            action = registry.get(name, where="the state view")
            present = action.fingerprint(host, tuple(entry.left for entry in ours))
        except (ActionError, Failure, OSError) as error:
            yield from ((entry, "changed", f"{entry.left.path}: cannot be looked at: {error}") for entry in ours)
            continue
        for entry, now in zip(ours, present, strict=True):
            path, was = entry.left.path, entry.left.token
            if now.kind == "absent":
                yield entry, "missing", f"{path} is missing"
            elif now.token != was:
                yield entry, "changed", f"{path}: was {was}, is {now.token or 'unknown'}"
            else:
                yield entry, "ok", ""


def _is_asked(request: Request, entry: Entry) -> bool:
    return (not request.packages or entry.package in request.packages) and (
        request.runs is None or entry.run_id in request.runs
    )


def _drift(host: RealHost, entry: Entry) -> str:
    try:
        if host.matches(entry.left):
            return "ok"
        return "missing" if host.lstat(entry.left.path) is None else "changed"
    except (ActionError, OSError):
        return "changed"


def _tell(watch: Watch, host: RealHost, entry: Entry, found: str) -> None:
    path = entry.left.path
    if found == "missing":
        text = f"{path} is missing"
    else:
        info = host.lstat(path)
        present = describe(path, info, host) if info is not None else None
        text = (difference(path, entry.left, present).strip() if present else "") or f"{path}: content differs"
    _say(watch, entry, path, found, text)


def _say(watch: Watch, entry: Entry, path: str, found: str, text: str) -> None:
    data = {"path": path, "package": entry.package, "run_id": entry.run_id}
    watch.emit(Event(kind="drift", at=watch.clock(), node=entry.node, status=found, text=text, data=data))


def _extra(host: RealHost, asked: Iterable[Entry], entries: Collection[str]) -> Iterable[tuple[str, Entry]]:
    """What lies in directories that we made and that no entry knows."""
    above = _above(entries)
    for entry in asked:
        path = entry.left.path
        if entry.left.kind != "dir":
            continue
        try:
            names = host.listdir(path)
        except OSError:
            continue  # missing or replaced: told as drift of the directory itself
        for name in names:
            inner = f"{path}/{name}"
            if inner not in entries and inner not in above:
                yield inner, entry


def _above(paths: Iterable[str]) -> set[str]:
    """Every directory that has one of the paths in it."""
    found: set[str] = set()
    for path in paths:
        while (path := path.rpartition("/")[0]) and path not in found:
            found.add(path)
    return found
