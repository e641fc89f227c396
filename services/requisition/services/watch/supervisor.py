"""The loop: asks remotes, starts pipelines, waits for none of them."""

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from random import Random

from msgspec import Struct

from requisition.services.clock import Clock
from requisition.services.watch.config import Config, Watch
from requisition.services.watch.policy import Ref
from requisition.services.watch.records import Kept, Note, Run, Step
from requisition.services.watch.state import State


class Settings(Struct, frozen=True, kw_only=True):
    """`folder`: where the daemon keeps its own, `<state_dir>/watch`; `state_dir`: of `plan apply`; `plan`: how the
    command is started."""

    config: Config
    state_dir: str
    folder: str
    plan: tuple[str, ...] = (sys.executable, "-P", "-m", "requisition.cli.main")


class Remote(Struct, frozen=True, kw_only=True):
    """How a remote answers: `asked`: when last (0 never); `failures` in a row, and the `reason` of the last."""

    url: str
    asked: float = 0
    next: float = 0
    failures: int = 0
    reason: str = ""


class Listed(Struct, frozen=True, kw_only=True):
    """One watch in a list."""

    kept: Kept
    remote: Remote
    refs: tuple[Ref, ...]


class Shown(Struct, frozen=True, kw_only=True):
    """All about one watch: its last runs, the steps of the newest, what happened; newest first."""

    listed: Listed
    runs: tuple[Run, ...]
    steps: tuple[Step, ...]
    notes: tuple[Note, ...]


class Counters(Struct):
    """What happened since the start, for metrics."""

    polls: int = 0
    polls_failed: int = 0
    polling: int = 0
    runs_good: int = 0
    runs_failed: int = 0
    running: int = 0
    untold: int = 0


Tell = Callable[[Watch, Run, str], Awaitable[None]]
"""Told of the end of each run, and why the watch was paused by it ("" when it was not)."""


class Supervisor:
    """All watches of one daemon. `say` takes lines for its log; `tell` hears of runs that ended, and may fail."""

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

    async def run(self) -> None:
        """Work until `stop`; what was cut off before goes on."""
        raise NotImplementedError

    def stop(self) -> None:
        """End soon: `run` returns when all that was started has ended. What is cut off goes on at the next start."""
        raise NotImplementedError

    async def add(self, watch: Watch) -> None:
        """Watch one more. Raises BadInput for what cannot be meant, Conflicted when there is one of that name."""
        raise NotImplementedError

    async def remove(self, name: str) -> None:
        """End what runs of it, and forget it. Raises BadInput, and Conflicted when watch.yaml has it."""
        raise NotImplementedError

    async def pause(self, name: str, why: str) -> None:
        """Begin nothing more of it; what runs goes on to its end. Raises BadInput."""
        raise NotImplementedError

    async def resume(self, name: str) -> None:
        """Go on, and try anew what failed. Raises BadInput."""
        raise NotImplementedError

    async def run_now(self, name: str, ref: str = "") -> list[str]:
        """Run what is seen, of one ref or all, whatever became of it before; the refs that will be. Raises BadInput,
        and Conflicted when the watch is paused."""
        raise NotImplementedError

    async def wake(self, url: str = "") -> int:
        """Ask a remote now, or all of them; how many watches that concerns."""
        raise NotImplementedError

    async def list(self) -> list[Listed]:
        """All watches, by name."""
        raise NotImplementedError

    async def show(self, name: str) -> Shown:
        """One watch. Raises BadInput."""
        raise NotImplementedError

    def follow(self, run: str, *, on: bool = True) -> AsyncIterator[str]:
        """Lines of the log of a run, and with `on` those to come until it has ended. Raises BadInput."""
        raise NotImplementedError
