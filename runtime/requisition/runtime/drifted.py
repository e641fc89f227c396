"""Diffs of what drifted: the orders that made the paths are taken up again, to see what they would change now."""

from collections.abc import Iterable
from contextlib import ExitStack

import msgspec

from requisition.runtime.admission import readmit
from requisition.runtime.apply import prospect_diff
from requisition.runtime.frames import Event, Request
from requisition.runtime.hydrate import hydrate
from requisition.runtime.inputs import Inputs
from requisition.runtime.preflight import PreflightHost, observe
from requisition.runtime.registry import Registry
from requisition.runtime.run import Ground, Run, Watch
from requisition.runtime.runinfo import read_info, run_order
from requisition.runtime.state import Entry
from requisition.schemas.diagnostic import Failure
from requisition.stdlib.action import ActionError, Change


def tell_diffs(request: Request, watch: Watch, ground: Ground, drifted: Iterable[Entry], resources: ExitStack) -> None:
    """Content diffs, from the orders that made the drifted paths, where their inputs are still at hand."""
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
