"""One commit, from the remote to the machine: fetch → check → build → verify → apply → receipt.

Each step is a process of its own, or a few, that hold the watch's lock; it is written down before it begins. A run
that was cut off begins again at its first step, all of which may be repeated: what `plan apply` had begun for it is
finished, and what it had done is not done again.
"""

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from requisition.runtime.layout import root_directory
from requisition.runtime.lock import is_held
from requisition.runtime.past import receipt_path
from requisition.runtime.past import runs as past_runs
from requisition.runtime.runinfo import RunInfo
from requisition.schemas.diagnostic import Failed, Failure
from requisition.services import processes
from requisition.services.processes import Ended, Limits
from requisition.services.watch import policy, refs, steps
from requisition.services.watch.config import Watch
from requisition.services.watch.policy import Ending
from requisition.services.watch.records import Run
from requisition.services.watch.remote import Clone, why
from requisition.services.watch.runlogs import RunLog, readable
from requisition.services.watch.steps import Place

GRACE = 60.0
"""Seconds that a program has to take back what it began, before it is killed."""
_PAUSE = 0.1
_MAX_LINE = 1 << 20
_SHOWN = 500


class Rewritten(Failed):
    """The branch was rewritten, or the tag moved: trying again does not help."""


class Ledger(Struct, frozen=True):
    """Where a pipeline writes down what it is about to do, that it is done, and what `plan apply` said (`State`)."""

    step: Callable[[str], Awaitable[None]]
    stepped: Callable[[str], Awaitable[None]]
    applied: Callable[[str, str], Awaitable[None]]


class Earlier(Struct, frozen=True):
    """What earlier runs of `plan apply` mean for this one: those to take back first, the one to finish, the one that
    did all of it already; "" for none."""

    take_back: tuple[str, ...] = ()
    finish: str = ""
    done: str = ""


def earlier(runs: Iterable[RunInfo], source: str, trees: str) -> Earlier:
    """Read the past: only runs whose package lay in `trees` are ours, and only those of `source` are of this run."""
    ours = [run for run in runs if run.source_root.startswith(f"{trees}/")]
    mine = next((run for run in reversed(ours) if run.source_root == source), None)
    return Earlier(
        tuple(run.run_id for run in reversed(ours) if run.state == "running" and run.source_root != source),
        mine.run_id if mine is not None and mine.state == "running" else "",
        mine.run_id if mine is not None and mine.state == "executed" and mine.outcome != "error" else "",
    )


class Pipeline:
    """One run of a watch. `lock`: the descriptor that all its programs hold."""

    def __init__(self, watch: Watch, run: Run, place: Place, lock: int, log: RunLog, ledger: Ledger) -> None:
        self._watch = watch
        self._run = run
        self._place = place
        self._lock = lock
        self._log = log
        self._ledger = ledger
        self._until = asyncio.get_running_loop().time() + watch.timeout
        self._source = f"{place.tree}/{watch.path}".rstrip("/")

    async def work(self) -> tuple[Ending, str]:
        """Do all steps; how that ended, and why. When cancelled, ends its programs, and leaves the run to go on."""
        try:
            for step in steps.steps_of(self._watch):
                await self._step(step)
        except Failure as error:
            reason = str(error.diagnostics[0].what if error.diagnostics else error)[:_SHOWN]
            self._log.line(f"failed: {error}")
            if self._watch.on_failure == "rollback":
                reason += await self._take_back()
            return ("refused" if isinstance(error, Rewritten) else "failed"), reason
        self._log.line("good")
        return "good", ""

    async def _step(self, step: str) -> None:
        await self._ledger.step(step)
        self._log.line(f"── {step}")
        try:
            if step == "fetch":
                await self._fetch()
            elif step == "apply":
                await self._apply()
            else:
                await self._plain(step)
        except Failure as error:
            await self._ledger.stepped(str(error.diagnostics[0].what)[:_SHOWN])
            raise
        await self._ledger.stepped("")

    async def _fetch(self) -> None:
        watch, run = self._watch, self._run
        clone = Clone(self._place.clone, watch.url, (self._lock,), self._log.write)
        await asyncio.to_thread(clone.prepare)
        if run.ref.startswith(refs.TAGS) or not await clone.has(run.hash, self._left()):
            await clone.fetch(run.ref, self._left())
        if not await clone.has(run.hash, self._left()):
            raise Failed.of(
                f"{refs.short(run.ref)} is not at {run.hash[:12]} any more", next="the next cycle sees what it is"
            )
        if run.good and watch.on_rewrite == "refuse" and not run.forced:
            follows = await clone.follows(run.hash, run.good, self._left())
            if policy.rewritten(run.ref, run.good, run.hash, follows=follows):
                raise Rewritten.of(
                    f"{refs.short(run.ref)} was rewritten: {run.hash[:12]} does not follow {run.good[:12]}",
                    why="that is its last good commit, and this watch refuses to leave it",
                    next=f"if that is meant: plan watch now {watch.name} {refs.short(run.ref)}",
                )
        try:
            await clone.check_out(run.hash, self._place.tree, self._left())
        except Failed:
            await asyncio.to_thread(shutil.rmtree, clone.folder)  # it may be damaged: the next attempt fetches anew
            raise
        for path in (self._source, f"{self._place.tree}/{watch.order}".rstrip("/")):
            if not f"{os.path.realpath(path)}/".startswith(f"{os.path.realpath(self._place.tree)}/"):
                raise Failed.of(f"{path.removeprefix(self._place.tree)} leads out of the repository")

    async def _plain(self, step: str) -> None:
        if step == "receipt" and not self._run.applied:
            raise Failed.of("plan apply named no run")
        words = steps.command(step, self._watch, self._run, self._place)
        ended = await self._program(words, self._log.write, self._left())
        if not ended.good:
            raise Failed.of(f"{step}: {_last_words(ended)}")

    async def _apply(self) -> None:
        before = await self._before()
        for cut_off in before.take_back:
            self._log.line(f"an earlier run was cut off: taking {cut_off} back")
            await self._plan(steps.rolling_back(self._watch, cut_off, self._place), "rollback")
        if before.done:
            self._log.line(f"{before.done} did this already")
            await self._note(before.done, receipt_path(self._place.state_dir, before.done))
        elif before.finish:
            self._log.line(f"{before.finish} was cut off: finishing it")
            await self._plan(steps.resuming(self._watch, before.finish, self._place), "apply")
        else:
            await self._plan(steps.command("apply", self._watch, self._run, self._place), "apply")

    async def _before(self) -> Earlier:
        """What earlier runs mean. Runtimes that lost their `plan apply` and still work are waited for: they end by
        themselves, or `plan` says that they did not."""
        loop = asyncio.get_running_loop()
        until = loop.time() + GRACE
        while True:
            past = await asyncio.to_thread(past_runs, self._place.state_dir)
            found = earlier(past, self._source, f"{self._place.folder}/trees")
            roots = {run.target_root for run in past if run.run_id in (*found.take_back, found.finish)}
            held = any(is_held(f"{root_directory(self._place.state_dir, root)}/lock") for root in roots)
            if not held or loop.time() > until:
                return found
            await asyncio.sleep(_PAUSE)

    async def _plan(self, words: Sequence[str], what: str) -> None:
        """A `plan` command that says JSON. Raises Failed with what it says itself."""
        lines = _Lines(self._log)
        left = self._left() if what == "apply" else self._watch.timeout
        ended = await self._program(words, lines.hear, left)
        lines.end()
        if what == "apply" and lines.result.get("run_id"):
            await self._note(str(lines.result["run_id"]), str(lines.result.get("receipt", "")))
        if not ended.good:
            raise Failed.of(f"{what}: {ended.stopped or lines.complaint or _last_words(ended)}")

    async def _note(self, applied: str, receipt: str) -> None:
        self._run = msgspec.structs.replace(self._run, applied=applied, receipt=receipt)
        await self._ledger.applied(applied, receipt)

    async def _take_back(self) -> str:
        """Roll back what of this run stands; what to add to the reason when that did not succeed."""
        past = await asyncio.to_thread(past_runs, self._place.state_dir)
        standing = [run.run_id for run in past if run.source_root == self._source and run.state != "rolled_back"]
        if not standing:
            return ""
        await self._ledger.step("rollback")
        self._log.line("── rollback")
        try:
            await self._plan(steps.rolling_back(self._watch, standing[-1], self._place), "rollback")
        except Failure as error:
            reason = str(error.diagnostics[0].what)[:_SHOWN]
            await self._ledger.stepped(reason)
            return f"; {reason}"
        await self._ledger.stepped("")
        return "; it was taken back"

    async def _program(self, words: Sequence[str], hear: Callable[[bytes], None], left: float) -> Ended:
        return await processes.run(
            words,
            env=steps.environment(self._watch),
            limits=Limits(total=left, grace=GRACE),
            inherit=(self._lock,),
            on_out=hear,
            on_err=self._log.write,
        )

    def _left(self) -> float:
        """Seconds that the pipeline may still take. Raises Failed when there are none."""
        left = self._until - asyncio.get_running_loop().time()
        if left <= 0:
            raise Failed.of(f"took longer than {self._watch.timeout:g} s")
        return left


class _Lines:
    """What `plan … --json` says: for the log as a person reads it; its result for us."""

    def __init__(self, log: RunLog) -> None:
        self.result: dict[str, Any] = {}
        self.complaint = ""
        self._log = log
        self._rest = b""

    def hear(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        self._rest = self._rest[-_MAX_LINE:]
        for line in lines:
            self._log.write(readable(line) + b"\n")
            self._heed(line)

    def end(self) -> None:
        if self._rest:
            self.hear(b"\n")

    def _heed(self, line: bytes) -> None:
        try:
            said = msgspec.json.decode(line, type=dict[str, Any])
        except msgspec.MsgspecError:
            return  # no JSON: it is in the log
        if said.get("type") == "result":
            self.result = said
        findings = said.get("diagnostics") or ([said] if said.get("type") == "diagnostic" else [])
        if findings and not self.complaint:
            self.complaint = str(findings[0].get("what", ""))


def _last_words(ended: Ended) -> str:
    """Why a program failed: its first error, else how it ended."""
    lines = ended.err.decode("utf-8", "replace").splitlines()
    error = next((line.removeprefix("error: ") for line in lines if line.startswith("error: ")), "")
    return ended.stopped or error or why(ended)
