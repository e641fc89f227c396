"""Run a program by argument vector: own process group, fixed environment, bounded output and time."""

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence

from requisition.stdlib.action import ActionError, Cancelled
from requisition.stdlib.host import CommandResult

BASE_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
    "HOME": "/",
}
_POLL = 0.05


def run_command(
    argv: Sequence[str],
    *,
    cwd: str,
    env: Mapping[str, str],
    stdin: bytes,
    timeout_ms: int,
    output_limit: int,
    cancelled: Callable[[], bool],
    inherit: Sequence[int] = (),
) -> CommandResult:
    """Run to the end. Raises ActionError when it cannot start or takes too long, Cancelled when stopped;
    in both cases the whole process group is killed. Output beyond the limit is read and dropped.

    `inherit`: descriptors that the program holds open; a lock among them outlives us as long as it works on."""
    environment = BASE_ENVIRONMENT | {"HOME": os.environ.get("HOME", "/")} | dict(env)
    try:
        process = subprocess.Popen(
            list(argv),
            cwd=cwd,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            umask=0o022,
            pass_fds=inherit,
        )
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ActionError(f"{argv[0]} cannot be started: {reason}", "is it installed, and in PATH?") from error
    deadline = time.monotonic() + timeout_ms / 1000 if timeout_ms else None
    try:
        out, err = _converse(process, stdin, output_limit, deadline, cancelled)
        status = process.wait()
    except BaseException:
        _kill_group(process)
        raise
    _kill_group(process)
    return CommandResult(status, out, err)


def _converse(
    process: subprocess.Popen[bytes],
    stdin: bytes,
    limit: int,
    deadline: float | None,
    cancelled: Callable[[], bool],
) -> tuple[bytes, bytes]:
    """Feed stdin and gather both outputs until the program has ended and its pipes are empty."""
    source, out, err = process.stdin, process.stdout, process.stderr
    assert source is not None
    assert out is not None
    assert err is not None
    gathered = {out.fileno(): bytearray(), err.fileno(): bytearray()}
    rest = memoryview(stdin)
    with selectors.DefaultSelector() as selector:
        selector.register(out, selectors.EVENT_READ)
        selector.register(err, selectors.EVENT_READ)
        os.set_blocking(source.fileno(), False)
        selector.register(source, selectors.EVENT_WRITE)
        while selector.get_map():
            _check(process, deadline, cancelled)
            ready = selector.select(_POLL)
            for key, _ in ready:
                if key.fileobj is source:
                    rest = _feed(key.fd, rest)
                    finished = not rest
                else:
                    finished = not _gather(key.fd, gathered[key.fd], limit)
                if finished:
                    selector.unregister(key.fileobj)
                    if key.fileobj is source:
                        source.close()
            if not ready and process.poll() is not None:
                break  # a grandchild holds the pipes; the program itself has ended
    return bytes(gathered[out.fileno()]), bytes(gathered[err.fileno()])


def _gather(fd: int, buffer: bytearray, limit: int) -> bool:
    chunk = os.read(fd, 1 << 16)
    buffer += chunk[: max(limit - len(buffer), 0)]
    return bool(chunk)


def _feed(fd: int, rest: memoryview) -> memoryview:
    try:
        return rest[os.write(fd, rest[: 1 << 16]) :]
    except BrokenPipeError:
        return memoryview(b"")


def _check(process: subprocess.Popen[bytes], deadline: float | None, cancelled: Callable[[], bool]) -> None:
    if cancelled():
        raise Cancelled("the run is being stopped")
    if deadline is not None and time.monotonic() > deadline:
        raise ActionError(f"{process.args[0]!r} did not end in time", "raise `timeout`, or find out why")  # type: ignore[index]


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """End whatever the program left running in its group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()
