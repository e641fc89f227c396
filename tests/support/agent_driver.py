"""Lives of an agent, each in a process of its own that is killed at one more place than the last.

    python -m support.agent_driver FOLDER STORY FIRST STEP HOW

STORY is `good`, `sick`, or `during`: killed once, in the middle of a run of `plan-runtime`. Places are counted over all saves and effects, before and after each; HOW is `agent` (it alone
is killed, its runtime is told to stop) or `all` (everything at once, as when power fails). After each killed life one
more lives to the end, and then everything must be as if nobody had been killed. Prints what was found, as JSON.
"""

import asyncio
import json
import os
import pickle
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from requisition.services.fleet.agent.main import Agent
from requisition.services.fleet.agent.shell import Shell
from requisition.services.fleet.agent.spool import Spool
from requisition.services.fleet.rollout import Probe
from requisition.services.processes import kill_below
from support.agents import HOST, Depot, Site
from support.fleets import MINUTE

SICK = Probe("sick", "command", (HOST,), every=20, command=("false",))
FOREVER = 1_000_000
ENDS = {"good": "Converged", "sick": "RolledBack", "during": "Converged"}


class Places:
    """Counts places, and stops this process at one of them: whoever waits for it kills it then."""

    def __init__(self, last: int) -> None:
        self.left = last

    def here(self) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGSTOP)

    def watch(self) -> None:
        do, save = Shell._do, Spool.save

        def doing(shell: Shell, effect: Any) -> None:
            self.here()
            do(shell, effect)
            self.here()

        async def saving(spool: Spool, *given: Any, **more: Any) -> int:
            self.here()
            done = await save(spool, *given, **more)
            self.here()
            return done

        Shell._do, Spool.save = doing, saving  # type: ignore[method-assign]


class Remembering(Depot):
    """A server whose disk outlives this process."""

    def keep(self, path: Path) -> None:
        self.path = path
        if path.exists():
            self.heard = pickle.loads(path.read_bytes())

    async def ask(self, body: bytes) -> Any:
        async for piece in super().ask(body):
            self.path.with_suffix(".new").write_bytes(pickle.dumps(self.heard))
            self.path.with_suffix(".new").replace(self.path)
            yield piece


def site_of(folder: Path, story: str) -> Site:
    """A machine on which order 1 has converged, and order 2 is offered; one that is killed during its run waits in it
    for the file `gate`, after it made the file `began`."""
    site = Site(folder)
    site.depot = Remembering(site.hands)
    site.depot.keep(folder / "heard")
    site.publish(site.rollout(site.order(1)))
    run(lambda: whole(site, "Converged"))
    site.depot.keep(folder / "heard")
    waits = ["sh", "-c", f"touch {folder}/began; test -e {folder}/gate || sleep 1000"] if story == "during" else []
    site.publish(site.rollout(site.order(2, runs=waits), probes=(SICK,) if story == "sick" else ()))
    return site


async def whole(site: Site, end: str) -> None:
    """A life to the end."""
    before = site.depot.kinds.count(end)

    async def turn(agent: Agent) -> None:
        await site.until(agent, lambda: told(site, end, before) or time_to_fail(site, agent))
        if not told(site, end, before):
            site.hands.pass_(MINUTE)
            await site.until(agent, lambda: told(site, end, before))

    async with site.agent() as agent:
        await turn(agent)


def told(site: Site, end: str, before: int) -> bool:
    return site.depot.kinds.count(end) > before


def time_to_fail(site: Site, agent: Agent) -> bool:
    """Whether a probe fails, and only time is missing."""
    return any(not probe.passed for probe in agent.shell.state.probes)


def run(life: Callable[[], Any], how: str = "agent", last: int = FOREVER) -> bool:
    """A life in a process of its own; whether it came to its end before place `last`."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            Places(last).watch()
            asyncio.run(life())
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, os.WUNTRACED)
    if not os.WIFSTOPPED(status):
        assert os.waitstatus_to_exitcode(status) == 0, "a life failed"
        return True
    if how == "all":
        kill_below(child)
    else:
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def check(site: Site, story: str) -> list[str]:
    """What is not as it must be after all lives."""
    site.depot.keep(site.folder / "heard")
    kinds = site.depot.kinds
    found = []
    if site.version() != {"good": "2", "sick": "1", "during": "2"}[story]:
        found.append(f"version {site.version()}")
    if [report.seq for report in site.depot.heard] != list(range(1, len(kinds) + 1)):
        found.append("numbers of reports are not 1, 2, 3 …")
    if kinds.count("Began") != 2:
        found.append("an order was not begun once")
    if kinds[-1] != ENDS[story]:
        found.append(f"it ended in {kinds[-1]}")
    return found


def main(folder: Path, story: str, first: int, step: int, how: str) -> dict[str, Any]:
    problems: list[str] = []
    place, checked, ended = first, 0, False
    while not ended:
        site = site_of(fresh(folder), story)
        ended = run(lambda site=site: whole(site, ENDS[story]), how, place)
        if not ended:
            site.depot.keep(site.folder / "heard")
            if not told(site, ENDS[story], story == "good"):
                run(lambda site=site: whole(site, ENDS[story]))
            problems += [f"killed at {place}: {problem}" for problem in check(site, story)]
            checked += 1
        place += step
    return {"problems": problems, "checked": checked}


def during(folder: Path, how: str) -> dict[str, Any]:
    site = site_of(fresh(folder), "during")
    child = os.fork()
    if child == 0:
        try:
            asyncio.run(whole(site, "Converged"))
        finally:
            os._exit(1)
    deadline = time.monotonic() + 60
    while not (folder / "began").exists():
        assert time.monotonic() < deadline, "the order was not begun"
        time.sleep(0.01)
    if how == "all":
        kill_below(child)
    else:
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    (folder / "gate").touch()
    site.depot.keep(folder / "heard")
    run(lambda: whole(site, "Converged"))
    return {"problems": check(site, "during"), "checked": 1}


def fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


if __name__ == "__main__":
    words = sys.argv[1:]
    place = Path(words[0]) / "site"
    if words[1] == "during":
        found = during(place, words[4])
    else:
        found = main(place, words[1], int(words[2]), int(words[3]), words[4])
    sys.stdout.write(json.dumps(found) + "\n")
