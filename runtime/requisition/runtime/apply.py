"""`apply` and `dry-run`: from an order file to a receipt."""

import os
from contextlib import AbstractContextManager, ExitStack
from typing import Any

from requisition.runtime.admission import Admitted, admit
from requisition.runtime.diffs import change_diff
from requisition.runtime.elevation import elevate
from requisition.runtime.execute import Ending, conclude, execute
from requisition.runtime.executor import Rules
from requisition.runtime.frames import ExitStatus, Request, Result
from requisition.runtime.hydrate import Hydrated, hydrate
from requisition.runtime.inputs import Inputs
from requisition.runtime.layout import StateDir, new_run_id
from requisition.runtime.lock import Holder, hold
from requisition.runtime.preflight import PreflightHost, Prospect, Report, preflight
from requisition.runtime.prepare import Progress
from requisition.runtime.registry import Registry
from requisition.runtime.run import Ground, Run, Watch, stamp
from requisition.runtime.settled import standing, unbound
from requisition.schemas.diagnostic import BadInput, Conflicted, Diagnostic, Interrupted
from requisition.schemas.document import Order
from requisition.schemas.receipt import NodeRun
from requisition.stdlib.action import ActionError, Change


def apply(request: Request, watch: Watch) -> Result:
    """Verify, hydrate, lock, preflight; then run it, or report (`dry-run`). Raises a Failure when it was
    stopped before anything was touched."""
    with ExitStack() as resources:
        state = StateDir(request.state_dir)
        admitted = admit(request, state, watch)
        resources.callback(admitted.close)
        ground = Ground.open(state, admitted.target_root, resources)
        resources.enter_context(hold_root(ground, request, watch))
        _check_interrupted(ground)
        admitted.check_state(ground.view.head)
        watch.emit(admitted.event(watch.clock()))
        if request.only is None:
            stands = standing(admitted.order, admitted.checksum, ground.view, ground.root)
            if stands is not None:
                run = _open(unbound(admitted.order), request, admitted, ground, watch, resources)
                return _as_it_stands(run, request, stands)
        graph = hydrate(admitted.order, Registry())
        _check_secrets(graph.order, request)
        run = _open(graph, request, admitted, ground, watch, resources)
        elevate(run, request, "look" if request.verb == "dry-run" else "run", admitted, resources)
        only = _selection(graph, request.only)
        host = run.make_host(PreflightHost)
        settled = ground.view.settled(admitted.checksum)
        report = preflight(graph, host, run.values, request.on_conflict, only, settled)
        announce(run, report)
        if report.findings:
            raise BadInput(report.findings)
        if request.verb == "dry-run":
            return _dry_run(run, report, host, show_diff=request.diff)
        if report.conflicts:
            raise Conflicted(report.conflicts)
        return _run(run, request, report, admitted, only)


def _open(
    graph: Hydrated, request: Request, admitted: Admitted, ground: Ground, watch: Watch, resources: ExitStack
) -> Run:
    return Run(
        ground,
        graph,
        watch,
        resources,
        run_id=new_run_id(watch.now()),
        checksum=admitted.checksum,
        order_bytes=admitted.order_bytes,
        inputs=Inputs(admitted.order.inputs, admitted.source_root, admitted.blobs),
        secrets=request.secrets,
        admitted=admitted.admissions,
    )


def _as_it_stands(run: Run, request: Request, stands: tuple[NodeRun, ...]) -> Result:
    """Nothing to do, and known without a closer look."""
    counts = {"change": 0, "unchanged": len(stands), "unknown": 0}
    _announce_plan(run, counts)
    if request.verb == "dry-run":
        return Result(status="done", summary=counts)
    run.ledger.nodes.update({(node.node, ()): node for node in stands})
    return conclude(run, "executed", Ending("complete"), stands=True)


def hold_root(ground: Ground, request: Request, watch: Watch) -> AbstractContextManager[None]:
    """The lock of the target root, in the name of this request."""
    holder = Holder(os.getpid(), os.geteuid(), stamp(watch.now()), request.verb)
    return hold(ground.view.lock, holder, ground.root.path)


def _run(run: Run, request: Request, report: Report, admitted: Admitted, only: frozenset[int] | None) -> Result:
    counts = report.counts()
    bodies = any(phase.kind != "forward" for phase in run.graph.order.phases)
    if not bodies and not any(counts.get(status) for status in ("change", "unknown", "look")):
        for index, prospect in report.prospects.items():
            if prospect.status == "skip":
                run.ledger.other(run.graph.bound[index], (), "skipped", prospect.reason)
                continue
            left = prospect.found.left if prospect.found is not None else ()  # type: ignore[union-attr]
            run.ledger.unchanged(run.graph.bound[index], (), left, 0)
        return conclude(run, "executed", Ending("complete"))
    run.begin(request, admitted.source_root or "")
    rules = Rules(request.on_conflict, max(1, request.jobs))
    return execute(
        run, rules, keep_failed=request.keep_failed, prospects=report.prospects, progress=Progress(only=only)
    )


def _check_interrupted(ground: Ground) -> None:
    active = ground.view.head.active
    if active:
        raise Interrupted.of(
            f"the run {active} on {ground.root.path} was cut off",
            why="what it had begun must be finished or taken back first",
            next=f"plan resume {active}, or plan rollback {active}",
        )


def _check_secrets(order: Order, request: Request) -> None:
    missing = [secret for secret in order.secrets if secret.name not in request.secrets]
    if missing:
        raise BadInput(
            Diagnostic(
                what=f"the order needs the secret {secret.name!r}",
                why=secret.doc,
                next=f"add --secret {secret.name}=prompt, or {secret.name}=file:PATH",
            )
            for secret in missing
        )


def _selection(graph: Hydrated, only: tuple[str, ...] | None) -> frozenset[int] | None:
    """The chosen nodes and all they need."""
    if only is None:
        return None
    unknown = [name for name in only if name not in graph.by_id]
    if unknown:
        raise BadInput.of(f"the order has no node {unknown[0]!r}", next="plan show lists the nodes")
    chosen: set[int] = set()
    pending = [graph.by_id[name] for name in only]
    while pending:
        index = pending.pop()
        if index not in chosen:
            chosen.add(index)
            pending.extend(graph.by_id[need] for need in graph.order.nodes[index].needs)
    return frozenset(chosen)


def _announce_plan(run: Run, counts: dict[str, int]) -> None:
    order = run.graph.order
    size = {"nodes": len(order.nodes), "inputs": len(order.inputs), "bytes": sum(item.size for item in order.inputs)}
    tree = {"members": len(run.graph.order.members)} if run.graph.order.members else {}
    run.ledger.event("plan", data=counts | size | tree)


def announce(run: Run, report: Report) -> None:
    """Tell what preflight found."""
    _announce_plan(run, report.counts())
    order = run.graph.order
    for index, prospect in report.prospects.items():
        node = order.nodes[index]
        for conflict in prospect.conflicts:
            run.ledger.event(
                "conflict",
                node=node.id,
                location=node.location,
                text=f"{conflict.path}: a {conflict.found} is in the way",
                data={"path": conflict.path, "found": conflict.found, "wanted": conflict.wanted},
            )


def _dry_run(run: Run, report: Report, host: PreflightHost, *, show_diff: bool) -> Result:
    for index, prospect in report.prospects.items():
        if prospect.status == "unchanged":
            continue
        node = run.graph.order.nodes[index]
        data: dict[str, Any] = {"paths": _paths(prospect)}
        if show_diff:
            data["diff"] = prospect_diff(prospect, host)
        run.ledger.event(
            "preview",
            phase=node.phase,
            node=node.id,
            location=node.location,
            status=prospect.status,
            text=prospect.reason,
            data=data,
        )
    counts = report.counts()
    status: ExitStatus = "changes" if counts["change"] or counts["unknown"] else "done"
    if report.conflicts:
        return Result(status="conflict", summary=counts, diagnostics=tuple(report.conflicts))
    return Result(status=status, summary=counts)


def _paths(prospect: Prospect) -> list[str]:
    return [change.path for change in prospect.found.files] if isinstance(prospect.found, Change) else []


def prospect_diff(prospect: Prospect, host: PreflightHost) -> str:
    """What one node would change, for people."""
    found = prospect.found
    if not isinstance(found, Change):
        return ""
    text = []
    contents = found.contents or (None,) * len(found.files)
    for change, after in zip(found.files, contents, strict=True):
        before = _present(host, change.path) if change.prior.kind == "file" else None
        if after is None and change.expect.kind == "file":
            after = before if change.prior.kind == "file" and change.expect.sha256 == "" else None
        text.append(change_diff(change, before, after, sealed=found.sealed or change.expect.sealed))
    return "".join(text)


def _present(host: PreflightHost, path: str) -> bytes | None:
    try:
        return host.read(path, 1 << 20)
    except ActionError:
        return None
