"""`plan-runtime` as a child process: one request in, events and a result out.

It runs in a session of its own, so that a closed terminal does not take it along. Ctrl-C and SIGTERM are
passed on once each, and then waited for: it takes back what it began and still answers.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader, BufferedWriter
from typing import BinaryIO

from requisition.runtime.frames import Event, FrameError, Request, Result, read_reply, write_frame
from requisition.schemas.diagnostic import BadInput, Diagnostic

# No tokens, no PYTHONPATH: what the runtime may know of this environment.
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "SSL_CERT_FILE")


def run(request: Request, on_event: Callable[[Event], None], *, program: str = "") -> Result:
    """Ask the runtime: `program`, or the one of this installation. Raises BadInput when it cannot start."""
    # -P: a folder `requisition` in the current directory must not be taken for the program
    command = [program] if program else [sys.executable, "-P", "-m", "requisition.runtime"]
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, start_new_session=True
        )
    except OSError as error:
        raise BadInput.of(f"the runtime cannot be started: {error.strerror}", where=command[0]) from error
    assert isinstance(process.stdin, BufferedWriter)
    assert isinstance(process.stdout, BufferedReader)
    with _passing_signals(process):
        with suppress(BrokenPipeError), process.stdin:  # it died at once: the missing result tells of it
            write_frame(process.stdin, request)
        with process.stdout:
            result = _listen(process.stdout, on_event)
        code = process.wait()
    return result if result is not None else _died(code)


def _listen(stream: BinaryIO, on_event: Callable[[Event], None]) -> Result | None:
    """Hand on events until the result; None when the stream ends, or breaks off, before it."""
    with suppress(FrameError):
        while (reply := read_reply(stream)) is not None:
            if isinstance(reply, Result):
                return reply
            on_event(reply)
    return None


@contextmanager
def _passing_signals(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """A handler that does not raise: a read that was cut short would lose its place in the frames."""

    def pass_on(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_IGN)
        with suppress(ProcessLookupError):
            process.send_signal(number)
        sys.stderr.write("stopping: the run is being brought to its end\n")

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _died(code: int) -> Result:
    how = f"by signal {-code}" if code < 0 else f"with status {code}"
    finding = Diagnostic(
        what=f"the runtime ended {how} before it answered",
        why="what it had begun is in its journal",
        next="plan recover shows what can be done",
    )
    return Result(status="interrupted" if code < 0 else "failed", diagnostics=(finding,))
