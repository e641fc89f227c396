"""The `plan-runtime` process: one request frame on stdin, events and one result on stdout.

If whoever asked goes away, the run goes on and ends as its policy says; events are then dropped. SIGTERM
and SIGINT ask it to stop: the run is taken back (or kept, with `keep_failed`) and leaves its receipt.

    plan-runtime                    speak frames
    plan-runtime remote             the same with a visitor, who brings an order and chooses nothing else here
    plan-runtime elevated           the privileged half of a run, started by sudo
    plan-runtime journal show PATH  print a journal, one record a line
"""

import gc
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import BinaryIO

import msgspec

from requisition.runtime.frames import (
    EXIT_CODES,
    Document,
    Event,
    ExitStatus,
    FrameError,
    Request,
    Result,
    read_request,
    write_frame,
)
from requisition.runtime.linux import forbid_core_dumps, return_large_buffers
from requisition.runtime.places import default_state
from requisition.runtime.run import Watch
from requisition.schemas.diagnostic import (
    BadInput,
    Conflicted,
    Diagnostic,
    Failure,
    Interrupted,
    Refused,
)

_STATUS: tuple[tuple[type[Failure], ExitStatus], ...] = (
    (BadInput, "bad_input"),
    (Refused, "refused"),
    (Conflicted, "conflict"),
    (Interrupted, "interrupted"),
)


class Channel:
    """The way out. Events are buffered and flushed by time, not one by one; a reader that went away
    silences it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._open = True
        self._flushed = 0.0

    def send(self, message: Event | Document | Result) -> None:
        """Write one frame, unless nobody listens any more."""
        if not self._open:
            return
        try:
            write_frame(self._stream, message)
            now = time.monotonic()
            if isinstance(message, Result) or now - self._flushed > 0.05:
                self._stream.flush()
                self._flushed = now
        except (BrokenPipeError, ValueError):
            self._open = False


def main() -> int:
    """Entry point; the exit code is that of the result."""
    if sys.argv[1:3] == ["journal", "show"] and len(sys.argv) == 4:
        return _show_journal(sys.argv[3])
    if sys.argv[1:] not in ([], ["remote"], ["elevated"]):
        sys.stderr.write((__doc__ or "") + "\n")
        return EXIT_CODES["bad_input"]
    _prepare_process()
    started = time.monotonic_ns()
    out = os.fdopen(os.dup(1), "wb", buffering=1 << 16)
    os.dup2(2, 1)  # nothing else may write into the frames
    channel = Channel(out)
    stop = _stop_on_signals()
    watch = Watch(
        channel.send,
        lambda: (time.monotonic_ns() - started) // 1000,
        lambda: datetime.now(UTC),
        lambda: bool(stop),
    )
    if sys.argv[1:] == ["elevated"]:
        from requisition.runtime.privileged import serve

        return serve(os.fdopen(os.dup(0), "rb"), out, watch)
    converse = _with_visitor if sys.argv[1:] else _with_owner
    try:
        result = converse(watch, channel)
    except FrameError as error:
        result = Result(status="bad_input", diagnostics=(_broken(error),))
    channel.send(result)
    return EXIT_CODES[result.status]


def _broken(error: FrameError) -> Diagnostic:
    return Diagnostic(
        what=f"plan-runtime: {error}", code="protocol", next="use the same version of requisition on both sides"
    )


def _with_owner(watch: Watch, _channel: Channel) -> Result:
    request = read_request(sys.stdin.buffer)
    if request.visit is not None:
        raise FrameError("a visitor's request; it is for plan-runtime remote")
    return _answer(request, watch)


def _with_visitor(watch: Watch, channel: Channel) -> Result:
    """Answer someone at the far end of a connection; what the run left to keep is sent before the result."""
    from requisition.runtime.visit import Visitor, document, received

    stream = os.fdopen(os.dup(0), "rb")
    request = read_request(stream)

    def perform() -> Result:
        with received(request, stream) as here:
            assert here.visit is not None
            visitor = Visitor(stream, here.visit.on_disconnect)
            visitor.listen()
            return _verb(
                here,
                msgspec.structs.replace(
                    watch, cancelled=lambda: watch.cancelled() or visitor.stops(), leave=visitor.leaves
                ),
            )

    result = _told(perform, default_state())
    if result.receipt and (found := document(result.receipt, result.run_id)) is not None:
        channel.send(found)
    return result


def _answer(request: Request, watch: Watch) -> Result:
    """Run the verb; every failure becomes a result."""
    return _told(lambda: _verb(request, watch), request.state_dir)


def _told(perform: Callable[[], Result], state_dir: str) -> Result:
    try:
        return perform()
    except FrameError:
        raise
    except Failure as failure:
        known: Iterator[ExitStatus] = (status for kind, status in _STATUS if isinstance(failure, kind))
        status: ExitStatus = next(known, "failed")
        return Result(status=status, diagnostics=failure.diagnostics)
    except OSError as error:
        where = str(error.filename or state_dir)
        what = f"the machine refused: {error.strerror}"
        return Result(status="failed", diagnostics=(Diagnostic(what=what, where=where, next="plan doctor"),))
    except Exception as error:  # noqa: BLE001  (the last line of defence: a bug must still end in a result)
        import traceback

        traceback.print_exc()
        what = f"internal error: {type(error).__name__}"
        text = "this is a bug in requisition; please report it with the lines above"
        return Result(status="failed", diagnostics=(Diagnostic(what=what, why=text, next="plan recover"),))


def _verb(request: Request, watch: Watch) -> Result:
    if request.verb in ("apply", "dry-run"):
        from requisition.runtime.apply import apply

        return apply(request, watch)
    if request.verb in ("runs", "receipt"):
        from requisition.runtime.past import answer

        return answer(request)
    if request.verb == "status":
        from requisition.runtime.status import status

        return status(request, watch)
    from requisition.runtime.recover import resume, rollback

    return resume(request, watch) if request.verb == "resume" else rollback(request, watch)


def _prepare_process() -> None:
    """Exact modes, no core dumps, large buffers given back, as many descriptors as allowed, no death by a closed
    pipe. Documents hold no cycles, so the collector need not walk through them again and again while they grow."""
    gc.set_threshold(200_000, 50, 50)
    os.umask(0)
    forbid_core_dumps()
    return_large_buffers()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)


def _stop_on_signals() -> list[int]:
    """A list that becomes non-empty when the process is asked to stop."""
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda n, _frame: asked.append(n))
    return asked


def _show_journal(path: str) -> int:
    import msgspec

    from requisition.runtime.journal import read_journal

    try:
        records = read_journal(path)
    except Failure as failure:
        sys.stderr.write(f"{failure}\n")
        return failure.exit_code
    for record in records:
        sys.stdout.write(msgspec.json.encode(record).decode() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
