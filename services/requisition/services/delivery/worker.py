"""The worker: takes jobs that are due, as many at a time as each destination allows, and sees to it that each is held,
stopped when someone wants it stopped, and let go of. What is done to a job is in `attempt.py`.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from requisition.schemas.diagnostic import Failure
from requisition.services.delivery.attempt import TICK, Attempt
from requisition.services.delivery.bandwidth import limit_at
from requisition.services.delivery.config import PAUSED, Delivery, Destination
from requisition.services.delivery.failures import Breaker, admits, admitted, failed
from requisition.services.delivery.gate import load_validators
from requisition.services.delivery.hashing import Cache
from requisition.services.delivery.held import Means
from requisition.services.delivery.job import Job
from requisition.services.delivery.owners import Owner, dead
from requisition.services.delivery.queue import LEASE, Lost, Queue
from requisition.services.delivery.records import Records
from requisition.services.delivery.transport import Progress, Transport
from requisition.services.delivery.verbs import pauses

T = TypeVar("T")
_RENEW = LEASE / 3
_THREADS = 16


class Worker:
    """All destinations of a configuration, for one `run`. `state`: the folder of the queue's other files;
    `transports`: how a destination is spoken to; `random` in [0, 1); `say` hears what a log should hold."""

    def __init__(
        self,
        queue: Queue,
        delivery: Delivery,
        state: str,
        transports: Callable[[Destination], Transport],
        random: Callable[[], float],
        say: Callable[[str], None],
    ) -> None:
        self._queue = queue
        self._delivery = delivery
        self._owners = os.path.join(state, "owners")
        self._transports = {name: transports(one) for name, one in delivery.destinations.items()}
        self._breakers = dict.fromkeys(delivery.destinations, Breaker())
        self._random = random
        self._say = say
        self._desk = ThreadPoolExecutor(1, thread_name_prefix="queue")
        self._means = Means(
            queue=queue,
            delivery=delivery,
            records=Records(os.path.join(state, "manifests")),
            cache=Cache(os.path.join(state, "hashes.db")),
            validators=load_validators(say),
            random=random,
            say=say,
            desk=self._desk,
        )
        self._working: dict[asyncio.Task[None], Attempt] = {}
        self._awake = asyncio.Event()
        self._ending = False
        self._trouble = ""

    def stop(self) -> None:
        """Let `run` return soon; what is under way is stopped in good order and gone on with later."""
        self._ending = True
        self._awake.set()

    def wake(self) -> None:
        """Something changed in the queue: look at once."""
        self._awake.set()

    def progress(self) -> Mapping[str, Progress]:
        """Job → how far its push is."""
        return {one.job.id: one.held.progress for one in self._working.values() if one.held.progress is not None}

    def resting(self) -> Mapping[str, float]:
        """Destination → seconds until it is tried again, where too many failures in a row were its own."""
        now = self._queue.clock.elapsed()
        return {name: max(0.0, one.until - now) for name, one in self._breakers.items() if not admits(one, now)}

    async def run(self, *, until_idle: bool = False) -> None:
        """Work until `stop`; with `until_idle`, until nothing is due and nothing is under way. The loop is given so
        many threads that jobs which hash, copy or delete keep nobody else waiting for one."""
        threads = _THREADS + 2 * sum(one.workers for one in self._delivery.destinations.values())
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(threads, thread_name_prefix="work"))
        try:
            with Owner(self._owners) as owner:
                await self._work(owner.name, until_idle)
        finally:
            self._desk.shutdown()
            self._means.cache.close()

    async def _work(self, owner: str, until_idle: bool) -> None:
        await self._tried(self._bury)
        if self._delivery.cleanup.enabled:
            await self._tried(self._at_desk, self._queue.arm)
        pulse = asyncio.ensure_future(self._pulse())
        try:
            while not self._ending:
                self._awake.clear()
                begun = await self._tried(self._begin, owner)
                if until_idle and not begun and not self._working:
                    return
                await self._tried(self._heed)
                await self._rest()
                if pulse.done():
                    pulse.result()  # without it nothing is held: its error is ours
        finally:
            pulse.cancel()
            for attempt in self._working.values():
                attempt.stop("rest")
            await asyncio.gather(pulse, *self._working, return_exceptions=True)

    async def _rest(self) -> None:
        waking = asyncio.ensure_future(self._awake.wait())
        try:
            await asyncio.wait([waking, *self._working], timeout=TICK, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waking.cancel()
        for task in [one for one in self._working if one.done()]:
            self._ended(self._working.pop(task), task)

    # --- what begins and ends

    async def _begin(self, owner: str) -> bool:
        """Begin jobs until none is due or no destination has room. Whether any began."""
        begun = False
        while (room := self._room()) and await self._at_desk(self._queue.next_due, room) == 0:
            job = await self._at_desk(self._queue.claim, owner, room)
            if job is None:
                break
            self._start(job)
            begun = True
        return begun

    def _start(self, job: Job) -> None:
        name = job.destination
        self._breakers[name] = admitted(self._breakers[name])
        attempt = Attempt(self._means, job, self._delivery.destinations[name], self._transports[name])
        self._working[asyncio.ensure_future(attempt.run())] = attempt

    def _room(self) -> dict[str, int]:
        """Destinations that may be given another job now, and how many they may have in all."""
        now, elapsed = self._queue.clock.now(), self._queue.clock.elapsed()
        busy = [one.job.destination for one in self._working.values()]
        return {
            name: one.workers
            for name, one in self._delivery.destinations.items()
            if busy.count(name) < one.workers
            and limit_at(one.bandwidth, now) != PAUSED
            and admits(self._breakers[name], elapsed)
        }

    def _ended(self, attempt: Attempt, task: "asyncio.Task[None]") -> None:
        name, now = attempt.job.destination, self._queue.clock.elapsed()
        if not task.cancelled() and (error := task.exception()):
            self._say(f"job {attempt.job.id}: what became of it could not be written down: {error}")
        breaker = self._breakers[name]
        if attempt.held.failure is not None:
            self._breakers[name] = failed(breaker, attempt.held.failure, now, self._random)
            if self._breakers[name].until > now:
                self._say(f"{name} rests for {self._breakers[name].until - now:.0f} s: {attempt.job.error}")
        elif attempt.reached:
            self._breakers[name] = Breaker()
        elif breaker.probing:  # it never came to ask the destination anything: let another one try
            self._breakers[name] = Breaker(breaker.failures, breaker.until)

    # --- what is asked meanwhile

    async def _heed(self) -> None:
        """Stop what someone wants stopped."""
        if not self._working:
            return
        held, paused = await self._at_desk(self._asked)
        for attempt in list(self._working.values()):
            stop = held.get(attempt.job.id, "")
            if stop not in ("", "look"):
                attempt.stop(stop)
            elif attempt.job.destination in paused:
                attempt.stop("rest")

    def _asked(self) -> tuple[dict[str, str], dict[str, str]]:
        with self._queue.reading() as rows:
            held = {row[0]: row[1] for row in rows.execute("SELECT id, stop FROM jobs WHERE lease <> ''")}
        return held, pauses(self._queue)

    async def _pulse(self) -> None:
        """Hold on to what is under way, and take over what belonged to workers that are no more."""
        while True:
            await asyncio.sleep(_RENEW)
            await self._tried(self._bury)
            for attempt in list(self._working.values()):
                try:
                    await attempt.held.renew()
                except Lost:
                    attempt.stop("lost")
                except Failure as failure:
                    self._say(str(failure))

    async def _bury(self) -> None:
        for owner in await self._at_desk(self._queue.owners):
            if dead(self._owners, owner):
                await self._at_desk(self._queue.bury, owner)
                self._awake.set()

    # --- the queue's thread

    async def _at_desk(self, verb: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._desk, verb, *args)

    async def _tried(self, work: Callable[..., Awaitable[T]], *args: Any) -> T | None:
        """Do it; a queue that cannot be written to (a full disk) is told of, once, and tried again later."""
        try:
            done = await work(*args)
        except Failure as failure:
            if str(failure) != self._trouble:
                self._say(str(failure))
            self._trouble = str(failure)
            return None
        self._trouble = ""
        return done
