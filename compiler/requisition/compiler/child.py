"""The evaluation child: a process with limits that checks and evaluates scripts, and answers once.

It is started with nothing (no environment, no arguments, `/` as its folder), reads one job from stdin and
writes one reply to stdout. A hostile script can at worst end this process.
"""

import gc
import os
import resource
import sys
import threading
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from requisition.compiler.evaluate import Ground, Job, ScriptError, evaluate, lay_ground
from requisition.compiler.settings import mismatches
from requisition.schemas.diagnostic import Diagnostic
from requisition.stdlib.spec import ActionSpec

STACK_BYTES = 256 << 20
_GRACE = 2  # seconds; a loop is stopped at its line before, a builtin is not


class Task(Struct):
    """A job, the catalogue that its scripts are checked against, whether to check only, and the memory."""

    job: Job
    catalogue: list[ActionSpec]
    check_only: bool
    memory_bytes: int


class Reply(Struct):
    """What came of it: findings of the check, or Starlark's report of an error and the phase it arose in. One
    line of JSON; after it comes the recording, if there is one."""

    findings: list[Diagnostic] = []
    error: str = ""
    phase: str = ""


class Warm(NamedTuple):
    """What all tasks of one catalogue begin with, made once: for a process that forks for each of them."""

    catalogue: list[ActionSpec]
    prelude: str
    interface: Any
    ground: Ground

    def fits(self, task: Task) -> bool:
        """Whether it is what this task would make."""
        return self.prelude == task.job.prelude and self.catalogue == task.catalogue


def warm(catalogue: list[ActionSpec], prelude: str) -> Warm:
    """Read, check and evaluate what is ours."""
    from requisition.compiler.checking import interface_of

    return Warm(catalogue, prelude, interface_of({spec.name: spec for spec in catalogue}), lay_ground(prelude))


def main() -> None:
    """Entry point."""
    serve(sys.stdin.buffer.read())


def serve(asked: bytes, ready: Warm | None = None) -> None:
    """Do one task in this process, which is bounded by it from here on, and answer on stdout."""
    gc.disable()  # a short life; what it makes, it keeps
    task = msgspec.msgpack.decode(asked, type=Task)
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    _limit(task)
    ready = ready if ready and ready.fits(task) else None
    threading.stack_size(STACK_BYTES)
    replies: list[tuple[Reply, bytes]] = []
    worker = threading.Thread(target=lambda: replies.append(_work(task, ready)))
    worker.start()
    worker.join()
    if not replies:
        sys.exit(70)
    reply, recording = replies[0]
    out.write(msgspec.json.encode(reply) + b"\n")
    out.write(recording)
    out.close()


def _limit(task: Task) -> None:
    for kind, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, task.job.cpu_seconds + _GRACE),
        (resource.RLIMIT_AS, task.memory_bytes),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_FSIZE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        last = bound + 1 if kind == resource.RLIMIT_CPU and hard == resource.RLIM_INFINITY else bound
        resource.setrlimit(kind, (bound, last))  # at the soft limit of time comes a signal that tells why


def _work(task: Task, ready: Warm | None) -> tuple[Reply, bytes]:
    """Findings, and unless there is an error among them the recording."""
    try:
        findings = [*mismatches(task.job.patterns), *_check(task, ready)]
        if task.check_only or any(one.severity == "error" for one in findings):
            return Reply(findings), b""
        return Reply(findings), evaluate(task.job, ready.ground if ready else None)
    except ScriptError as error:
        return Reply([], error.text, error.phase), b""
    except BaseException as error:  # noqa: BLE001  (a Rust panic is a BaseException; it becomes a report)
        return Reply([], f"error: the evaluator failed: {type(error).__name__}: {str(error)[:200]}"), b""


def _check(task: Task, ready: Warm | None) -> list[Diagnostic]:
    from requisition.compiler.checking import check_files

    catalogue = {spec.name: spec for spec in task.catalogue}
    return check_files(task.job.files, task.job.std, catalogue, ready.interface if ready else None)


if __name__ == "__main__":
    main()
