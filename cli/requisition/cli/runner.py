"""The runtime as a process that is spoken to in frames: of this installation, or at the far end of ssh.

It runs in a session of its own, so that a closed terminal does not take it along. Ctrl-C and SIGTERM are
passed on once each, and then waited for: it takes back what it began and still answers.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import BufferedReader, BufferedWriter
from typing import BinaryIO

import msgspec
from msgspec import Struct

from requisition.cli.host import Host
from requisition.cli.output import Output
from requisition.runtime.frames import Document, Event, FrameError, Request, Result, read_reply, write_frame
from requisition.runtime.runinfo import RunInfo
from requisition.schemas.diagnostic import BadInput, Diagnostic, Failed

# No tokens, no PYTHONPATH: what the runtime may know of this environment.
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "SSL_CERT_FILE",
         "SUDO_ASKPASS", "DISPLAY", "XAUTHORITY")  # fmt: skip


class Heard(Struct):
    """What a runtime said to its end: `result` is None when it ended without one, `broken` says why then,
    `spoke` whether anything came, `code` how the process ended."""

    result: Result | None = None
    documents: tuple[Document, ...] = ()
    spoke: bool = False
    broken: str = ""
    code: int = 0


def run(request: Request, on_event: Callable[[Event], None], host: Host | None = None) -> Result:
    """Ask the runtime of this installation, or that of `host`. Raises BadInput when it cannot start."""
    if host is not None:
        from requisition.cli.remote import visit

        return visit(host, request, on_event)
    # -P: a folder `requisition` in the current directory must not be taken for the program
    command = [sys.executable, "-P", "-m", "requisition.runtime"]
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    heard = converse(command, environment, lambda stream: _send(stream, request), on_event)
    return heard.result if heard.result is not None else _died(heard.code)


def all_runs(output: Output, host: Host | None) -> list[RunInfo]:
    """All runs of a machine, oldest first. Raises Failed with what a far machine answered instead."""
    from requisition.runtime.past import runs

    if host is None:
        return runs(output.state_dir)
    result = run(Request(verb="runs", state_dir=output.state_dir), lambda _: None, host)
    try:
        found = msgspec.convert(result.data.get("runs"), list[RunInfo])
    except msgspec.ValidationError as error:
        raise Failed(
            result.diagnostics or Diagnostic(what="the list of runs cannot be read", why=str(error))
        ) from error
    return found


def _send(stream: BinaryIO, request: Request) -> None:
    with stream:
        write_frame(stream, request)


def converse(
    command: Sequence[str],
    environment: Mapping[str, str] | None,
    send: Callable[[BinaryIO], None],
    on_event: Callable[[Event], None],
    stop: Callable[[subprocess.Popen[bytes], int], None] = subprocess.Popen.send_signal,
) -> Heard:
    """Start a runtime, say what `send` says, and listen to the end. `stop` passes a signal on."""
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, start_new_session=True
        )
    except OSError as error:
        raise BadInput.of(f"the runtime cannot be started: {error.strerror}", where=command[0]) from error
    assert isinstance(process.stdin, BufferedWriter)
    assert isinstance(process.stdout, BufferedReader)
    heard = Heard()
    try:
        with _passing_signals(process, stop):
            with suppress(BrokenPipeError):  # it died at once: the missing result tells of it
                send(process.stdin)
            with process.stdout:
                _listen(process.stdout, on_event, heard)
            with suppress(BrokenPipeError):
                process.stdin.close()
            heard.code = process.wait()
    except BaseException:
        process.kill()  # what could not be said whole is not to be acted upon
        process.wait()
        raise
    return heard


def _listen(stream: BinaryIO, on_event: Callable[[Event], None], heard: Heard) -> None:
    """Hand on events until the result, or until the stream ends or breaks off before it."""
    try:
        while (reply := read_reply(stream)) is not None:
            heard.spoke = True
            if isinstance(reply, Result):
                heard.result = reply
                return
            if isinstance(reply, Document):
                heard.documents += (reply,)
            else:
                on_event(reply)
    except FrameError as error:
        heard.broken = str(error)


@contextmanager
def _passing_signals(
    process: subprocess.Popen[bytes], stop: Callable[[subprocess.Popen[bytes], int], None]
) -> Iterator[None]:
    """A handler that does not raise: a read that was cut short would lose its place in the frames."""

    def pass_on(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_IGN)
        with suppress(ProcessLookupError, BrokenPipeError, ValueError):
            stop(process, number)
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
