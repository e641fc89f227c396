"""`plan-runtime` as a child process: one request in, events and a result out."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable

from requisition.runtime.frames import Event, FrameError, Request, Result, read_reply, write_frame
from requisition.schemas.diagnostic import Diagnostic

_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "SSL_CERT_FILE")


def run(request: Request, on_event: Callable[[Event], None]) -> Result:
    """Ask the runtime. Ctrl-C asks it once to stop; it then takes its run back and still answers."""
    process = subprocess.Popen(
        [sys.executable, "-m", "requisition.runtime"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={name: os.environ[name] for name in _KEPT if name in os.environ},
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        write_frame(process.stdin, request)
        process.stdin.close()
    except BrokenPipeError:
        return _died(process)
    while True:
        try:
            reply = read_reply(process.stdout)
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            continue
        except FrameError:
            reply = None
        if isinstance(reply, Result):
            process.wait()
            return reply
        if reply is None:
            return _died(process)
        on_event(reply)


def _died(process: subprocess.Popen[bytes]) -> Result:
    code = process.wait()
    how = f"by signal {-code}" if code < 0 else f"with status {code}"
    finding = Diagnostic(
        what=f"the runtime ended {how} before it answered",
        why="what it had begun is in its journal",
        next="plan recover shows what can be done",
    )
    return Result(status="interrupted" if code < 0 else "failed", diagnostics=(finding,))
