"""The parent's side of an evaluation: start the child with nothing, bound it, and take its death calmly."""

import signal
import subprocess
import sys
from collections.abc import Callable, Mapping

import msgspec

from requisition.compiler.child import Reply, Task
from requisition.compiler.evaluate import Job
from requisition.compiler.nursery import Ended
from requisition.compiler.prelude import function_name
from requisition.compiler.recording import Recording, read_recording
from requisition.compiler.request import Limits
from requisition.compiler.scripterror import diagnose
from requisition.compiler.scripts import definition
from requisition.schemas.diagnostic import BadInput, Diagnostic
from requisition.stdlib.spec import ActionSpec

_DEATHS = {
    signal.SIGSEGV: "it crashed the evaluator",
    signal.SIGABRT: "it ran out of memory",
    signal.SIGKILL: "it ran out of memory or time",
    signal.SIGXCPU: "it used up its time on the processor",
    signal.SIGBUS: "it ran out of memory",
}


Start = Callable[[bytes, float], Ended]
"""Does a task in a child, within so many seconds."""


def alone(task: bytes, wall_seconds: float) -> Ended:
    """A child of its own."""
    command = [sys.executable, "-I", "-m", "requisition.compiler.child"]
    try:
        done = subprocess.run(
            command, input=task, capture_output=True, env={}, cwd="/", timeout=wall_seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return Ended(None, b"", b"")
    return Ended(done.returncode, done.stdout, done.stderr)


def run_child(
    job: Job, limits: Limits, catalogue: Mapping[str, ActionSpec], *, check_only: bool, start: Start = alone
) -> tuple[list[Diagnostic], Recording | None]:
    """(findings of the check, the recording unless it was not evaluated). Raises BadInput when a script
    fails, exceeds its bounds, or kills the evaluator."""
    task = Task(job, list(catalogue.values()), check_only, limits.memory_bytes)
    done = start(msgspec.msgpack.encode(task), limits.wall_seconds)
    if done.returncode is None:
        raise _died("it took too long", job)
    if done.returncode or not done.stdout:
        raise _died(_reason(done.returncode, done.stderr), job)
    line, _, recording = done.stdout.partition(b"\n")
    reply = msgspec.json.decode(line, type=Reply)
    if reply.error:
        names = {function_name(name): name for name in catalogue}
        found = diagnose(reply.error, job.files, names)
        if not found.where:
            found = msgspec.structs.replace(found, where=_place_of(reply.phase, job))
        raise BadInput([*reply.findings, found])
    return reply.findings, _recording(recording, job) if recording else None


def _recording(data: bytes, job: Job) -> Recording:
    try:
        return read_recording(data)
    except RecursionError as error:
        raise _died("a value that it gives is nested without end", job) from error


def _reason(code: int, stderr: bytes) -> str:
    if code < 0:
        return _DEATHS.get(signal.Signals(-code), f"the evaluator ended with {signal.Signals(-code).name}")
    if b"memory allocation" in stderr or b"MemoryError" in stderr:
        return "it ran out of memory"
    last = stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or [f"status {code}"]
    return f"the evaluator failed: {last[0][:200]}"


def _died(why: str, job: Job) -> BadInput:
    return BadInput.of(
        "the package could not be evaluated",
        where=_place_of("", job),
        why=why,
        next="look for a loop, a value or a setting's pattern without end; limits are in docs/package.md",
    )


def _place_of(phase: str, job: Job) -> str:
    """Where a phase's function stands; the first one's when it is not known which was evaluated."""
    for name, script in job.phases:
        if phase in (name, ""):
            found = definition(name, job.files[script])
            return f"{script}:{job.files[script].count(chr(10), 0, found.start()) + 1}:1" if found else f"{script}:1:1"
    return ""
