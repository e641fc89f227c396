"""The unprivileged side of an elevated run: nodes that need root are done by asking the privileged half.

Each such node gets an action in the place of its own: to executor, journal and unwinder it looks like any
action with an effect outside, whose undo data is the ticket under which the half keeps what it did.
"""

import os
import subprocess
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, NoReturn

import msgspec
from msgspec import Struct

from requisition.runtime.admission import Admitted
from requisition.runtime.bundling import Stream, bundled
from requisition.runtime.ephemeral import NotNow, is_ephemeral
from requisition.runtime.frames import FrameError, Request, readable, write_frame
from requisition.runtime.halves import (
    Answer,
    Close,
    Closed,
    Denied,
    Do,
    Found,
    Halt,
    Join,
    Look,
    Made,
    Opening,
    Opens,
    Question,
    Ready,
    Said,
    Taken,
    Unable,
    Undo,
    given,
    read_answer,
)
from requisition.runtime.hydrate import Bound, Hydrated, slot_names
from requisition.runtime.inputs import Inputs
from requisition.runtime.preflight import PreflightHost
from requisition.runtime.run import Run
from requisition.schemas import orderfile
from requisition.schemas.diagnostic import BadInput, Conflicted, Diagnostic, Failed, Failure, Interrupted, Refused
from requisition.schemas.receipt import OtherHalf, Outcome, RunState
from requisition.stdlib.action import (
    ActionError,
    BaseAction,
    Cancelled,
    Change,
    Done,
    GateClosed,
    NotCompensable,
    Satisfied,
    UndoConflict,
)
from requisition.stdlib.host import Host

_POLL_MS = 200
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "SUDO_ASKPASS", "DISPLAY", "XAUTHORITY")
_FAILURES: dict[str, type[Failure]] = {
    "refused": Refused, "bad_input": BadInput, "conflict": Conflicted, "interrupted": Interrupted, "failed": Failed,
}  # fmt: skip


class PrivilegedHalf:
    """The other half, asked one question at a time. Raises Interrupted when it is gone: the run is then left
    to its journal, from which both halves are taken up again."""

    def __init__(self, command: list[str], log: Callable[[str], None], cancelled: Callable[[], bool]) -> None:
        self._log = log
        self._cancelled = cancelled
        self._lock = threading.Lock()
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
                start_new_session=True,  # a signal for us is not one for it
            )
        except OSError as error:
            raise BadInput.of(
                f"{command[0]} cannot be started: {error.strerror}", next="install it, or run plan apply as root"
            ) from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout
        self.run_id = ""

    def open(self, opening: Opening, stream: Stream | None) -> None:
        """Bring the order. Raises the Failure with which the half denies it."""
        try:
            write_frame(self._in, opening)  # type: ignore[arg-type]
            for piece in stream.pieces if stream is not None else ():
                self._in.write(piece)
            self._in.flush()
        except BrokenPipeError:
            self._log("the privileged half did not listen to the end")  # its answer tells why
        answer = self._listen()
        if answer is None:
            raise Refused.of(
                "the privileged half did not start",
                why="sudo said why, above",
                next="have root allow `plan-runtime elevated` in /etc/sudoers.d; docs/security.md shows the line",
            )
        if not isinstance(answer, Ready):
            self._unexpected(answer)
        self.run_id = answer.run_id

    def ask(self, question: Question) -> Answer:
        """One question, one answer."""
        with self._lock:
            try:
                write_frame(self._in, question)  # type: ignore[arg-type]
                self._in.flush()
                answer = self._listen(stoppable=isinstance(question, Do))
            except (BrokenPipeError, FrameError) as error:
                raise _gone() from error
        if answer is None:
            raise _gone()
        if isinstance(answer, Unable):
            if answer.kind == "cancelled":
                raise Cancelled(answer.message)
            if answer.kind == "closed":
                raise GateClosed(answer.message)
            raise (NotNow if answer.kind == "later" else ActionError)(answer.message, answer.hint)
        if isinstance(answer, Denied):
            self._unexpected(answer)
        return answer

    def _listen(self, *, stoppable: bool = False) -> Answer | None:
        while True:
            while stoppable and not readable(self._out, _POLL_MS):  # type: ignore[arg-type]
                if self._cancelled():
                    write_frame(self._in, Halt())  # type: ignore[arg-type]
                    self._in.flush()
                    stoppable = False
                    break
            answer = read_answer(self._out)  # type: ignore[arg-type]
            if not isinstance(answer, Said):
                return answer
            self._log(answer.text)

    def _unexpected(self, answer: Answer) -> NoReturn:
        if isinstance(answer, Denied):
            raise _FAILURES[answer.kind](answer.diagnostics)
        raise _gone()

    def end(self, state: RunState, outcome: Outcome, message: str) -> OtherHalf | None:
        """Close the half; its receipt, None when it did nothing."""
        answer = self.ask(Close(state, outcome, message))
        if not isinstance(answer, Closed):
            raise _gone()
        return OtherHalf(answer.run_id, answer.receipt) if answer.run_id else None

    def leave(self) -> None:
        """Hang up, and wait until it has seen it."""
        for stream in (self._in, self._out):
            try:
                stream.close()
            except BrokenPipeError:
                continue  # gone already
        self._process.wait()


def _gone() -> Interrupted:
    return Interrupted.of(
        "the privileged half of the run ended before it answered",
        why="what both had begun is in their journals",
        next="plan resume finishes it, plan rollback takes it back",
    )


class Asked(Change, frozen=True):
    """What the privileged half would do, and the ticket for it."""

    ticket: int = -1


class Elevated(BaseAction[Any]):
    """One node, done by the privileged half."""

    def __init__(self, one: Bound, half: PrivilegedHalf) -> None:
        assert one.action is not None
        spec = one.action.spec
        self.spec = msgspec.structs.replace(spec, effect="outside", compensable=True)  # type: ignore[misc]
        self.slots = one.action.slots
        self._index = one.index
        self._node = one.node
        self._half = half
        self._own: Any = one.action

    def observe(self, host: Host, slots: Struct) -> Satisfied | Change:
        """Ask what would be done. The ticket is what the journal needs."""
        typed = msgspec.to_builtins(slots, builtin_types=(bytes,))
        question = Look(self._index, tuple(given(self._node.slots, typed)), isinstance(host, PreflightHost))
        found = self._half.ask(question)
        if not isinstance(found, Found):
            raise _gone()
        if found.ticket < 0:
            return Satisfied(found.outputs or {})
        undo = {} if found.looks else {"ticket": found.ticket}
        return Asked(found.reason, undo=undo, outputs=found.outputs, ticket=found.ticket)

    def do(self, host: Host, slots: Any, change: Any) -> Done:
        """Ask for it."""
        return self.do_many(host, [(slots, change)])[0]

    def batch(self, slots: Any) -> str:
        """As the action itself says; root's nodes and the user's are never done together."""
        return f"root {self._own.batch(slots)}"

    def join(self, host: Host, work: Sequence[tuple[Any, Any]]) -> Sequence[Change]:
        """One ticket for all."""
        joined = self._half.ask(Join(tuple(change.ticket for _, change in work)))
        if not isinstance(joined, Found):
            raise _gone()
        undo = {"ticket": joined.ticket}
        changes = [change for _, change in work]
        return [msgspec.structs.replace(c, ticket=joined.ticket, undo=undo if c.undo else {}) for c in changes]

    def do_many(self, host: Host, work: Sequence[tuple[Any, Any]]) -> Sequence[Done]:
        """Ask for all that has the one ticket."""
        made = self._half.ask(Do(work[0][1].ticket))
        if not isinstance(made, Made) or len(made.outputs) != len(work):
            raise _gone()
        return [Done(outputs or {}) for outputs in made.outputs]

    def undo(self, host: Host, undo: Any) -> None:
        """Ask that it be taken back."""
        if not undo:
            return  # it only looked
        taken = self._half.ask(Undo(undo["ticket"], self._index))
        if not isinstance(taken, Taken):
            raise _gone()
        if taken.status == "not_compensable":
            raise NotCompensable(taken.message)
        if taken.status == "failed":
            raise UndoConflict(taken.message)


def elevated_nodes(graph: Hydrated) -> list[Bound]:
    """The nodes that need root."""
    return [one for one in graph.bound if one.node.elevate and one.action is not None]


def elevate(run: Run, request: Request, verb: Opens, admitted: Admitted, resources: ExitStack) -> None:
    """Give the nodes that need root to a privileged half, when the request says how and there are any. Root
    itself needs none. Raises Refused when the half will not have the order."""
    nodes = elevated_nodes(run.graph)
    if not request.elevate or os.geteuid() == 0 or not nodes:
        return
    _check(nodes)
    askpass = "-A" if os.environ.get("SUDO_ASKPASS") else "-n"
    half = PrivilegedHalf(
        ["sudo", askpass, "--", "plan-runtime", "elevated"],
        lambda text: run.ledger.event("log", text=text),
        run.watch.cancelled,
    )
    resources.callback(half.leave)
    stream = _bundle(request, admitted, nodes) if verb != "rollback" else None
    opening = Opening(
        verb=verb,
        run_id=run.run_id,
        checksum=run.checksum,
        target_root=run.ground.root.path,
        bundle=stream.size if stream is not None else 0,
        on_conflict=request.on_conflict,
        force=request.force,
        after_power_loss=request.after_power_loss,
        secrets={secret.name: request.secrets[secret.name] for secret in run.graph.order.secrets
                 if secret.name in request.secrets},
    )  # fmt: skip
    half.open(opening, stream)
    for one in nodes:
        one.action = Elevated(one, half)
    run.graph.elevated = True
    run.half = half


def _check(nodes: list[Bound]) -> None:
    """Raises BadInput for what neither half can know alone: whether something that is needed in passing is held
    by another package."""
    passing = [one.node for one in nodes if is_ephemeral(one)]
    if passing:
        raise BadInput(
            Diagnostic(
                what=f"{node.id} runs as root, and only for a while",
                where=node.location,
                why="the privileged half cannot know who else holds it",
                next="let it stay, or run plan apply as root",
            )
            for node in passing
        )


def _bundle(request: Request, admitted: Admitted, nodes: list[Bound]) -> Stream:
    """The order, and its inputs when a node that needs root reads any."""
    sealed = orderfile.read(request.order_path)
    sealed.close()
    reads = any(slot_names(one.action.spec).inputs for one in nodes if one.action is not None)
    inputs = Inputs(admitted.order.inputs, admitted.source_root, admitted.blobs)
    return bundled(sealed, admitted.order.inputs if reads else (), inputs.content)
