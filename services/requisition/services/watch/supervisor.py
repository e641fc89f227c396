"""The loop of the daemon: a task for each watch that runs its pipelines, beside those that ask remotes (`polling.py`).

None of them waits for another, for the disk, or for a program of another: changes of state are made by one thread in
the order asked, and how many pipelines work at a time is bounded by turns that one that hangs does not keep
(`turns.py`).
"""

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from random import Random
from typing import ParamSpec, TypeVar

from msgspec import Struct

from requisition.schemas.diagnostic import BadInput, Conflicted, Diagnostic
from requisition.services.clock import Clock
from requisition.services.watch import refs
from requisition.services.watch.alone import alone, only_one
from requisition.services.watch.config import Config, Watch, faults
from requisition.services.watch.pipeline import GRACE, Ledger, Pipeline
from requisition.services.watch.policy import Ending, Ref
from requisition.services.watch.polling import Polling, sleep
from requisition.services.watch.records import Counters, Kept, Listed, Run, Shown
from requisition.services.watch.runlogs import RunLog, RunLogs
from requisition.services.watch.state import State
from requisition.services.watch.steps import Place, sweep
from requisition.services.watch.turns import Turns
from requisition.stdlib.action import ActionError

_PATIENCE = 15.0
_TROUBLE = 60.0
_TIDY = 3600.0
_TELLING = 60.0

P = ParamSpec("P")
T = TypeVar("T")
Tell = Callable[[Watch, Run, str], Awaitable[None]]
"""Told of the end of each run, and why the watch was paused by it ("" when it was not)."""


class Settings(Struct, frozen=True, kw_only=True):
    """`folder`: where the daemon keeps its own, `<state_dir>/watch`; `state_dir`: of `plan apply`; `plan`: how the
    command is started."""

    config: Config
    state_dir: str
    folder: str
    plan: tuple[str, ...] = (sys.executable, "-P", "-m", "requisition.cli.main")


class _Served:
    """One watch: its task, and what wakes it."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.wake = asyncio.Event()
        self.task: asyncio.Task[None] | None = None


class Supervisor:
    """All watches of one daemon. `say` takes lines for its log; `tell` hears of runs that ended, and may fail.

    `started` is set when all watches are at work, `counters` says what happened since."""

    def __init__(
        self,
        state: State,
        settings: Settings,
        clock: Clock,
        random: Random,
        say: Callable[[str], None],
        tell: Tell | None = None,
    ) -> None:
        self.counters = Counters()
        self.started = asyncio.Event()
        self._state = state
        self._settings = settings
        self._clock = clock
        self._random = random
        self._say = say
        self._tell = tell
        self._shown = State(state.path)  # a connection of its own: who only looks never waits for a disk that writes
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="state")
        self._looking = ThreadPoolExecutor(1, thread_name_prefix="look")
        self._logs = RunLogs(f"{settings.folder}/runs")
        self._served: dict[str, _Served] = {}
        self._telling: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self._turns = Turns(settings.config.jobs, _PATIENCE)
        self._polling = Polling(settings.config, clock, random, self.counters, say, self._observe)

    async def run(self) -> None:
        """Work until `stop`; what was cut off before goes on. Raises Conflicted when another works here already."""
        with only_one(self._settings.folder):
            await self._run()

    async def _run(self) -> None:
        for name in ("locks", "watches"):
            os.makedirs(f"{self._settings.folder}/{name}", mode=0o700, exist_ok=True)
        declared = list(self._settings.config.watches.values())
        await self._do(self._state.declare, declared, self._clock.now())
        for kept in await self._do(self._state.watches):
            if kept.watch.name not in self._served:  # it was added meanwhile
                self._begin(kept.watch)
        self.started.set()
        tidying = asyncio.create_task(self._tidy_now_and_then())
        try:
            await self._stopping.wait()
        finally:
            await self._polling.close()
            await _end(served.task for served in self._served.values())
            await _end([*self._telling, tidying])
            self._served.clear()
            self._thread.shutdown(wait=True)
            self._looking.shutdown(wait=True)
            self._shown.close()

    def stop(self) -> None:
        """End soon: `run` returns when all that was started has ended. What is cut off goes on at the next start."""
        self._stopping.set()

    async def add(self, watch: Watch) -> None:
        """Watch one more. Raises BadInput for what cannot be meant, Conflicted when there is one of that name."""
        if found := [Diagnostic(what=f"{watch.name}: {what}") for _, what in faults(watch)]:
            raise BadInput(found)
        await self._do(self._state.add, watch, self._clock.now())
        self._begin(watch)

    async def remove(self, name: str) -> None:
        """End what runs of it, and forget it. Raises BadInput, and Conflicted when watch.yaml has it."""
        kept = await self._do(self._state.watch, name)
        if kept.origin == "file":
            raise Conflicted.of(f"{name} stands in watch.yaml", next="remove it there, then plan watch reload")
        await self._leave(name)
        await self._do(self._state.remove, name, self._clock.now())
        await asyncio.to_thread(shutil.rmtree, self._folder(name), ignore_errors=True)

    async def declare(self, config: Config) -> list[str]:
        """Take over the watches, interval and poll_timeout of a watch.yaml that was changed; which watches are new,
        others, or gone. A pipeline of one that changed is cut off, and begins again."""
        wanted = config.watches
        known = {kept.watch.name: kept for kept in await self._do(self._state.watches)}
        gone = [name for name, kept in known.items() if kept.origin == "file" and name not in wanted]
        changed = [name for name, watch in wanted.items() if name not in known or known[name].watch != watch]
        for name in (*gone, *changed):
            await self._leave(name)
        await self._do(self._state.declare, list(wanted.values()), self._clock.now())
        for name in gone:
            await asyncio.to_thread(shutil.rmtree, self._folder(name), ignore_errors=True)
        self._polling.adopt(config)
        for name in changed:
            self._begin(wanted[name])
        return sorted((*gone, *changed))

    async def _leave(self, name: str) -> None:
        """Do nothing more for a watch; what runs of it is ended."""
        if (served := self._served.pop(name, None)) is not None:
            self._polling.unwatch(served.watch)
            await _end([served.task])

    async def pause(self, name: str, why: str) -> None:
        """Begin nothing more of it; what runs goes on to its end. Raises BadInput."""
        await self._do(self._state.pause, name, why, self._clock.now())

    async def resume(self, name: str) -> None:
        """Go on, and try anew what failed. Raises BadInput."""
        await self._do(self._state.resume, name, self._clock.now())
        self._wake(name)

    async def run_now(self, name: str, ref: str = "") -> list[str]:
        """Run what is seen, of one ref or all, whatever became of it before; the refs that will be. Raises BadInput,
        and Conflicted when the watch is paused."""
        asked = await self._do(self._state.request, name, refs.full(ref) if ref else "", self._clock.now())
        self._wake(name)
        return asked

    async def wake(self, url: str = "") -> int:
        """Ask a remote now, or all of them; how many watches that concerns."""
        return len(self._polling.wake(url))

    async def list(self) -> list[Listed]:
        """All watches, by name."""
        kept, rows = await self._look(lambda: (self._shown.watches(), self._shown.refs()))
        by_watch: dict[str, list[Ref]] = {}
        for row in rows:
            by_watch.setdefault(row.watch, []).append(row)
        return [self._listed(one, by_watch.get(one.watch.name, ())) for one in kept]

    async def show(self, name: str) -> Shown:
        """One watch. Raises BadInput."""
        kept, rows, runs, steps, notes = await self._look(self._shown.all_about, name)
        return Shown(listed=self._listed(kept, rows), runs=tuple(runs), steps=tuple(steps), notes=tuple(notes))

    async def follow(self, run: str, *, on: bool = True) -> AsyncIterator[str]:
        """Lines of the log of a run, and with `on` those to come until it has ended. Raises BadInput."""
        await self._look(self._shown.run, run)
        async for line in self._logs.follow(run, on=on):
            yield line

    def _listed(self, kept: Kept, rows: Iterable[Ref]) -> Listed:
        return Listed(kept=kept, remote=self._polling.status(kept.watch.url), refs=tuple(rows))

    def _begin(self, watch: Watch) -> None:
        served = self._served[watch.name] = _Served(watch)
        served.task = asyncio.create_task(self._serve(served), name=f"watch {watch.name}")
        self._polling.watch(watch)

    def _wake(self, name: str) -> None:
        if name in self._served:
            self._served[name].wake.set()

    async def _observe(self, watch: Watch, found: Mapping[str, str]) -> None:
        wanted = refs.wanted(watch.refs, found)
        news = await self._do(self._state.observe, watch.name, wanted, self._clock.now())
        for one in news:
            self._say(f"{watch.name}: {one}")
        if news:
            self._wake(watch.name)

    async def _serve(self, served: _Served) -> None:
        """Run what is due of one watch, one after another, for good."""
        while True:
            served.wake.clear()
            try:
                wait = await self._serve_once(served.watch)
            except Exception as error:  # noqa: BLE001  (one watch never ends the others; it is told and tried again)
                self._say(f"{served.watch.name}: {error!r}")
                wait = _TROUBLE
            await sleep(served.wake, wait)

    async def _serve_once(self, watch: Watch) -> float | None:
        """Run one pipeline if one is due; seconds until the next is (None: when something happens)."""
        wait = await self._do(self._state.due_in, watch.name, self._clock.now())
        if wait is None or wait > 0:
            return wait
        lock = f"{self._settings.folder}/locks/{watch.name}"
        async with alone(lock, GRACE, lambda text: self._say(f"{watch.name}: {text}")) as held, self._turns.turn():
            run = await self._do(self._state.begin, watch.name, self._new_id(), self._clock.now())
            if run is not None:
                await self._work(watch, run, held)
        return 0

    async def _work(self, watch: Watch, run: Run, lock: int) -> None:
        """One run to its end, and what follows from it."""
        log = self._logs.open(run.id)
        self.counters.running += 1
        try:
            ending, reason = await self._piped(watch, run, lock, log)
            why = await self._do(self._state.finish, run.id, ending, reason, self._clock.now(), self._random)
        finally:
            self.counters.running -= 1
            self._logs.close(run.id)
        if ending == "good":
            self.counters.runs_good += 1
        else:
            self.counters.runs_failed += 1
        self._say(f"{watch.name}: {refs.short(run.ref)} at {run.hash[:12]} {ending}{': ' + reason if reason else ''}")
        if why:
            self._say(f"{watch.name}: paused: {why}")
        if self._tell is not None:
            ended = await self._do(self._state.run, run.id)
            task = asyncio.create_task(self._told(self._tell(watch, ended, why)))
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)
        kept = await self._do(self._state.good_runs, watch.name)
        await asyncio.to_thread(sweep, self._folder(watch.name), kept)

    async def _piped(self, watch: Watch, run: Run, lock: int, log: RunLog) -> tuple[Ending, str]:
        place = Place(
            plan=self._settings.plan, state_dir=self._settings.state_dir, folder=self._folder(watch.name), run=run.id
        )
        now = self._clock.now
        ledger = Ledger(
            step=lambda step: self._do(self._state.step, run.id, step, now()),
            stepped=lambda reason: self._do(self._state.stepped, run.id, reason, now()),
            applied=lambda applied, receipt: self._do(self._state.applied, run.id, applied, receipt),
        )
        try:
            for name in ("trees", "orders"):
                os.makedirs(f"{place.folder}/{name}", mode=0o700, exist_ok=True)
            return await Pipeline(watch, run, place, lock, log, ledger).work()
        except (OSError, ActionError) as error:  # a full disk, a folder that cannot be made: a failure as others are
            log.line(f"failed: {error}")
            return "failed", str(error)

    async def _told(self, telling: Awaitable[None]) -> None:
        """A notification that fails, or takes too long, changes nothing: it is counted, and said."""
        try:
            async with asyncio.timeout(_TELLING):
                await telling
        except Exception as error:  # noqa: BLE001  (whatever it is, the run ended as it did)
            self.counters.untold += 1
            self._say(f"a notification failed: {error!r}")

    async def _tidy_now_and_then(self) -> None:
        """Forget old runs, and their logs; also logs of a service that ended before it had removed them."""
        config = self._settings.config
        while True:
            before = self._clock.now() - config.keep_logs_for
            known = await self._do(self._state.drop_runs, config.keep_logs, before)
            await asyncio.to_thread(self._logs.keep_only, known)
            await asyncio.sleep(_TIDY)

    def _folder(self, name: str) -> str:
        return f"{self._settings.folder}/watches/{name}"

    def _new_id(self) -> str:
        now = datetime.fromtimestamp(self._clock.now(), UTC)
        return f"{now:%Y%m%dT%H%M%S}.{now.microsecond // 1000:03}Z-{self._random.getrandbits(32):08x}"

    async def _do(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Work at the database, in its thread, in the order asked."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(work, *args, **kwargs))

    async def _look(self, look: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Look at what is written down."""
        return await asyncio.get_running_loop().run_in_executor(self._looking, partial(look, *args, **kwargs))


async def _end(tasks: Iterable[asyncio.Task[None] | None]) -> None:
    """Cancel tasks, and wait until they have ended what they started."""
    begun = [task for task in tasks if task is not None]
    for task in begun:
        task.cancel()
    await asyncio.gather(*begun, return_exceptions=True)
