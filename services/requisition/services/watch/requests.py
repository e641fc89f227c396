"""What may be asked of the daemon over its socket. Every request is a record that is checked before it does anything;
none takes a command to run: a watch names a repository, and how it is to be trusted.
"""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from requisition.schemas.diagnostic import BadInput
from requisition.services.control import Verb
from requisition.services.watch.config import Config, watch_of
from requisition.services.watch.records import Listed, Shown
from requisition.services.watch.supervisor import Supervisor


class Nothing(Struct, frozen=True, forbid_unknown_fields=True):
    """No arguments."""


class Add(Struct, frozen=True, forbid_unknown_fields=True):
    """Watch one more; `watch`: the fields of watch.yaml."""

    name: str
    watch: dict[str, Any]


class Named(Struct, frozen=True, forbid_unknown_fields=True):
    """About the watch of that name."""

    name: str


class Pause(Struct, frozen=True, forbid_unknown_fields=True):
    """Begin nothing more of a watch."""

    name: str
    why: str = ""


class Run(Struct, frozen=True, forbid_unknown_fields=True):
    """Run one ref of a watch, or all ("") of them."""

    name: str
    ref: str = ""


class Logs(Struct, frozen=True, forbid_unknown_fields=True):
    """The log of a run, or of the newest run of the watch `name`; with `follow` until it has ended."""

    name: str = ""
    run: str = ""
    follow: bool = False


Asked = TypeVar("Asked", bound=Struct)


class Requests:
    """The verbs, upon a supervisor. Those that change something are done, durably, when they answer."""

    def __init__(self, supervisor: Supervisor, reread: Callable[[], Config]) -> None:
        """`reread`: watch.yaml as it is now."""
        self._supervisor = supervisor
        self._reread = reread

    async def ready(self) -> None:
        """Return when the supervisor knows its watches."""
        await self._supervisor.started.wait()

    async def add(self, asked: Add) -> None:
        """Watch one more."""
        await self._supervisor.add(watch_of(asked.name, asked.watch))

    async def show(self, asked: Named) -> Shown:
        """All about one."""
        return await self._supervisor.show(asked.name)

    async def pause(self, asked: Pause) -> None:
        """Begin nothing more of it; what runs goes on to its end."""
        await self._supervisor.pause(asked.name, asked.why)

    async def resume(self, asked: Named) -> None:
        """Go on, and try anew what failed."""
        await self._supervisor.resume(asked.name)

    async def run(self, asked: Run) -> list[str]:
        """Run what the remote was seen to have; the refs that will be."""
        return await self._supervisor.run_now(asked.name, asked.ref)

    async def wake(self, _: Nothing) -> int:
        """Ask every remote now; how many watches that concerns."""
        return await self._supervisor.wake()

    async def remove(self, asked: Named) -> None:
        """End what runs of it, and forget it."""
        await self._supervisor.remove(asked.name)

    async def reload(self, _: Nothing) -> list[str]:
        """Take over what watch.yaml says now; the watches that are new, others or gone by it. Raises BadInput, and
        then all stays as it was."""
        return await self._supervisor.declare(await asyncio.to_thread(self._reread))

    async def stop(self, _: Nothing) -> None:
        """End the daemon; what it cuts off goes on at its next start."""
        self._supervisor.stop()

    async def logs(self, asked: Logs) -> AsyncIterator[str]:
        """Lines."""
        run = asked.run or await self._newest(asked.name)
        async for line in self._supervisor.follow(run, on=asked.follow):
            yield line

    async def list(self, _: Nothing) -> list[Listed]:
        """All watches."""
        return await self._supervisor.list()

    async def _newest(self, name: str) -> str:
        runs = (await self._supervisor.show(name)).runs
        if not runs:
            raise BadInput.of(f"{name} has not run yet", next=f"plan watch show {name}")
        return runs[0].id


def verbs(requests: Requests) -> Mapping[str, Verb]:
    """The table of the socket. Who asks while the service begins is answered when it knows its watches."""
    ready = requests.ready
    return {
        "add": _checked(Add, requests.add, ready),
        "list": _checked(Nothing, requests.list, ready),
        "show": _checked(Named, requests.show, ready),
        "pause": _checked(Pause, requests.pause, ready),
        "resume": _checked(Named, requests.resume, ready),
        "run": _checked(Run, requests.run, ready),
        "wake": _checked(Nothing, requests.wake, ready),
        "logs": _checked(Logs, requests.logs, ready),
        "remove": _checked(Named, requests.remove, ready),
        "reload": _checked(Nothing, requests.reload, ready),
        "stop": _checked(Nothing, requests.stop),
    }


def _checked(
    kind: type[Asked],
    answer: Callable[[Asked], Awaitable[Any] | AsyncIterator[Any]],
    ready: Callable[[], Awaitable[object]] | None = None,
) -> Verb:
    async def later(asked: Asked) -> Any:
        assert ready is not None
        await ready()
        return await answer(asked)  # type: ignore[misc]

    async def items_later(asked: Asked) -> AsyncIterator[Any]:
        assert ready is not None
        await ready()
        async for item in answer(asked):  # type: ignore[union-attr]
            yield item

    def ask(args: dict[str, Any]) -> Any:
        try:
            asked = msgspec.convert(args, kind)
        except msgspec.ValidationError as error:
            raise BadInput.of(f"the request is not as it must be: {error}") from error
        if ready is None:
            return answer(asked)
        return items_later(asked) if inspect.isasyncgenfunction(answer) else later(asked)

    return ask
