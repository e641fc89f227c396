"""`resume` and `rollback`: what is done with a run from its journal, after a crash or at any later time."""

import os
import time
from contextlib import ExitStack

import msgspec
from msgspec import Struct

from requisition.runtime.admission import Admitted, admit, readmit
from requisition.runtime.apply import hold_root
from requisition.runtime.elevation import elevate
from requisition.runtime.execute import execute, take_all_back
from requisition.runtime.executor import Executor, Rules
from requisition.runtime.flow import run_flow
from requisition.runtime.frames import Request, Result
from requisition.runtime.halves import Opens
from requisition.runtime.host import RealHost
from requisition.runtime.hydrate import hydrate
from requisition.runtime.inputs import Inputs
from requisition.runtime.journal import Intent, Record, Unwinding, read_journal
from requisition.runtime.layout import StateDir
from requisition.runtime.machine import boot_id, boot_time_ns
from requisition.runtime.obstacles import obstacles
from requisition.runtime.prepare import Progress
from requisition.runtime.receipts import read_trace
from requisition.runtime.registry import Registry
from requisition.runtime.replay import Replay, crash_window, replay
from requisition.runtime.restore import CrashWindow, remove_temporaries
from requisition.runtime.run import Ground, Run, Watch
from requisition.runtime.runinfo import RunInfo, read_info, run_order, standing_receipt
from requisition.runtime.unwind import RecoveryStack, Unwinder
from requisition.schemas.diagnostic import BadInput, Conflicted

Scope = tuple[int, ...]


class Reopened(Struct):
    """A run taken up from disk, ready to go either way."""

    run: Run
    replay: Replay
    host: RealHost
    crash: CrashWindow | None


def resume(request: Request, watch: Watch) -> Result:
    """Finish a run that was cut off: what was in doubt is taken back, the rest is done."""
    with ExitStack() as resources:
        info = find_run(StateDir(request.state_dir), request.run_id, interrupted=True)
        opened = reopen(request, watch, info, resources, trusted=True)
        run, found = opened.run, opened.replay
        if found.unwinding is not None:
            return _unwind(opened, [], found.unwinding)
        run.take_up([])
        done, doubtful = _settle(opened)
        begun = found.begun
        rules = Rules(begun.on_conflict, max(1, request.jobs))
        only = frozenset(run.graph.by_id[name] for name in begun.only) if begun.only else None
        return execute(run, rules, keep_failed=begun.keep_failed, progress=Progress(done, doubtful, only))


def rollback(request: Request, watch: Watch) -> Result:
    """Take a run back, finished or cut off. Raises Conflicted, before anything is touched, when someone
    changed what it left, unless the request forces it: then what can be taken back is."""
    with ExitStack() as resources:
        info = find_run(StateDir(request.state_dir), request.run_id, interrupted=False)
        if info.state == "rolled_back":
            raise BadInput.of(f"{info.run_id} was rolled back already", next="plan receipts shows what stands")
        opened = reopen(request, watch, info, resources, trusted=False)
        stack = _part(opened, request.members) if request.members else opened.replay.stack
        if not request.force:
            found = list(obstacles(stack, opened.run.graph, opened.host, opened.crash))
            if found:
                raise Conflicted(found)
        if request.members:
            return _unwind_part(opened, stack)
        return _unwind(opened, [Unwinding("asked for")], "asked for")


def _part(opened: Reopened, members: tuple[str, ...]) -> RecoveryStack:
    """What some packages of a tree did in a run. Raises BadInput for a run that was cut off: which of its effects were
    made is not known by package."""
    if opened.replay.ended is None:
        raise BadInput.of(f"{opened.run.run_id} was cut off", next="plan resume or plan rollback it first")
    order, bound = opened.run.graph.order, opened.run.graph.bound
    mine = {index for index, phase in enumerate(order.phases) if phase.member in members}
    names = {order.phases[index].id for index in mine}
    return opened.replay.stack.part(0, lambda intent: bound[intent.node].phase in mine, names)


def _unwind_part(opened: Reopened, part: RecoveryStack) -> Result:
    """Take back some packages of a run; the others stand."""
    run, whole = opened.run, opened.replay.stack
    if not part.entries:
        return Result(status="done", run_id=run.run_id, outcome="complete", data={"state": "executed"})
    run.take_up([])
    run.mark_active()
    executor = _compensator(opened)

    def compensate(phase: str) -> None:
        executor.run_phase(run.graph.phases[phase], (), opened.host)

    unwinder = Unwinder(
        run.graph, opened.host, run.journal, run.ledger, part, crash=opened.crash, compensate=compensate
    )
    clean = unwinder.unwind()
    whole.undone |= part.undone
    receipt, path = run.finish_rollback(clean, paths=part.paths(), stands=whole.stands())
    return Result(
        status="done" if clean else "failed",
        run_id=run.run_id,
        receipt=path,
        outcome="complete" if clean else "error",
        summary=receipt.summary,
        diagnostics=tuple(run.ledger.problems),
        data={"state": receipt.state, "message": "asked for"},
    )


def _unwind(opened: Reopened, records: list[Record], why: str) -> Result:
    run = opened.run
    run.take_up(records)
    run.mark_active()
    for entry in opened.replay.stack.entries:
        if isinstance(entry, Intent) and opened.replay.unfinished(entry):
            remove_temporaries(opened.host, entry.files)
    clean = take_all_back(run, opened.host, why, _compensator(opened), opened.crash)
    receipt, path = run.finish_rollback(clean)
    return Result(
        status="done" if clean else "failed",
        run_id=run.run_id,
        receipt=path,
        outcome="complete" if clean else "error",
        summary=receipt.summary,
        diagnostics=tuple(run.ledger.problems),
        data={"state": receipt.state, "message": why},
    )


def find_run(state: StateDir, run_id: str, *, interrupted: bool) -> RunInfo:
    """The run of that id; without an id the only interrupted one, or else (for a rollback) the newest
    that stands. A receipt's path is taken for the id in it."""
    if run_id:
        wanted = os.path.basename(os.path.dirname(run_id)) if "/" in run_id else run_id
        if not wanted or wanted.startswith(".") or not os.path.isdir(state.run(wanted)):
            raise BadInput.of(f"there is no run {wanted!r}", next="plan receipts lists all runs")
        info = read_info(state.run(wanted))
        if info is None:
            raise BadInput.of(f"{wanted} was cut off before it began anything", next="nothing to do")
        return info
    infos = [info for name in state.run_ids() if (info := read_info(state.run(name))) is not None]
    cut_off = [info for info in infos if info.state == "running" and has_begun(state.run(info.run_id))]
    if len(cut_off) == 1:
        return cut_off[0]
    if cut_off:
        names = ", ".join(info.run_id for info in cut_off)
        raise BadInput.of("several runs were cut off", why=names, next="name one of them")
    if interrupted:
        raise BadInput.of("no run was cut off", next="plan receipts lists all runs")
    standing = [info for info in infos if info.state in ("executed", "failed")]
    changed = [info for info in standing if set(info.summary) - {"unchanged", "skipped"}]
    if not changed:
        raise BadInput.of("there is nothing to roll back", next="plan receipts lists all runs")
    return changed[-1]


def has_begun(directory: str) -> bool:
    """Whether a run came so far that something could have been done: its journal has a whole record."""
    path = f"{directory}/journal"
    return os.path.exists(path) and bool(read_journal(path))


def reopen(request: Request, watch: Watch, info: RunInfo, resources: ExitStack, *, trusted: bool) -> Reopened:
    """Open a run's journal and order again, under the lock of its target root."""
    state = StateDir(request.state_dir)
    directory = state.run(info.run_id)
    copy = run_order(directory)
    if copy is None or not os.path.exists(f"{directory}/journal"):
        raise BadInput.of(f"{info.run_id} changed nothing", where=directory, next="plan receipts lists all runs")
    again = msgspec.structs.replace(
        request,
        order_path=copy,
        target_root=info.target_root,
        source_root=request.source_root or info.source_root,
    )
    admitted: Admitted = admit(again, state, watch) if trusted else readmit(again, watch, info.order_checksum)
    resources.callback(admitted.close)
    ground = Ground.open(state, info.target_root, resources)
    resources.enter_context(hold_root(ground, request, watch))
    graph = hydrate(admitted.order, Registry())
    run = Run(
        ground,
        graph,
        watch,
        resources,
        run_id=info.run_id,
        checksum=admitted.checksum,
        order_bytes=admitted.order_bytes,
        inputs=Inputs(admitted.order.inputs, admitted.source_root if trusted else None, admitted.blobs),
        secrets=request.secrets,
        admitted=admitted.admissions,
    )
    run.info = info
    if info.verb == "elevated" and trusted:
        raise BadInput.of(
            f"{info.run_id} is the privileged half of a run", next="resume that run, as the user that it belongs to"
        )
    verb: Opens = "resume" if trusted else "rollback"
    elevate(run, msgspec.structs.replace(again, elevate=info.elevate), verb, admitted, resources)
    found = replay(read_journal(f"{directory}/journal"), graph, f"{directory}/journal")
    if found.ended is not None and trusted:
        raise BadInput.of(f"{info.run_id} has ended ({found.ended})", next="plan receipts shows it")
    run.started = found.begun.started
    run.stack = found.stack
    if found.ended is not None and (last := standing_receipt(directory)):
        earlier = read_trace(last)
        run.ledger.nodes.update({(node.node, node.scope): node for node in earlier.nodes})
    else:
        run.ledger.nodes.update(found.node_runs())
    window = crash_window(found, boot_id(), boot_time_ns(), time.time_ns(), assume=request.after_power_loss)
    return Reopened(run, found, run.make_host(RealHost), window)


def _settle(opened: Reopened) -> tuple[frozenset[tuple[int, Scope]], frozenset[tuple[int, Scope]]]:
    """Take back what is in doubt; the nodes that need not be done again, and those that may have been done, because
    their effect is outside of files and their intent stands.

    After a mere kill, whatever the journal calls finished is finished. After a power loss only completed
    phases are: the files of a later node may be torn, so its intent is taken back and it is done again.
    """
    run, found = opened.run, opened.replay
    phases = run.graph.order.phases

    def doubtful(intent: Intent) -> bool:
        settled = phases[run.graph.bound[intent.node].phase].id in found.settled
        return found.unfinished(intent) or (opened.crash is not None and not settled)

    redo: set[tuple[int, Scope]] = set()
    part = found.stack.part(0, doubtful)
    for entry in part.entries:
        if isinstance(entry, Intent):
            redo.add((entry.node, entry.scope))
            remove_temporaries(opened.host, entry.files)
    in_doubt = RecoveryStack()
    for entry, position in zip(part.entries, part.positions, strict=True):
        action = run.graph.bound[entry.node].action if isinstance(entry, Intent) else None
        if action is not None and action.spec.effect != "outside":
            in_doubt.entries.append(entry)
            in_doubt.positions.append(position)
            in_doubt.begun.add(position)
    Unwinder(run.graph, opened.host, run.journal, run.ledger, in_doubt, crash=opened.crash).unwind()
    found.stack.undone |= in_doubt.undone
    done = set()
    undone = found.taken_back()
    for key, record in found.finished.items():
        node, scope = key
        needs_outputs = node in run.graph.consumed and record.outputs is None
        if key in redo or key in undone or needs_outputs:
            continue
        if record.outputs is not None:
            run.values.set_outputs(node, scope, record.outputs)
        done.add(key)
    for key in redo:
        run.ledger.nodes.pop(key, None)
    run.ledger.rollback.clear()
    kept = {(i.node, i.scope) for i in found.stack.part(0, found.unfinished).entries if isinstance(i, Intent)}
    return frozenset(done), frozenset(kept)


def _compensator(opened: Reopened) -> Executor:
    """Runs compensation phases during an unwind."""
    run = opened.run
    return Executor(
        run.graph,
        opened.host,
        run.journal,
        run.values,
        run.ledger,
        RecoveryStack(),
        Rules(),
        flow=run_flow,
        cancelled=lambda: False,
    )
