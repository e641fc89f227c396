"""Nodes that decide what runs: gather, choose, wait_until, and the three that end a run."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from requisition.runtime.effects import NodeFailed, Scope
from requisition.runtime.executor import Executor, Stopped, as_plain
from requisition.runtime.host import RealHost
from requisition.runtime.hydrate import Bound
from requisition.runtime.predicate import PredicateError, holds
from requisition.runtime.values import Unresolved
from requisition.stdlib.action import ActionError

if TYPE_CHECKING:
    from concurrent.futures import Future

MAX_ITEMS = 100_000


def run_flow(executor: Executor, one: Bound, scope: Scope, host: RealHost) -> None:
    """Execute one flow node on a worker thread."""
    _HANDLERS[one.node.action](executor, one, scope, host)


def _gather(executor: Executor, one: Bound, scope: Scope, host: RealHost) -> None:
    """The body once an item, at most `limit` at a time; results in item order. A failing iteration takes
    back what it did and fails the gather; iterations that have not begun are not begun."""
    from concurrent.futures import ThreadPoolExecutor

    slots = executor.values.resolve(one.node, scope)
    items = slots.get("items")
    if not isinstance(items, list) or len(items) > MAX_ITEMS:
        raise ActionError(f"`items` must be a list of at most {MAX_ITEMS}, found {type(items).__name__}")
    body = executor.graph.phases[slots["body"]]
    for number, item in enumerate(items):
        executor.values.set_item(one.node.id, (*scope, number), item)

    def iteration(number: int) -> None:
        inner = (*scope, number)
        mark, own = len(executor.stack.entries), host.view()
        try:
            executor.run_phase(body, inner, own)
        except NodeFailed:
            executor.effects.take_back_scope(mark, inner, own)
            raise
        finally:
            own.root.close()

    limit = slots.get("limit") or executor.rules.jobs
    with ThreadPoolExecutor(max(1, min(limit, len(items) or 1)), "gather") as pool:
        running: list[Future[None]] = [pool.submit(iteration, number) for number in range(len(items))]
        try:
            for future in running:
                future.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    results = [_result(executor, body, (*scope, number)) for number in range(len(items))]
    executor.values.set_outputs(one.index, scope, {"results": results})


def _choose(executor: Executor, one: Bound, scope: Scope, host: RealHost) -> None:
    """The first case whose predicate holds, else the default; the result is the branch's last node's."""
    names = _names(executor, one, scope, host)
    chosen = one.node.slots.get("default") or ""
    for case in one.node.slots["cases"]:
        if _holds(case["when"], names, host):
            chosen = case["body"]
            break
    if not chosen:
        executor.values.set_outputs(one.index, scope, {"result": None})
        return
    executor.ledger.event("log", node=one.node.id, scope=scope, text=f"chose {chosen}")
    phase = executor.graph.phases[chosen]
    executor.run_phase(phase, scope, host)
    executor.values.set_outputs(one.index, scope, {"result": _result(executor, phase, scope)})


def _wait_until(executor: Executor, one: Bound, scope: Scope, host: RealHost) -> None:
    """Poll until the predicate holds. Each poll runs the body, or the repeatable node of `input`, anew;
    a poll that fails counts as one in which the predicate does not hold."""
    slots = one.node.slots
    timeout, interval = slots.get("timeout", 60_000), slots.get("interval", 5_000)
    deadline = host.now_ms() + timeout
    last = "the condition never held"
    while True:
        try:
            names = _poll(executor, one, scope, host)
            if _holds(slots["until"], names, host):
                executor.values.set_outputs(one.index, scope, {"result": names.get("value")})
                return
        except NodeFailed as failure:
            last = failure.diagnostics[0].what
        if host.now_ms() + interval > deadline:
            raise ActionError(f"not so after {timeout} ms: {last}", "raise `timeout`, or find out why")
        host.sleep_ms(interval)


def _poll(executor: Executor, one: Bound, scope: Scope, host: RealHost) -> Mapping[str, Any]:
    body = one.node.slots.get("body")
    if body:
        phase = executor.graph.phases[body]
        executor.run_phase(phase, scope, host)
        return _with_facts(host, _last_outputs(executor, phase, scope), executor, one, scope)
    source = executor.graph.bound[one.refs[0]]
    if source.action is None or not source.action.spec.repeatable:
        raise ActionError(f"{source.node.id} cannot be polled: {source.node.action} is not repeatable")
    executor.again(source, scope, host)
    return _with_facts(host, executor.values.outputs(source.index, scope), executor, one, scope)


def _stop(executor: Executor, one: Bound, scope: Scope, _host: RealHost) -> None:
    message = executor.values.resolve(one.node, scope).get("message", "")
    raise Stopped(one.node.action.removeprefix("flow."), str(message))


def _names(executor: Executor, one: Bound, scope: Scope, host: RealHost) -> Mapping[str, Any]:
    given = one.node.slots.get("input")
    outputs: Mapping[str, Any] = {}
    if isinstance(given, dict) and "$ref" in given and not given.get("output"):
        outputs = executor.values.outputs(executor.graph.by_id[given["$ref"]], scope)
    elif given is not None:
        outputs = {"value": executor.values.value(given, scope)}
    return _with_facts(host, outputs, executor, one, scope)


def _with_facts(
    host: RealHost, outputs: Mapping[str, Any], executor: Executor, one: Bound, scope: Scope
) -> Mapping[str, Any]:
    names: dict[str, Any] = {**host.facts(), **outputs}
    names.setdefault("value", next(iter(outputs.values()), None))
    item = executor.values.item_of(one.node.phase, scope)
    if item is not None:
        names["item"] = item
    return names


def _holds(tree: Any, names: Mapping[str, Any], host: RealHost) -> bool:
    try:
        return holds(tree, names, lambda path: host.lstat(path) is not None)
    except PredicateError as error:
        raise ActionError(f"its condition cannot be decided: {error}") from error


def _last_outputs(executor: Executor, phase: int, scope: Scope) -> Mapping[str, Any]:
    members = executor.graph.members[phase]
    if not members:
        return {}
    try:
        return executor.values.outputs(members[-1], scope)
    except Unresolved:
        return {}


def _result(executor: Executor, phase: int, scope: Scope) -> Any:
    outputs = _last_outputs(executor, phase, scope)
    return as_plain(next(iter(outputs.values()), None))


_HANDLERS = {
    "flow.gather": _gather,
    "flow.choose": _choose,
    "flow.wait_until": _wait_until,
    "flow.complete": _stop,
    "flow.degraded": _stop,
    "flow.fatal": _stop,
}
