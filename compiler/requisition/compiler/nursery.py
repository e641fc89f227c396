"""Many evaluations without starting an interpreter for each: a process that has read the evaluator's code, and forks.

It speaks on stdin and stdout, a frame each: eight bytes of length, and that many bytes. First in comes the catalogue
with its prelude, which it checks and evaluates once for all; then tasks, as `child.py` reads them. Out goes, for each,
how its fork ended: what `subprocess.run` would give. A fork has the limits of its task and nothing of the nursery but
its code and what is the same for all: both pipes are closed in it. The nursery itself never reads a script.

The other side of it, `Nursery`, is used by one thread at a time.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from types import TracebackType
from typing import IO, TYPE_CHECKING, Self

import msgspec
from msgspec import Struct

from requisition.stdlib.spec import ActionSpec

if TYPE_CHECKING:
    from requisition.compiler.child import Warm

_LENGTH = 8


class Ended(Struct):
    """How a fork ended: its status as `subprocess` counts it, None when it took too long; what it wrote."""

    returncode: int | None
    stdout: bytes
    stderr: bytes


class Nursery:
    """A started nursery. Leaving it ends the process."""

    def __init__(self, catalogue: Iterable[ActionSpec], prelude: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-m", "requisition.compiler.nursery"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={}, cwd="/",
        )  # fmt: skip
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # then it has died, and the first task says so
            _write(self._process.stdin, msgspec.msgpack.encode((list(catalogue), prelude)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()

    def run(self, task: bytes, wall_seconds: float) -> Ended:
        """One task to its end. Raises OSError when the nursery is gone."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        _write(self._process.stdin, msgspec.msgpack.encode((task, wall_seconds)))
        answer = _read(self._process.stdout)
        if answer is None:
            raise OSError("the evaluator's parent is gone")
        return msgspec.msgpack.decode(answer, type=Ended)


def _write(stream: IO[bytes], data: bytes) -> None:
    stream.write(len(data).to_bytes(_LENGTH, "big"))
    stream.write(data)
    stream.flush()


def _read(stream: IO[bytes]) -> bytes | None:
    head = stream.read(_LENGTH)
    if len(head) < _LENGTH:
        return None
    return stream.read(int.from_bytes(head, "big"))


def main() -> None:
    """Entry point of the process."""
    from requisition.compiler.child import warm

    first = _read(sys.stdin.buffer)
    if first is None:
        return
    ready = warm(*msgspec.msgpack.decode(first, type=tuple[list[ActionSpec], str]))
    while (asked := _read(sys.stdin.buffer)) is not None:
        task, wall_seconds = msgspec.msgpack.decode(asked, type=tuple[bytes, float])
        _write(sys.stdout.buffer, msgspec.msgpack.encode(_forked(task, wall_seconds, ready)))


def _forked(task: bytes, wall_seconds: float, ready: "Warm") -> Ended:
    out, err = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        _be_child(task, out[1], err[1], ready)
    os.close(out[1])
    os.close(err[1])
    found = _listen(child, {out[0]: bytearray(), err[0]: bytearray()}, time.monotonic() + wall_seconds)
    _, status = os.waitpid(child, 0)
    code = None if found is None else os.waitstatus_to_exitcode(status)
    texts = found or {out[0]: bytearray(), err[0]: bytearray()}
    for fd in (out[0], err[0]):
        os.close(fd)
    return Ended(code, bytes(texts[out[0]]), bytes(texts[err[0]]))


def _be_child(task: bytes, out: int, err: int, ready: "Warm") -> None:
    """In the fork; never returns."""
    code = 70
    try:
        from requisition.compiler.child import serve

        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.closerange(3, 64)
        serve(task, ready)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 70
    finally:
        os._exit(code)


def _listen(child: int, texts: dict[int, bytearray], deadline: float) -> dict[int, bytearray] | None:
    """Both pipes to their ends; None when that takes too long, and the fork is killed."""
    waiting = select.poll()
    for fd in texts:
        waiting.register(fd, select.POLLIN | select.POLLHUP)
    open_ones = len(texts)
    while open_ones:
        left = deadline - time.monotonic()
        ready = waiting.poll(max(0, left) * 1000) if left > 0 else []
        if not ready:
            os.kill(child, signal.SIGKILL)
            return None
        for fd, _ in ready:
            piece = os.read(fd, 1 << 20)
            if piece:
                texts[fd] += piece
            else:
                waiting.unregister(fd)
                open_ones -= 1
    return texts


if __name__ == "__main__":
    main()
