"""Run an order's nodes and end the run by what came of it: done, stopped, failed and taken back, kept."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import msgspec
from msgspec import Struct

from requisition.runtime.effects import NodeFailed
from requisition.runtime.executor import Executor, Rules, Stopped
from requisition.runtime.flow import run_flow
from requisition.runtime.frames import Result
from requisition.runtime.host import RealHost
from requisition.runtime.journal import Unwinding
from requisition.runtime.preflight import Prospect
from requisition.runtime.prepare import AT_THE_START, Progress
from requisition.runtime.restore import CrashWindow
from requisition.runtime.run import Run
from requisition.runtime.unwind import Unwinder
from requisition.schemas.diagnostic import Diagnostic, Failure, Interrupted
from requisition.schemas.receipt import Outcome, RunState
from requisition.stdlib.action import Cancelled


class Ending(Struct, frozen=True):
    """How the forward walk ended."""

    outcome: Outcome
    message: str = ""
    diagnostics: tuple[Diagnostic, ...] = ()
    partial: bool = False
    """Some packages of a tree failed, and were taken back by themselves."""

    @property
    def good(self) -> bool:
        """Whether what was done stays."""
        return self.outcome in ("complete", "degraded")


def execute(
    run: Run,
    rules: Rules,
    *,
    keep_failed: bool,
    prospects: Mapping[int, Prospect] = MappingProxyType({}),
    progress: Progress = AT_THE_START,
) -> Result:
    """Walk forward, unwind when that fails, and leave a receipt."""
    host = run.make_host(RealHost)
    executor = Executor(
        run.graph,
        host,
        run.journal,
        run.values,
        run.ledger,
        run.stack,
        msgspec.structs.replace(rules, keep_failed=keep_failed),
        flow=run_flow,
        cancelled=run.watch.cancelled,
        prospects=prospects,
        progress=progress,
        held=run.held_by_others(),
    )
    ending = _walk(executor, run.watch.leave)
    if ending.good:
        _mark_unreached(run)
        return conclude(run, "executed", ending)
    if ending.partial:
        return conclude(run, "executed" if run.stack.stands() else "rolled_back", ending)
    if keep_failed:
        return conclude(run, "failed", ending)
    clean = take_all_back(run, host, ending.message, executor)
    return conclude(run, "rolled_back" if clean else "failed", ending)


def _walk(executor: Executor, leave: Callable[[], bool]) -> Ending:
    """Raises Interrupted when the run is to be left to its journal."""
    try:
        failed = executor.run()
        if failed:
            return Ending("error", failed[0].what, failed, partial=True)
    except Stopped as stop:
        if stop.outcome == "complete":
            return Ending("complete", str(stop))
        if stop.outcome == "degraded":
            return Ending("degraded", str(stop))
        finding = Diagnostic(what=f"the order ended itself: {stop}", next="see the package for what it asks")
        return Ending("fatal", str(stop), (finding,))
    except NodeFailed as failure:
        return Ending("error", failure.diagnostics[0].what, failure.diagnostics)
    except Cancelled as error:
        if leave():
            raise Interrupted.of(
                "the run was left as it stands: whoever asked for it is gone",
                why="what it had begun is in its journal",
                next="plan resume finishes it, plan rollback takes it back",
            ) from error
        return Ending("error", str(error), (Diagnostic(what=str(error), why="a signal asked for it"),))
    except Interrupted:
        raise  # the privileged half is gone: nothing can be taken back without it
    except Failure as failure:
        return Ending("error", str(failure), failure.diagnostics)
    except OSError as error:
        where = str(error.filename or "")
        finding = Diagnostic(what=f"the run cannot go on: {error.strerror}", where=where, next="see `doctor`")
        return Ending("error", finding.what, (finding,))
    return Ending("complete")


def take_all_back(
    run: Run, host: RealHost, why: str, executor: Executor | None, crash: CrashWindow | None = None
) -> bool:
    """Unwind the whole recovery stack; True when everything is as before."""
    run.ledger.event("phase", status="rolled_back", text=why)
    run.journal.note(Unwinding(why))
    compensate = None
    if executor is not None:
        forward = executor

        def compensate(phase: str) -> None:
            forward.run_phase(run.graph.phases[phase], (), host)

    unwinder = Unwinder(run.graph, host, run.journal, run.ledger, run.stack, crash=crash, compensate=compensate)
    return unwinder.unwind()


def conclude(run: Run, state: RunState, ending: Ending, *, stands: bool = False) -> Result:
    """The receipt, and the result frame that tells of it."""
    receipt, path = run.finish(state, ending.outcome, ending.message, stands=stands)
    return Result(
        status="done" if ending.good else "failed",
        run_id=run.run_id,
        receipt=path,
        outcome=ending.outcome,
        summary=receipt.summary,
        diagnostics=ending.diagnostics + tuple(run.ledger.problems),
        data={"state": state, "message": ending.message},
    )


def _mark_unreached(run: Run) -> None:
    """After flow.complete or flow.degraded: nodes that were not reached are skipped, with the reason."""
    for one in run.graph.bound:
        phase = run.graph.order.phases[one.phase]
        if phase.kind == "forward" and (one.index, ()) not in run.ledger.nodes:
            run.ledger.other(one, (), "skipped", "not part of this run")
