"""Watches as lines: how each stands, what ran, what happened."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from requisition.cli.drawing import counted, duration
from requisition.cli.output import Output
from requisition.services.clock import timestamp
from requisition.services.watch.refs import short

if TYPE_CHECKING:
    from requisition.services.watch.policy import Ref
    from requisition.services.watch.records import Listed, Run, Shown

_TONES = {"good": "good", "failed": "bad", "refused": "bad", "retrying": "warn", "running": "head", "queued": "head"}
_REFS_SHOWN = 3
_NOTES_SHOWN = 10


def troubled(listed: "Listed") -> bool:
    """Whether somebody should look at it."""
    return bool(listed.kept.paused or listed.remote.failures or any(ref.failed for ref in listed.refs))


def line(listed: "Listed", output: Output) -> str:
    """One watch in a list."""
    watch, paused = listed.kept.watch, listed.kept.paused
    mark = output.style("!", "warn") if troubled(listed) else output.style("✓", "good")
    states = [_ref(ref, output) for ref in listed.refs[:_REFS_SHOWN]]
    states += [f"and {len(listed.refs) - _REFS_SHOWN} more"] if len(listed.refs) > _REFS_SHOWN else []
    if listed.remote.failures:
        states.append(output.style("remote: " + listed.remote.reason, "warn"))
    if paused:
        states.append(output.style("paused: " + paused, "warn"))
    return f"{mark} {output.style(watch.name, 'head')}  {watch.url}  " + (", ".join(states) or "not asked yet")


def _ref(ref: "Ref", output: Output) -> str:
    commit = ref.running or ref.queued or ref.seen
    return f"{short(ref.ref)} {commit[:12]} {output.style(ref.status, _tone(ref.status))}"


def _tone(status: str) -> str:
    return _TONES.get(status, "dim")


def page(shown: "Shown", output: Output) -> Iterator[str]:
    """All about one watch."""
    listed = shown.listed
    watch, remote = listed.kept.watch, listed.remote
    yield f"{output.style(watch.name, 'head')}  {output.style(watch.url, 'path')}"
    yield f"  {' '.join(watch.refs)}" + (f"  every {duration(watch.interval)}" if watch.interval else "")
    yield f"  trust: {watch.trust or 'unsigned, as long as this machine has no trust policy'}"
    if listed.kept.paused:
        yield f"  {output.style('paused', 'warn')}: {listed.kept.paused}"
    asked = f"asked at {timestamp(remote.asked)}" if remote.asked else "not asked yet"
    failures = f", {counted(remote.failures, 'failure')}: {remote.reason}" if remote.failures else ""
    yield f"  remote: {asked}{failures}"
    for ref in listed.refs:
        good = f", good is {ref.good[:12]}" if ref.good and ref.good != ref.seen else ""
        yield f"  {_ref(ref, output)}{good}" + (f"  {output.style(ref.reason, 'dim')}" if ref.reason else "")
    for run in shown.runs[:1]:
        steps = ", ".join(f"{step.step} {output.style(step.status, _tone(step.status))}" for step in shown.steps)
        yield f"Newest run: {_run(run, output)}"
        yield f"  {steps}" if steps else "  no step yet"
        if run.receipt:
            yield f"  receipt: {run.receipt}"
    if shown.runs[1:]:
        yield "Before it:"
        yield from (f"  {_run(run, output)}" for run in shown.runs[1:])
    if shown.notes:
        yield "What happened, newest first:"
    for note in shown.notes[:_NOTES_SHOWN]:
        yield f"  {timestamp(note.at)}  " + f"{short(note.ref)} {note.text}".strip()


def _run(run: "Run", output: Output) -> str:
    took = f" in {duration(run.ended - run.started)}" if run.ended else ""
    why = f"  {output.style(run.reason, 'dim')}" if run.reason else ""
    head = f"{run.id}  {timestamp(run.started)}  {short(run.ref)} {run.hash[:12]}"
    return f"{head}  {output.style(run.status, _tone(run.status))}{took}{why}"
