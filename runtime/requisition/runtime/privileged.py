"""`plan-runtime elevated`: the privileged half of a run, started by sudo for an ordinary user.

It verifies the order itself, under root's own trust policy, and then does single nodes of it when asked, of
those alone that the order marks as elevated. It keeps a journal of its own and is a run like any other in
root's state directory. Whoever asks is taken for hostile: see docs/decisions/elevation.md.
"""

import os
import re
from contextlib import ExitStack, suppress
from typing import Any, BinaryIO

import msgspec

from requisition.runtime.admission import Admitted, admit
from requisition.runtime.apply import hold_root
from requisition.runtime.frames import EXIT_CODES, FrameError, Request, readable, write_frame
from requisition.runtime.half import Half
from requisition.runtime.halves import (
    Answer,
    Denied,
    Opening,
    Ready,
    Said,
    read_opening,
    read_question,
)
from requisition.runtime.hydrate import hydrate
from requisition.runtime.inputs import Inputs
from requisition.runtime.layout import StateDir
from requisition.runtime.obstacles import obstacles
from requisition.runtime.recover import reopen
from requisition.runtime.registry import Registry
from requisition.runtime.run import Ground, Run, Watch
from requisition.runtime.runinfo import read_info
from requisition.runtime.visit import brought
from requisition.schemas.diagnostic import (
    BadInput,
    Conflicted,
    Diagnostic,
    Failure,
    Interrupted,
    Refused,
)

STATE = "/var/lib/requisition"
TRUST = "/etc/requisition/trust.yaml"
_RUN_ID = re.compile(r"[0-9]{8}T[0-9]{6}\.[0-9]{6}Z-[0-9a-f]{4}")
_KINDS: tuple[tuple[type[Failure], Any], ...] = (
    (Refused, "refused"),
    (BadInput, "bad_input"),
    (Conflicted, "conflict"),
    (Interrupted, "interrupted"),
)


def serve(stream: BinaryIO, out: BinaryIO, watch: Watch) -> int:
    """Answer one unprivileged half to its end; the exit code. It is gone when the stream ends, or nobody reads:
    what was begun is then left to its journal."""

    def send(answer: Answer) -> None:
        write_frame(out, answer)
        out.flush()

    denied: Denied | None = None
    with ExitStack() as resources:
        try:
            opening = read_opening(stream)
            quiet = msgspec.structs.replace(
                watch,
                emit=lambda event: send(Said(event.text)) if event.kind == "log" else None,
                cancelled=lambda: watch.cancelled() or readable(stream),
            )
            half = _open(opening, stream, quiet, resources)
            send(Ready(half.run_id))
            while (question := read_question(stream)) is not None:
                answer = half.answer(question)
                if answer is not None:
                    send(answer)
        except BrokenPipeError:
            return EXIT_CODES["interrupted"]
        except FrameError as error:
            denied = Denied("bad_input", (Diagnostic(what=f"plan-runtime elevated: {error}"),))
        except Failure as failure:
            denied = Denied(next((k for t, k in _KINDS if isinstance(failure, t)), "failed"), failure.diagnostics)
        except OSError as error:
            denied = Denied("failed", (Diagnostic(what=f"the machine refused: {error}", next="plan doctor, as root"),))
    if denied is None:
        return 0
    with suppress(BrokenPipeError):
        send(denied)
    return EXIT_CODES[denied.kind]


def user_id() -> int:
    """Who asks, as sudo says (sudo(8), SUDO_UID)."""
    return int(os.environ.get("SUDO_UID") or os.getuid())


def _open(opening: Opening, stream: BinaryIO, watch: Watch, resources: ExitStack) -> "Half":
    if os.geteuid() != 0:
        raise Refused.of("the privileged half does not run as root", next="it is started by plan apply --elevate sudo")
    if not _RUN_ID.fullmatch(opening.run_id):
        raise Refused.of(f"{opening.run_id[:60]!r} is not a run")
    state = StateDir(STATE)
    path = resources.enter_context(brought(state, opening.bundle, stream))
    run_id = f"{opening.run_id}-u{user_id()}"
    request = Request(
        verb="apply",
        state_dir=STATE,
        order_path=path,
        trust_path=TRUST,
        target_root=opening.target_root,
        on_conflict=opening.on_conflict,
        after_power_loss=opening.after_power_loss,
        secrets=opening.secrets,
    )
    admitted = None if opening.verb == "rollback" else _admitted(request, opening, state, watch, resources)
    info = read_info(state.run(run_id)) if os.path.exists(f"{state.run(run_id)}/journal") else None
    if opening.verb in ("resume", "rollback") and info is not None:
        if info.order_checksum != opening.checksum:
            raise Refused.of("this half of the run was of another order", where=run_id)
        opened = reopen(request, watch, info, resources, trusted=False)
        if opening.verb == "rollback" and not opening.force:
            found = list(obstacles(opened.replay.stack, opened.run.graph, opened.host, opened.crash))
            if found:
                raise Conflicted(found)
        return Half(opened.run, request, opened, back=opening.verb == "rollback")
    if admitted is None:
        return Half(None, request, None)
    return Half(_new_run(admitted, request, run_id, opening, watch, resources), request, None)


def _admitted(request: Request, opening: Opening, state: StateDir, watch: Watch, resources: ExitStack) -> Admitted:
    """Raises Refused unless root's own policy allows this very order."""
    if not request.order_path:
        raise BadInput.of("no order was brought")
    admitted = admit(request, state, watch)
    resources.callback(admitted.close)
    if admitted.order.context.target_root.startswith("~"):
        raise Refused.of(
            "an order for a home directory cannot run as root",
            why="root's home is another one",
            next="build it with --root, or put the nodes that need root into an order of their own",
        )
    if admitted.checksum != opening.checksum:
        raise Refused.of("this is not the order that the other half runs")
    return admitted


def _new_run(
    admitted: Admitted, request: Request, run_id: str, opening: Opening, watch: Watch, resources: ExitStack
) -> Run:
    ground = Ground.open(StateDir(STATE), admitted.target_root, resources)
    resources.enter_context(hold_root(ground, request, watch))
    if ground.view.head.active:
        active = ground.view.head.active
        raise Interrupted.of(
            f"the run {active} on {ground.root.path} was cut off",
            why="what it had begun as root must be finished or taken back first",
            next=f"resume or roll back the run that it belongs to; or, as root: plan rollback {active}",
        )
    admitted.check_state(ground.view.head)
    return Run(
        ground,
        hydrate(admitted.order, Registry()),
        watch,
        resources,
        run_id=run_id,
        checksum=admitted.checksum,
        order_bytes=admitted.order_bytes,
        inputs=Inputs(admitted.order.inputs, None, admitted.blobs),
        secrets=opening.secrets,
        admitted=admitted.admissions,
    )
