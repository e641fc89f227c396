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
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from msgspec import Struct

from requisition.schemas.diagnostic import Failed

_TAIL = 16 << 10
_UMASK = 0o022
"""As at a terminal, whatever our own is: packages are built from the modes of a checkout."""

T = TypeVar("T")


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


class _Program(asyncio.SubprocessProtocol):
    """A program as the loop tells of it: the ends of what it said, when it said something, whether it has ended.

    Not asyncio's streams: those wait for whoever holds the pipes, which may be a program that this one left behind."""

    def __init__(self, hear: Mapping[int, Callable[[bytes], None] | None], now: Callable[[], float]) -> None:
        self.kept = {1: bytearray(), 2: bytearray()}
        self.heard = now()
        self.changed = asyncio.Event()
        self.exited = asyncio.Event()
        self.silent = asyncio.Event()
        self.broken: Exception | None = None
        self._hear = hear
        self._open = 2
        self._now = now

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self.heard = self._now()
        kept = self.kept[fd]
        kept += data
        del kept[:-_TAIL]
        hear = self._hear[fd]
        if hear is None or self.broken is not None:
            return
        try:
            hear(data)
        except Exception as error:  # noqa: BLE001  (who listens cannot: the program is ended, and they are told)
            self.broken = error
            self.changed.set()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        self._open -= fd != 0
        if self._open == 0:
            self.silent.set()

    def process_exited(self) -> None:
        self.exited.set()
        self.changed.set()


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
    loop = asyncio.get_running_loop()
    program = _Program({1: on_out, 2: on_err}, loop.time)
    try:
        async with _one_by_one():
            transport, _ = await loop.subprocess_exec(
                lambda: program,
                *(list(argv) if outlive else [*_bound_to_us(), *argv]),
                cwd=cwd,
                env=dict(env),
                stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=tuple(inherit),
                umask=_UMASK,
            )
    except OSError as error:
        raise Failed.of(
            f"{argv[0]} cannot be started", why=error.strerror or str(error), next="is it installed, and in PATH?"
        ) from error
    try:
        if (pipe := transport.get_pipe_transport(0)) is not None:
            assert isinstance(pipe, asyncio.WriteTransport)
            pipe.write(stdin)
            pipe.write_eof()
        stopped = await _attend(program, limits)
    finally:
        await _end(program, transport.get_pid(), limits.grace)
        status = transport.get_returncode()
        transport.close()
    if program.broken is not None:
        raise program.broken
    assert status is not None
    return Ended(status, stopped, bytes(program.kept[1]), bytes(program.kept[2]))


_starting: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


def _one_by_one() -> asyncio.Lock:
    """A start stands still until the new program is loaded, milliseconds on a busy machine, and the loop with it: of
    many starts that are due together, each lets the loop go on before the next."""
    return _starting.setdefault(asyncio.get_running_loop(), asyncio.Lock())


async def _attend(program: _Program, limits: Limits) -> str:
    """Listen until it has ended or must be: why it must, or ""."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    while not program.changed.is_set():
        ends = [(begun + limits.total, f"took longer than {limits.total:g} s")] if limits.total else []
        ends += [(program.heard + limits.silence, f"said nothing for {limits.silence:g} s")] if limits.silence else []
        when, why = min(ends, default=(None, ""))
        if when is not None and loop.time() >= when:
            return why
        with contextlib.suppress(TimeoutError):  # not wait_for: that of 3.11 may lose a cancellation
            async with asyncio.timeout_at(when):
                await program.changed.wait()
    if program.exited.is_set():
        # What it started may hold the pipes: what is in them is read, their end is not waited for.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limits.grace):
                await program.silent.wait()
    return ""


async def _end(program: _Program, pid: int, grace: float) -> None:
    """Leave nothing of its group behind. Not to be cut short: a second cancellation waits, too."""
    if not program.exited.is_set():
        _signal(pid, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await _surely(asyncio.wait_for(program.exited.wait(), grace))
    if not program.exited.is_set():
        kill_below(pid)
    _signal(pid, signal.SIGKILL)
    await _surely(program.exited.wait())


async def _surely(work: Coroutine[Any, Any, T]) -> T:
    """Wait for it even when cancelled; the cancellation comes after."""
    task = asyncio.ensure_future(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError
    return task.result()


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
