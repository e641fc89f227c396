"""Packages of a tree: those that do not need each other run side by side. One that fails is taken back by itself,
those that need it are halted, and the rest goes on.
"""

from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from requisition.runtime.effects import NodeFailed
from requisition.schemas.diagnostic import Diagnostic
from requisition.schemas.document import Order, Phase, TreeMember

if TYPE_CHECKING:
    from requisition.runtime.executor import Executor


def run_members(executor: "Executor") -> tuple[Diagnostic, ...]:
    """Every member once; what failed, in the order of the members, empty when nothing did. Raises what ends a run:
    Cancelled, Stopped, OSError."""
    order = executor.graph.order
    phases = _phases(order)
    failed: dict[str, tuple[Diagnostic, ...]] = {}
    halted: dict[str, str] = {}
    waiting = {member.path: member for member in order.members}
    running: dict[Future[None], TreeMember] = {}
    done: set[str] = set()
    with ThreadPoolExecutor(max(1, executor.rules.jobs), "package") as pool:
        try:
            while waiting or running:
                _halt(executor, waiting, phases, failed.keys() | halted.keys(), halted)
                for path in [path for path, member in waiting.items() if done.issuperset(member.needs)]:
                    member = waiting.pop(path)
                    running[pool.submit(_run_member, executor, phases[path])] = member
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    member = running.pop(future)
                    try:
                        future.result()
                        done.add(member.path)
                    except NodeFailed as failure:
                        failed[member.path] = failure.diagnostics
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    executor.effects.end_phases([phase for path in done for _, phase in phases[path]])
    return tuple(_findings(order, failed, halted))


def _phases(order: Order) -> dict[str, list[tuple[int, Phase]]]:
    found: dict[str, list[tuple[int, Phase]]] = {member.path: [] for member in order.members}
    for index, phase in enumerate(order.phases):
        if phase.kind == "forward":
            found[phase.member].append((index, phase))
    return found


def _run_member(executor: "Executor", phases: list[tuple[int, Phase]]) -> None:
    """On a worker thread: the phases of one package; when one fails, what the package did is taken back."""
    if not phases:
        return
    own = executor.host.view()
    try:
        for index, phase in phases:
            executor.run_phase(index, (), own)
            if phase.compensate:
                executor.effects.end_phase(phase)
    except NodeFailed:
        if not executor.rules.keep_failed:
            executor.take_back_member(phases[0][1].member, own)
        raise
    finally:
        own.root.close()


def _halt(
    executor: "Executor",
    waiting: dict[str, TreeMember],
    phases: dict[str, list[tuple[int, Phase]]],
    stopped: set[str],
    halted: dict[str, str],
) -> None:
    """Those that need what failed, or what was halted itself, are not begun."""
    for path, member in list(waiting.items()):
        cause = next((need for need in member.needs if need in stopped), None)
        if cause is None:
            continue
        del waiting[path]
        stopped.add(path)
        halted[path] = halted.get(cause, cause)
        for index, _ in phases[path]:
            for node in executor.graph.members[index]:
                reason = f"halted: {halted[path] or 'the root'} failed"
                executor.ledger.other(executor.graph.bound[node], (), "skipped", reason)


def _findings(order: Order, failed: dict[str, tuple[Diagnostic, ...]], halted: dict[str, str]) -> list[Diagnostic]:
    found: list[Diagnostic] = []
    for member in order.members:
        if member.path not in failed:
            continue
        found += failed[member.path]
        above = [path or "the root" for path, cause in halted.items() if cause == member.path]
        if above:
            found.append(
                Diagnostic(
                    what=f"halted, because {member.path or 'the root'} failed: {', '.join(above)}",
                    next="mend it and sync again: what was installed is not done twice",
                )
            )
    return found
