"""Repositories that are watched, and the daemon that watches them: real git, the real `plan`."""

import asyncio
import contextlib
import random
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from requisition.services.clock import Clock
from requisition.services.watch.config import Config, Watch
from requisition.services.watch.policy import Ref
from requisition.services.watch.state import State
from requisition.services.watch.supervisor import Settings, Supervisor
from support.remotes import Repo

DEADLINE = 40.0
PLAN = (sys.executable, "-P", "-m", "requisition.cli.main")


def package(body: str) -> str:
    """A package whose install phase does this."""
    return "def install(package, phase):\n" + "".join(f"    {line}\n" for line in body.splitlines())


def writes(text: str, path: str = "/site") -> str:
    """A package that writes one file."""
    return package(f"plan.file.write({text!r}, {path!r})")


class Watched:
    """One bare repository, somebody's clone of it, and the root that a watch of it writes to."""

    def __init__(self, folder: Path, name: str = "web") -> None:
        self.name = name
        self.bare = folder / f"{name}.git"
        self.work = Repo(folder / f"{name}-work")
        self.work.git("init", "--quiet", "--bare", "--initial-branch=main", str(self.bare))
        self.work.git("remote", "add", "origin", str(self.bare))
        self.root = folder / f"{name}-root"
        self.root.mkdir()

    @property
    def url(self) -> str:
        return f"file://{self.bare}"

    def push(self, star: str, ref: str = "main", *words: str, manifest: str = "") -> str:
        """Commit a package and push it; its commit."""
        (self.work.folder / "package.yaml").write_text(f"name: {self.name}\n{manifest}")
        (self.work.folder / "package.star").write_text(star)
        self.work.git("add", "--all")
        self.work.git(*words, "commit", "--quiet", "--allow-empty", "-m", "a change")
        self.work.git("push", "--quiet", "--force", "origin", f"HEAD:refs/heads/{ref}")
        return self.work.git("rev-parse", "HEAD")

    def watch(self, **fields: Any) -> Watch:
        """A watch of it that tries again at once."""
        given = {"retry_after": 0.05, "retry_limit": 0.2, "interval": 0.2, "root": str(self.root), **fields}
        return Watch(**{"name": self.name, "url": self.url, **given})

    def site(self, path: str = "site") -> str:
        """What the machine has."""
        file = self.root / path
        return file.read_text() if file.exists() else ""


class Gate:
    """A `plan` that waits before the steps that are held, so that a test decides when they go on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.plan = (sys.executable, "-P", str(Path(__file__).with_name("plan_gate.py")), str(folder))

    def hold(self, step: str) -> None:
        (self.folder / f"{step}.held").touch()

    def fail(self, step: str) -> None:
        (self.folder / f"{step}.fails").touch()

    def release(self, step: str) -> None:
        (self.folder / f"{step}.held").unlink()

    def reached(self, step: str) -> int:
        """How often it was begun."""
        log = self.folder / f"{step}.reached"
        return len(log.read_text().splitlines()) if log.exists() else 0


class Daemon:
    """A supervisor at work in this process."""

    def __init__(self, supervisor: Supervisor, state: State, said: list[str]) -> None:
        self.supervisor = supervisor
        self.state = state
        self.said = said

    def ref(self, watch: str, ref: str = "refs/heads/main") -> Ref:
        rows = {row.ref: row for row in self.state.refs(watch)}
        return rows.get(ref, Ref(watch=watch, ref=ref))

    async def until(self, condition: Callable[[], object], deadline: float = DEADLINE) -> None:
        """Wait until something holds; fails with what the daemon said."""
        end = time.monotonic() + deadline
        while not condition():
            assert time.monotonic() < end, "\n".join(
                [*self.said, *map(str, self.state.refs()), *map(str, self.state.runs(""))]
            )
            await asyncio.sleep(0.02)

    async def good(self, watch: str, commit: str, ref: str = "refs/heads/main") -> None:
        await self.until(lambda: self.ref(watch, ref).good == commit)


@contextlib.asynccontextmanager
async def daemon(
    folder: Path, *watches: Watch, tell: Any = None, plan: tuple[str, ...] = (), **fields: Any
) -> AsyncIterator[Daemon]:
    """Run a supervisor for a block."""
    said: list[str] = []
    config = Config(
        version="1", **{"interval": 0.2, "poll_timeout": 5, "watches": {w.name: w for w in watches}, **fields}
    )
    settings = Settings(
        config=config, state_dir=str(folder / "state"), folder=str(folder / "state/watch"), plan=plan or PLAN
    )
    state = State(str(folder / "state/watch/state.db"))
    supervisor = Supervisor(state, settings, Clock(), random.Random(1), said.append, tell)
    work = asyncio.create_task(supervisor.run())
    await asyncio.wait_for(supervisor.started.wait(), DEADLINE)
    try:
        yield Daemon(supervisor, state, said)
    finally:
        supervisor.stop()
        await work
        state.close()
