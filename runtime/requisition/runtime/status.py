"""`status`: how the target root differs from what the receipts say was left there. Changes nothing."""

from collections.abc import Iterable
from contextlib import ExitStack

import msgspec

from requisition.runtime.admission import readmit
from requisition.runtime.apply import prospect_diff
from requisition.runtime.diffs import difference
from requisition.runtime.frames import Request, Result
from requisition.runtime.host import RealHost
from requisition.runtime.hydrate import hydrate
from requisition.runtime.inputs import Inputs
from requisition.runtime.layout import StateDir
from requisition.runtime.preflight import PreflightHost, observe
from requisition.runtime.registry import Registry
from requisition.runtime.run import Ground, Run, Watch
from requisition.runtime.runinfo import read_info, run_order
from requisition.runtime.sight import describe
from requisition.runtime.state import Entry
from requisition.schemas.diagnostic import Failure
from requisition.stdlib.action import ActionError, Change


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
        for entry in ground.view.entries.values():
            if entry.left.kind == "token":
                continue
            found = _drift(host, entry)
            counts[found] += 1
            if found != "ok":
                drifted.append(entry)
                _tell(watch, host, entry, found)
        for entry, found, text in resource_drift(host, Registry(), ground.view.entries.values()):
            counts[found] += 1
            if found != "ok":
                _say(watch, entry, entry.left.path, found, text)
        for path, entry in _extra(host, ground.view.entries):
            counts["extra"] += 1
            _say(watch, entry, path, "extra", f"{path} is in a directory that {entry.node} made")
        if request.diff:
            _diffs(request, watch, ground, drifted, resources)
        dirty = any(counts[kind] for kind in ("changed", "missing", "extra"))
        return Result(status="changes" if dirty else "done", summary=counts)


def resource_drift(host: RealHost, registry: Registry, entries: Iterable[Entry]) -> Iterable[tuple[Entry, str, str]]:
    """Entries of what is no file, each with ok, changed or missing, and words for it. One look an action."""
    by_action: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.left.kind == "token":
            by_action.setdefault(entry.action, []).append(entry)
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
    from requisition.runtime.frames import Event

    data = {"path": path, "package": entry.package, "run_id": entry.run_id}
    watch.emit(Event(kind="drift", at=watch.clock(), node=entry.node, status=found, text=text, data=data))


def _extra(host: RealHost, entries: dict[str, Entry]) -> Iterable[tuple[str, Entry]]:
    """What lies in directories that we made and that no entry knows."""
    for path, entry in entries.items():
        if entry.left.kind != "dir":
            continue
        try:
            names = host.listdir(path)
        except OSError:
            continue  # missing or replaced: told as drift of the directory itself
        for name in names:
            inner = f"{path}/{name}"
            if inner not in entries and not any(known.startswith(inner + "/") for known in entries):
                yield inner, entry


def _diffs(request: Request, watch: Watch, ground: Ground, drifted: list[Entry], resources: ExitStack) -> None:
    """Content diffs, from the orders that made the drifted paths, where their inputs are still at hand."""
    from requisition.runtime.frames import Event

    by_run: dict[str, list[Entry]] = {}
    for entry in drifted:
        by_run.setdefault(entry.run_id, []).append(entry)
    for run_id, entries in by_run.items():
        directory = ground.state.run(run_id)
        info, copy = read_info(directory), run_order(directory)
        if info is None or copy is None:
            continue
        again = msgspec.structs.replace(request, order_path=copy, source_root=info.source_root)
        try:
            admitted = readmit(again, watch, info.order_checksum)
            graph = hydrate(admitted.order, Registry())
            inputs = Inputs(admitted.order.inputs, admitted.source_root, admitted.blobs)
        except (Failure, OSError) as failure:
            watch.emit(Event(kind="warning", text=f"no diffs for the run {run_id}: {failure}"))
            continue
        resources.callback(admitted.close)
        run = Run(
            ground,
            graph,
            watch,
            resources,
            run_id=run_id,
            checksum=admitted.checksum,
            order_bytes=b"",
            inputs=inputs,
            secrets={},
        )
        host = run.make_host(PreflightHost)
        for entry in entries:
            index = graph.by_id.get(entry.node)
            if index is None:
                continue
            try:
                prospect = observe(graph.bound[index], host, run.values)
            except (ActionError, Failure) as error:
                watch.emit(Event(kind="warning", node=entry.node, text=f"no diff: {error}"))
                continue
            if isinstance(prospect.found, Change):
                data = {"path": entry.left.path, "diff": prospect_diff(prospect, host)}
                watch.emit(Event(kind="drift", node=entry.node, status="diff", data=data))
