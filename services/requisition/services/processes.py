"""Programs that services start: by argument vector, in a process group of their own, that end when they must.

Time-outs are for the whole and for silence; what is told to stop gets TERM, then KILL, and so does everything it
started: its process group, and after KILL also those below it that are in a group of their own. Output is handed on as
it comes and only a tail of it kept, so that a chatty program costs no memory.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from weakref import WeakKeyDictionary

from msgspec import Struct

from requisition.schemas.diagnostic import Failed

_CHUNK = 1 << 16
_TAIL = 16 << 10


class Limits(Struct, frozen=True):
    """Seconds: for the whole (0 none), without any output (0 none), and between TERM and KILL."""

    total: float = 0
    silence: float = 0
    grace: float = 5


class Ended(Struct, frozen=True):
    """How a program ended. `status`: its exit status, or minus the signal. `stopped`: why we ended it, "" when it
    ended by itself. `out`, `err`: the last 16 KiB of each."""

    status: int
    stopped: str
    out: bytes
    err: bytes

    @property
    def good(self) -> bool:
        """Whether it did what it was asked."""
        return self.status == 0 and not self.stopped


class _Tail:
    """The end of a stream, and when there was something in it."""

    def __init__(self, hear: Callable[[bytes], None] | None, now: Callable[[], float]) -> None:
        self.kept = bytearray()
        self.heard = now()
        self._hear = hear
        self._now = now

    async def follow(self, stream: asyncio.StreamReader) -> None:
        while chunk := await stream.read(_CHUNK):
            self.heard = self._now()
            self.kept += chunk
            del self.kept[:-_TAIL]
            if self._hear is not None:
                self._hear(chunk)


async def run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: str = "/",
    limits: Limits = Limits(),  # noqa: B008  (immutable)
    stdin: bytes = b"",
    on_out: Callable[[bytes], None] | None = None,
    on_err: Callable[[bytes], None] | None = None,
    inherit: Sequence[int] = (),
    outlive: bool = False,
) -> Ended:
    """Run a program to its end; when the awaiting task is cancelled, end the program's whole group first.

    `inherit`: descriptors that it holds open; a lock among them is held as long as it works, even without us.
    `outlive`: it goes on when this process is killed (where the system can tell it, Linux, it is ended otherwise).
    Raises Failed when it cannot be started.
    """
    try:
        async with _one_by_one():
            process = await asyncio.create_subprocess_exec(
                *(list(argv) if outlive else [*_bound_to_us(), *argv]),
                cwd=cwd,
                env=dict(env),
                stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
                pass_fds=tuple(inherit),
            )
    except OSError as error:
        raise Failed.of(
            f"{argv[0]} cannot be started", why=error.strerror or str(error), next="is it installed, and in PATH?"
        ) from error
    loop = asyncio.get_running_loop()
    out, err = _Tail(on_out, loop.time), _Tail(on_err, loop.time)
    try:
        stopped = await _attend(process, stdin, out, err, limits)
    finally:
        await _end(process, limits.grace)
    assert process.returncode is not None
    return Ended(process.returncode, stopped, bytes(out.kept), bytes(err.kept))


_starting: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


def _one_by_one() -> asyncio.Lock:
    """A start stands still until the new program is loaded, milliseconds on a busy machine, and the loop with it: of
    many starts that are due together, each lets the loop go on before the next."""
    return _starting.setdefault(asyncio.get_running_loop(), asyncio.Lock())


async def _attend(process: asyncio.subprocess.Process, stdin: bytes, out: _Tail, err: _Tail, limits: Limits) -> str:
    """Listen until it has ended or must be: why it must, or ""."""
    assert process.stdout is not None
    assert process.stderr is not None
    streams = [asyncio.ensure_future(out.follow(process.stdout)), asyncio.ensure_future(err.follow(process.stderr))]
    if process.stdin is not None:
        streams.append(asyncio.ensure_future(_feed(process.stdin, stdin)))
    ended = asyncio.ensure_future(process.wait())
    loop = asyncio.get_running_loop()
    begun = loop.time()
    try:
        while not ended.done():
            quiet = max(out.heard, err.heard)
            ends = [(begun + limits.total, f"took longer than {limits.total:g} s")] if limits.total else []
            ends += [(quiet + limits.silence, f"said nothing for {limits.silence:g} s")] if limits.silence else []
            when, why = min(ends, default=(None, ""))
            if when is not None and loop.time() >= when:
                return why
            await asyncio.wait([ended], timeout=None if when is None else when - loop.time())
        # What it started may hold the pipes: what is in them is read, their end is not waited for.
        await asyncio.wait(streams, timeout=limits.grace)
    finally:
        for task in (*streams, ended):
            task.cancel()
        await asyncio.gather(*streams, ended, return_exceptions=True)
    return ""


async def _feed(pipe: asyncio.StreamWriter, content: bytes) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        pipe.write(content)
        await pipe.drain()
    pipe.close()


async def _end(process: asyncio.subprocess.Process, grace: float) -> None:
    """Leave nothing of its group behind. Not to be cut short: a second cancellation waits, too."""
    if process.returncode is None:
        _signal(process.pid, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(process.wait()), grace)
    if process.returncode is None:
        kill_below(process.pid)
    _signal(process.pid, signal.SIGKILL)
    await asyncio.shield(process.wait())


def kill_below(root: int) -> None:
    """Kill a process and all that came of it, whatever group they are in, where the system can tell who that is
    (proc(5), /proc/PID/task/TID/children). None of them is left to start another one meanwhile."""
    stopped: list[int] = []
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGSTOP)  # so that it starts nothing more while we look
            stopped.append(pid)
            waiting += _children(pid)
    for pid in stopped:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as file:
                found += map(int, file.read().split())
    return found


def _signal(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _bound_to_us() -> list[str]:
    """Words before a command by which the kernel ends it when we are killed (prctl(2), PR_SET_PDEATHSIG)."""
    if sys.platform == "linux" and (setpriv := shutil.which("setpriv", path=os.defpath + ":/usr/bin:/bin")):
        return [setpriv, "--pdeathsig", "TERM", "--"]
    return []
