"""Many watches at once, some of which are silent or hang: how soon a commit is applied, how soon the socket answers,
how much memory it takes. For the nightly test and for `bench/watch.py`."""

import asyncio
import contextlib
import json
import os
import random
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from requisition.services.clock import Clock
from requisition.services.control import Control
from requisition.services.watch.config import Config, Watch
from requisition.services.watch.state import State
from requisition.services.watch.supervisor import Settings, Supervisor
from support.watched import Watched, package, writes

_CLIENT = """
import json, sys, time
from requisition.stdlib.control import ask
path, verbs, spent = sys.argv[1], sys.argv[2:], []
while True:
    for verb in verbs:
        begun = time.perf_counter()
        try:
            ask(path, *json.loads(verb))
        except Exception:
            print(json.dumps(spent))
            sys.exit()
        spent.append(time.perf_counter() - begun)
        time.sleep(0.05)
"""


class Figures(Struct):
    """Seconds: `applied` from a push to its good, each; `answers` of the socket, each; `cycle`: one question to all
    remotes. `asked`: questions altogether, `failed`: those without an answer."""

    applied: list[float]
    answers: list[float]
    asked: int
    failed: int
    hanging: int
    seconds: float

    def answered(self, share: float) -> float:
        """A quantile of the answers of the socket."""
        return statistics.quantiles(self.answers, n=1000)[int(share * 1000) - 1]


@contextlib.contextmanager
def silent_port() -> Iterator[int]:
    """A port that accepts, and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as server:
        yield server.getsockname()[1]


def _seeded(state: State, watch: Watch, commit: str) -> None:
    """As if its first commit had been applied long ago."""
    state.observe(watch.name, {"refs/heads/main": commit}, 0)
    run = state.begin(watch.name, f"19700101T000000.000Z-{watch.name}", 0)
    assert run is not None
    state.finish(run.id, "good", "", 0, random.Random(0))


async def scale(folder: Path, *, repos: int, silent: int, hanging: int, pushes: int, interval: float) -> Figures:
    """Watch that many repositories; push to some, one at a time, and see when that is applied."""
    template = Watched(folder, "template")
    first = template.push(writes("first"))
    watches = {}
    with silent_port() as port:
        for number in range(repos):
            name = f"r{number}"
            url = f"git://127.0.0.1:{port}/{name}.git"
            if number >= silent:
                shutil.copytree(template.bare, folder / f"{name}.git")
                url = f"file://{folder}/{name}.git"
            (folder / name).mkdir()
            watches[name] = Watch(name=name, url=url, root=str(folder / name))
        config = Config(version="1", interval=interval, poll_timeout=interval, jobs=4, polls=8, watches=watches)
        state = State(str(folder / "state/watch/state.db"))
        state.declare(list(watches.values()), 0)
        for name in list(watches)[silent:]:
            _seeded(state, watches[name], first)
        settings = Settings(config=config, state_dir=str(folder / "state"), folder=str(folder / "state/watch"))
        supervisor = Supervisor(state, settings, Clock(), random.Random(1), lambda _: None)
        return await _measured(folder, supervisor, state, template, list(watches)[silent:], hanging, pushes)


async def _measured(
    folder: Path, supervisor: Supervisor, state: State, template: Watched, names: list[str], hanging: int, pushes: int
) -> Figures:
    begun = time.monotonic()
    work = asyncio.create_task(supervisor.run())
    await supervisor.started.wait()
    path = str(folder / "watch.sock")
    verbs = {
        "list": lambda _: supervisor.list(),
        "show": lambda args: supervisor.show(args["name"]),
        "pause": lambda args: supervisor.pause(args["name"], "a test"),
    }
    async with Control(path, verbs, print):
        words = [
            ["show", {"name": names[0]}],
            ["list", {}],
            ["pause", {"name": names[-1]}],
            ["show", {"name": names[1]}],
        ]
        client = subprocess.Popen(
            [sys.executable, "-c", _CLIENT, path, *map(json.dumps, words)], stdout=subprocess.PIPE, text=True
        )
        hang = template.push(package('plan.shell.exec(["sleep", "10000"], undo = ["true"])'))
        for name in names[:hanging]:
            await _push(template, f"{folder}/{name}.git")
        await _until(lambda: supervisor.counters.running == hanging)
        applied = []
        for name in names[hanging : hanging + pushes]:
            commit = template.push(writes(name))
            await _push(template, f"{folder}/{name}.git")
            start = time.monotonic()
            await _until(lambda name=name, commit=commit: state.refs(name)[0].good == commit)
            applied.append(time.monotonic() - start)
        assert all(state.refs(name)[0].running == hang for name in names[:hanging])
        ran = supervisor.counters.running
    answers = json.loads((await asyncio.to_thread(client.communicate))[0])
    counters = supervisor.counters
    seconds = time.monotonic() - begun
    supervisor.stop()
    await work
    state.close()
    return Figures(applied, answers, counters.polls, counters.polls_failed, ran, seconds)


async def memory(folder: Path, *, repos: int, cycles: int) -> list[int]:
    """Resident KiB after each tenth of so many cycles, a commit in each tenth."""
    config_watches, repositories = {}, [Watched(folder, f"r{number}") for number in range(repos)]
    for repo in repositories:
        repo.push(writes("first"))
        config_watches[repo.name] = repo.watch(interval=0.05)
    config = Config(version="1", watches=config_watches, keep_logs=20)
    state = State(str(folder / "state/watch/state.db"))
    settings = Settings(config=config, state_dir=str(folder / "state"), folder=str(folder / "state/watch"))
    supervisor = Supervisor(state, settings, Clock(), random.Random(1), lambda _: None)
    work = asyncio.create_task(supervisor.run())
    found = []
    for tenth in range(10):
        repositories[0].push(writes(f"{tenth}"))
        await _until(lambda tenth=tenth: supervisor.counters.polls >= repos * cycles * (tenth + 1) / 10)
        found.append(_resident())
    supervisor.stop()
    await work
    state.close()
    return found


def _resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize() // 1024


async def _push(template: Watched, bare: str) -> None:
    words = ["git", "push", "--quiet", "--force", bare, "HEAD:refs/heads/main"]
    await asyncio.to_thread(
        subprocess.run, words, cwd=template.work.folder, env={**os.environ, **template.work.env}, check=True
    )


async def _until(condition) -> None:
    for _ in range(30_000):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it took more than ten minutes")
