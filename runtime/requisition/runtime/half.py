"""One session of the privileged half: looks, does and takes back single nodes of an order that was verified."""

from collections.abc import Mapping
from typing import Any

import msgspec

from requisition.runtime.batch import run_batch
from requisition.runtime.effects import NodeFailed
from requisition.runtime.ephemeral import NotNow
from requisition.runtime.executor import Executor, Rules
from requisition.runtime.flow import run_flow
from requisition.runtime.frames import Request
from requisition.runtime.halves import (
    BY_THE_OTHER,
    Answer,
    Close,
    Closed,
    Do,
    Found,
    Join,
    Look,
    Made,
    Question,
    Taken,
    Unable,
    Undo,
    filled,
    marks,
)
from requisition.runtime.host import RealHost
from requisition.runtime.hydrate import Bound, Hydrated, typed_slots
from requisition.runtime.journal import Intent, Unwinding
from requisition.runtime.preflight import PreflightHost, observe
from requisition.runtime.recover import Reopened
from requisition.runtime.restore import remove_temporaries
from requisition.runtime.run import Run
from requisition.runtime.unwind import Unwinder
from requisition.runtime.values import Unresolved, Values
from requisition.schemas.diagnostic import (
    BadInput,
    Refused,
)
from requisition.schemas.document import Node
from requisition.schemas.receipt import NodeRun
from requisition.stdlib.action import ActionError, Cancelled, GateClosed, Satisfied


class Given(Values):
    """Slots filled with what the other half gave for their marks."""

    now: Mapping[int, tuple[Any, ...]] = {}

    def resolve(self, node: Node, scope: tuple[int, ...]) -> dict[str, Any]:
        """The order's own slots; only where it has marks stands what was given."""
        values = self.now[self._by_id[node.id]]
        found: dict[str, Any] = filled(node.slots, iter(values))
        return found


class Half:
    """One session. `run` is None for the rollback of a run whose privileged half never began."""

    def __init__(self, run: Run | None, request: Request, reopened: Reopened | None, *, back: bool = False) -> None:
        """`reopened`: it goes on with what an earlier session did; `back`: to take it back."""
        self._run = run
        self._request = request
        self._reopened = reopened
        self._back = back
        self._begun = False
        self._tickets: dict[int, dict[int, tuple[Any, ...]]] = {}  # to nodes and what was given for them
        self._gave: dict[int, list[Mapping[str, Any]]] = {}
        self._clean = True
        self._looks = 0
        self.run_id = run.run_id if run is not None else ""
        if run is None:
            return
        run.values = self._values = Given(run.graph.by_id, run.graph.consumed, request.secrets, run.graph.gathers)
        self._host = reopened.host if reopened is not None else run.make_host(RealHost)
        self._preflight_host = run.make_host(PreflightHost)
        entries = [entry for entry in run.stack.entries if isinstance(entry, Intent)]
        self._next = max((entry.scope[0] for entry in entries), default=-1) + 1
        for record in reopened.replay.finished.values() if reopened is not None else ():
            if record.outputs is not None:
                self._gave.setdefault(record.node, []).append(record.outputs)

    def answer(self, question: Question) -> Answer | None:
        """Raises Failure for a question that is not allowed: the session is over then."""
        if self._reopened is not None and not self._begun:
            self._take_up(self._reopened)
        if isinstance(question, Undo):
            return self._undo(question)
        if isinstance(question, Close):
            return self._close(question)
        if isinstance(question, Join):
            return self._join(question)
        if isinstance(question, Look | Do):
            if self._run is None:
                raise Refused.of("there is nothing to do in a rollback of what never began")
            try:
                return self._look(question, self._run) if isinstance(question, Look) else self._do(question, self._run)
            except Cancelled as error:
                return Unable(str(error), kind="cancelled")
            except GateClosed as error:
                return Unable(str(error), kind="closed")
            except NotNow as error:
                return Unable(str(error), kind="later")
            except ActionError as error:
                return Unable(str(error), error.hint)
            except (BadInput, NodeFailed) as failure:
                return Unable("; ".join(one.what for one in failure.diagnostics), failure.diagnostics[0].next)
            except (Unresolved, OSError) as error:
                return Unable(str(error))
        return None

    def _take_up(self, opened: Reopened) -> None:
        """Go on with a half that began earlier, at the first question. For a resume, what it had not finished is
        taken back; commands are not, as in any resume."""
        run, found = opened.run, opened.replay
        run.take_up([Unwinding("asked for")] if self._back else [])
        run.mark_active()
        self._begun = True
        doubtful = found.stack.part(0, found.unfinished)
        for entry in doubtful.entries:
            if isinstance(entry, Intent):
                remove_temporaries(opened.host, entry.files)
        if not self._back:
            own = found.stack.part(0, lambda intent: found.unfinished(intent) and not _reaches_out(run.graph, intent))
            Unwinder(run.graph, opened.host, run.journal, run.ledger, own, crash=opened.crash).unwind()
            found.stack.undone |= own.undone
            run.ledger.rollback.clear()

    # looking and doing ---------------------------------------------------------------------------

    def _look(self, asked: Look, run: Run) -> Answer:
        one = self._allowed(asked, run.graph)
        host = self._preflight_host if asked.preflight else self._host
        self._values.now = {one.index: asked.given}
        prospect = observe(one, self._preflight_host, self._values) if asked.preflight else None
        if prospect is not None and prospect.status == "unknown":
            raise NotNow(prospect.reason)
        if prospect is not None and prospect.conflicts and self._policy(one) == "stop":
            first = prospect.conflicts[0]
            raise ActionError(
                f"{first.path}: a {first.found} is in the way",
                "look at it, then choose --on-conflict backup or overwrite",
            )
        if prospect is not None and prospect.found is not None:
            found = prospect.found
        else:
            self._looks += 1
            host.forget_before(self._looks)  # the other half moves things too
            host.forget_answers()
            host.sealed = one.secret
            found = one.action.observe(host, self._typed(one))  # type: ignore[union-attr]
        outputs = self._shared(one, found.outputs, run)
        if isinstance(found, Satisfied):
            return Found(outputs=outputs)
        ticket, self._next = self._next, self._next + 1
        self._tickets[ticket] = {one.index: asked.given}
        return Found(ticket, found.reason, found.looks, outputs)

    def _typed(self, one: Bound) -> Any:
        assert one.action is not None
        return one.slots or typed_slots(one.node, one.action, self._values.resolve(one.node, ()))

    def _policy(self, one: Bound) -> str:
        return one.node.on_conflict or self._request.on_conflict

    def _allowed(self, asked: Look, graph: Hydrated) -> Bound:
        """The node, if it is one of ours and what was given may stand in it. Raises Refused."""
        one = graph.bound[asked.node] if 0 <= asked.node < len(graph.bound) else None
        if one is None or one.action is None or not one.node.elevate:
            raise Refused.of(
                f"node {asked.node} does not run as root" if one is None else f"{one.node.id} does not run as root",
                why="the order does not mark it with plan.elevate",
            )
        places = [mark for value in one.node.slots.values() for mark in marks(value)]
        if len(places) != len(asked.given):
            raise Refused.of(f"{one.node.id} leaves {len(places)} values open, {len(asked.given)} were given")
        for mark, value in zip(places, asked.given, strict=True):
            self._check(one, mark, value, graph)
        return one

    def _check(self, one: Bound, mark: Mapping[str, str], value: Any, graph: Hydrated) -> None:
        """Raises Refused for a value that is known to be another one."""
        if "$secret" in mark:
            same = self._request.secrets.get(mark["$secret"]) == value
        elif "$ref" in mark:
            source = graph.bound[graph.by_id[mark["$ref"]]]
            if not source.node.elevate or source.action is None:
                return
            gave = self._gave.get(source.index, [])
            same = any(_output(outputs, mark) == value for outputs in gave)
        else:
            items = graph.order.nodes[graph.by_id[mark["$item"]]].slots.get("items")
            if not isinstance(items, list) or any(True for _ in marks(items)):
                return
            field = mark.get("field")
            same = any((item.get(field) if field and isinstance(item, dict) else item) == value for item in items)
        if not same:
            raise Refused.of(
                f"{one.node.id} was given a value that {next(iter(mark.values()))} does not have",
                where=one.node.location,
                why="the privileged half knows the true one",
            )

    def _shared(self, one: Bound, outputs: Mapping[str, Any] | None, run: Run) -> dict[str, Any] | None:
        """Outputs that another node uses, and nothing else: they leave the privileged half."""
        if outputs is None or one.index not in run.graph.consumed:
            return None
        self._gave.setdefault(one.index, []).append(dict(outputs))
        return dict(outputs)

    def _join(self, asked: Join) -> Answer:
        joined: dict[int, tuple[Any, ...]] = {}
        for ticket in asked.tickets:
            found = self._redeem(ticket)
            if joined.keys() & found.keys():
                raise Refused.of("a node cannot be done together with itself")
            joined.update(found)
        self._tickets[asked.tickets[0]] = joined
        return Found(asked.tickets[0])

    def _redeem(self, ticket: int) -> dict[int, tuple[Any, ...]]:
        """A ticket is good once. Raises Refused."""
        found = self._tickets.pop(ticket, None)
        if found is None:
            raise Refused.of("this ticket was not given for a look of this session")
        return found

    def _do(self, asked: Do, run: Run) -> Answer:
        self._values.now = now = self._redeem(asked.ticket)
        self._begin(run)
        scope, executor = (asked.ticket,), self._executor(run)
        if len(now) == 1:
            executor.again(run.graph.bound[next(iter(now))], scope, self._host)
        else:
            run_batch(executor.preparer, [run.graph.bound[index] for index in now], scope, self._host)
        self._host.sync()  # before the other half may call it finished
        run.journal.commit()
        return Made(tuple(self._outputs(index, scope, run) for index in now))

    def _outputs(self, index: int, scope: tuple[int, ...], run: Run) -> dict[str, Any] | None:
        if index not in run.graph.consumed:
            return None
        return self._shared(run.graph.bound[index], self._values.outputs(index, scope), run)

    def _begin(self, run: Run) -> None:
        if not self._begun:
            run.begin(self._request, "", verb="elevated")
            self._begun = True

    def _executor(self, run: Run) -> Executor:
        return Executor(
            run.graph,
            self._host,
            run.journal,
            run.values,
            run.ledger,
            run.stack,
            Rules(self._request.on_conflict, 1),
            flow=run_flow,
            cancelled=run.watch.cancelled,
        )

    # taking back and ending ----------------------------------------------------------------------

    def _undo(self, asked: Undo) -> Taken:
        if self._run is None or not self._begun:
            return Taken("done")
        run = self._run
        crash = self._reopened.crash if self._reopened is not None else None
        part = run.stack.part(0, lambda intent: (intent.scope, intent.node) == ((asked.ticket,), asked.node))
        before = len(run.ledger.rollback)
        Unwinder(run.graph, self._host, run.journal, run.ledger, part, crash=crash).unwind()
        run.stack.undone |= part.undone
        entries = run.ledger.rollback[before:]
        worst = next((entry for entry in entries if entry.status != "done"), None)
        if worst is None:
            return Taken("done")
        self._clean = self._clean and worst.status != "failed"
        return Taken(worst.status, worst.error)

    def _close(self, asked: Close) -> Closed:
        if self._run is None or not self._begun:
            return Closed()
        run = self._run
        _settle_nodes(run)
        if self._reopened is not None and asked.state == "rolled_back":
            run.finish_rollback(self._clean)
        else:
            run.finish(asked.state, asked.outcome, asked.message)
        self._begun = False
        self._run = None
        return Closed(run.run_id, run.ground.view.head.last_receipt)


def _reaches_out(graph: Hydrated, intent: Intent) -> bool:
    action = graph.bound[intent.node].action
    return action is not None and action.spec.effect == "outside"


def _output(outputs: Mapping[str, Any], mark: Mapping[str, str]) -> Any:
    return outputs.get(mark.get("output") or next(iter(outputs), ""))


def _settle_nodes(run: Run) -> None:
    """The records of a receipt: a node that was done once stands without its ticket, and nodes of the other
    half are told as such."""
    times: dict[int, int] = {}
    for node, _ in run.ledger.nodes:
        times[node] = times.get(node, 0) + 1
    records = {
        (node, scope if times[node] > 1 else ()): msgspec.structs.replace(
            record, scope=scope if times[node] > 1 else ()
        )
        for (node, scope), record in run.ledger.nodes.items()
    }
    for one in run.graph.bound:
        if one.index not in times:
            why = "nothing to do" if one.node.elevate else BY_THE_OTHER
            records[one.index, ()] = NodeRun(one.index, "skipped", reason=why)
    run.ledger.nodes.clear()
    run.ledger.nodes.update(records)
