"""A daemon that is killed: `watch_driver.py STATE WATCHES AT BEFORE|AFTER|IN`.

It supervises the watches of a JSON file until it is told to stop, or until the moment AT, when it kills itself as
kill -9 would: BEFORE or AFTER a change of state (`begin`, `step:apply`, `stepped:apply`, `applied`, `finish`, …), or IN
a step, while its program works.
"""

import asyncio
import os
import random
import shutil
import signal
import sys
from pathlib import Path

import msgspec

from requisition.services.clock import Clock
from requisition.services.watch.config import Config, Watch
from requisition.services.watch.state import State
from requisition.services.watch.supervisor import Settings, Supervisor

VERBS = ("begin", "step", "stepped", "applied", "finish", "observe")
_KILLER = """#!/bin/sh
# The first program whose words hold "$3" kills the daemon, and goes on.
case " $* " in *" {word} "*) [ -e {once} ] || {{ touch {once}; kill -9 {pid}; }};; esac
exec {real} "$@"
"""


class Mortal(State):
    """The state of a daemon that ends at one of its changes."""

    at = ""
    when = ""

    def __getattribute__(self, name):
        found = super().__getattribute__(name)
        return self._mortal(name, found) if name in VERBS else found

    def _mortal(self, name, verb):
        def call(*args):
            step = args[1] if name == "step" else getattr(self, "_step", "")
            self._step = step
            here = f"{name}:{step}" if name in ("step", "stepped") else name
            if here == self.at and self.when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            result = verb(*args)
            if here == self.at and self.when == "after" and (name != "observe" or result):
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call


def _killing(folder: Path, name: str, real: str, word: str) -> str:
    path = folder / name
    path.write_text(_KILLER.format(word=word, once=folder / "once", pid=os.getpid(), real=real))
    path.chmod(0o755)
    return str(path)


async def main(state_dir: Path, watches: Path, at: str, when: str) -> None:
    folder = state_dir / "watch"
    (state_dir.parent / "daemon.pid").write_text(str(os.getpid()))
    state = Mortal(str(folder / "state.db"))
    state.at, state.when = at, when
    settings = Settings(
        config=Config(
            version="1", interval=0.2, watches=msgspec.json.decode(watches.read_bytes(), type=dict[str, Watch])
        ),
        state_dir=str(state_dir),
        folder=str(folder),
    )
    if when == "in":
        bin_ = state_dir.parent / "bin"
        bin_.mkdir()
        plan = _killing(bin_, "plan", f"{sys.executable} -P -m requisition.cli.main", at)
        settings = msgspec.structs.replace(settings, plan=(plan,))
        _killing(bin_, "git", str(shutil.which("git")), at)
        os.environ["PATH"] = f"{bin_}:{os.environ['PATH']}"
    supervisor = Supervisor(state, settings, Clock(), random.Random(), lambda text: print(text, flush=True))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, supervisor.stop)
    await supervisor.run()
    state.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4]))
