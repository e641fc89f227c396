"""Asks remotes what they have: a task for each, one question for all who watch it, later when it fails.

A remote that does not answer holds up nobody: its question ends by its time-out, and its turn long before.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from random import Random

from requisition.schemas.diagnostic import Failure
from requisition.services.clock import Clock
from requisition.services.watch import policy, remote
from requisition.services.watch.config import Config, Watch
from requisition.services.watch.records import Counters, Remote
from requisition.services.watch.turns import Turns

_PATIENCE = 2.0
_LIMIT = 3600.0
_TROUBLE = 60.0

Observe = Callable[[Watch, Mapping[str, str]], Awaitable[None]]
"""Told what a remote has, for each watch of it, whether that is new or not."""


class _Asked:
    """One remote: who watches it, how it answered so far, its task."""

    def __init__(self, url: str) -> None:
        self.now = Remote(url=url)
        self.watches: dict[str, Watch] = {}
        self.wake = asyncio.Event()
        self.task: asyncio.Task[None] | None = None


class Polling:
    """All remotes of one daemon."""

    def __init__(
        self,
        config: Config,
        clock: Clock,
        random: Random,
        counters: Counters,
        say: Callable[[str], None],
        observe: Observe,
    ) -> None:
        self._config = config
        self._clock = clock
        self._random = random
        self._counters = counters
        self._say = say
        self._observe = observe
        self._asked: dict[str, _Asked] = {}
        self._turns = Turns(config.polls, _PATIENCE)

    def adopt(self, config: Config) -> None:
        """Ask from now on as often, and as patiently, as this says."""
        self._config = config

    def watch(self, watch: Watch) -> None:
        """Ask the remote of a watch, too: now, and from now on."""
        asked = self._asked.get(watch.url)
        if asked is None:
            asked = self._asked[watch.url] = _Asked(watch.url)
            asked.task = asyncio.create_task(self._ask_for_good(asked), name=f"remote {watch.url}")
        asked.watches[watch.name] = watch
        asked.wake.set()

    def unwatch(self, watch: Watch) -> None:
        """Ask it no more for this watch, and when it was the last, not at all."""
        asked = self._asked.get(watch.url)
        if asked is not None:
            asked.watches.pop(watch.name, None)
            asked.wake.set()

    def wake(self, url: str) -> list[str]:
        """Ask a remote now, all of them for ""; the watches whose remotes these are."""
        woken = [asked for asked in self._asked.values() if url in ("", asked.now.url)]
        for asked in woken:
            asked.wake.set()
        return [name for asked in woken for name in asked.watches]

    def status(self, url: str) -> Remote:
        """How a remote answers."""
        asked = self._asked.get(url)
        return asked.now if asked is not None else Remote(url=url)

    async def close(self) -> None:
        """Ask nobody any more."""
        tasks = [asked.task for asked in self._asked.values() if asked.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._asked.clear()

    async def _ask_for_good(self, asked: _Asked) -> None:
        while asked.watches:
            asked.wake.clear()
            try:
                wait = await self._ask(asked)
            except Exception as error:  # noqa: BLE001  (one remote never ends the others; it is told and asked again)
                self._say(f"{asked.now.url}: {error!r}")
                wait = _TROUBLE
            await sleep(asked.wake, wait)
        del self._asked[asked.now.url]

    async def _ask(self, asked: _Asked) -> float:
        """Ask once, and tell who watches; seconds until the next time."""
        try:
            async with self._turns.turn():
                self._counters.polls += 1
                self._counters.polling += 1
                try:
                    found = await remote.heads(asked.now.url, self._config.poll_timeout)
                finally:
                    self._counters.polling -= 1
        except Failure as error:
            self._counters.polls_failed += 1
            return self._failed(asked, error.diagnostics[0].why or error.diagnostics[0].what)
        if asked.now.failures:
            self._say(f"{asked.now.url} answers again")
        wait = policy.spread(self._interval(asked), self._random)
        self._record(asked, wait, 0, "")
        for watch in list(asked.watches.values()):
            await self._observe(watch, found)
        return wait

    def _failed(self, asked: _Asked, reason: str) -> float:
        failures, interval = asked.now.failures + 1, self._interval(asked)
        if reason != asked.now.reason:
            self._say(f"{asked.now.url} does not answer: {reason}")
        wait = policy.pause(interval, failures, max(interval, _LIMIT), self._random)
        self._record(asked, wait, failures, reason)
        return wait

    def _interval(self, asked: _Asked) -> float:
        """The shortest that one of its watches wants."""
        return min((watch.interval or self._config.interval for watch in asked.watches.values()), default=_TROUBLE)

    def _record(self, asked: _Asked, wait: float, failures: int, reason: str) -> None:
        now = self._clock.now()
        asked.now = Remote(url=asked.now.url, asked=now, next=now + wait, failures=failures, reason=reason)


async def sleep(wake: asyncio.Event, seconds: float | None) -> None:
    """Until woken, or so many seconds (None: until woken)."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):  # not wait_for: that of 3.11 may lose a cancellation
            await wake.wait()
