"""kill -9 of the daemon at every step, and start it again: each commit is applied, once, and is good."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from requisition.runtime.past import runs
from requisition.services.watch.state import State
from support.watched import Watched, package, writes

DRIVER = Path(__file__).parents[2] / "support/watch_driver.py"
STEPS = ("fetch", "check", "build", "apply", "receipt")
CHANGES = [
    "observe",
    "begin",
    *(f"{verb}:{step}" for step in STEPS for verb in ("step", "stepped")),
    "applied",
    "finish",
]
MOMENTS = [(at, when) for at in CHANGES for when in ("before", "after")]
MOMENTS += [(word, "in") for word in ("fetch", "worktree", "check", "build", "apply", "receipts")]
OFTEN = [("begin", "after"), ("worktree", "in"), ("apply", "in"), ("stepped:apply", "before"), ("finish", "before")]
"""What every run of the tests tries; all moments are for the night."""


class Killed:
    def __init__(self, folder):
        self.folder = folder
        self.repo = Watched(folder)
        self.watches = folder / "watches.json"
        self.watches.write_bytes(msgspec.json.encode({"web": self.repo.watch()}))

    def start(self, at="-", when="-"):
        env = {**os.environ, "PYTHONPATH": str(DRIVER.parents[1])}
        words = [sys.executable, str(DRIVER), str(self.folder / "state"), str(self.watches), at, when]
        return subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def state(self):
        return contextlib.closing(State(str(self.folder / "state/watch/state.db")))

    def until_good(self, commit, deadline=60):
        with self.state() as state, self.start() as process:
            try:
                end = time.monotonic() + deadline
                while not (found := state.refs("web")) or found[0].good != commit:
                    assert time.monotonic() < end, found
                    assert process.poll() is None, process.stdout.read()
                    time.sleep(0.05)
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(60)
            return state.refs("web")[0], state.runs("web")


def killed_once(tmp_path, at, when):
    it = Killed(tmp_path)
    commit = it.repo.push(writes("one"))
    with it.start(at, when) as process:
        assert process.wait(60) == -signal.SIGKILL, process.stdout.read()
    ref, history = it.until_good(commit)
    assert it.repo.site() == "one"
    assert (ref.good, ref.queued, ref.running, ref.failed) == (commit, "", "", "")
    assert [run.status for run in history] == ["good"], "the run that was cut off went on, and nothing else ran"
    states = [run.state for run in runs(str(tmp_path / "state"))]
    assert states.count("executed") == 1, "it was applied once"
    assert set(states) <= {"executed", "rolled_back"}


@pytest.mark.parametrize(("at", "when"), OFTEN)
def test_a_daemon_killed_at_a_step_goes_on_with_it(tmp_path, at, when):
    killed_once(tmp_path, at, when)


@pytest.mark.parametrize(
    "also", ["", "$PPID", "$plan"], ids=["alone", "with the runtime", "with plan, the runtime goes on"]
)
def test_a_daemon_killed_while_something_is_applied_takes_it_back_or_finishes_it(tmp_path, also):
    it = Killed(tmp_path)
    once, end = tmp_path / "once", "sleep 2; exit" if also == "$plan" else "sleep 20"
    script = f"plan=$(ps -o ppid= -p $PPID); [ -e {once} ] || {{ touch {once}; kill -9 $(cat {tmp_path}/daemon.pid) {also}; {end}; }}"
    exec_ = f'plan.shell.exec(["{script}"], shell = True, undo = ["true"])'
    commit = it.repo.push(package(f'plan.file.write("one", "/site")\n{exec_}'))
    with it.start() as process:
        assert process.wait(60) == -signal.SIGKILL, process.stdout.read()
    ref, history = it.until_good(commit)
    assert [run.reason for run in history] == [""]
    assert (it.repo.site(), ref.good) == ("one", commit)
    states = [run.state for run in runs(str(tmp_path / "state"))]
    assert states[-1] == "executed"
    assert set(states[:-1]) <= {"rolled_back"}


@pytest.mark.long
@pytest.mark.parametrize(("at", "when"), [moment for moment in MOMENTS if moment not in OFTEN])
def test_a_daemon_killed_at_any_moment_goes_on_with_it(tmp_path, at, when):
    killed_once(tmp_path, at, when)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(3))
def test_killed_again_and_again_while_commits_arrive_none_is_repeated_and_the_newest_is_never_lost(tmp_path, seed):
    it, chance = Killed(tmp_path), random.Random(seed)
    for number in range(20):
        commit = it.repo.push(writes(f"{number}"))
        with it.start() as process:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(chance.uniform(0.2, 4))
            process.kill()
    ref, history = it.until_good(commit)
    assert it.repo.site() == "19"
    assert (ref.queued, ref.running, ref.failed) == ("", "", "")
    assert [run.reason for run in history if run.status != "good"] == []
    assert len({run.hash for run in history}) == len(history), "no commit ran twice"
    executed = [run.source_root for run in runs(str(tmp_path / "state")) if run.state == "executed"]
    assert len(set(executed)) == len(executed), "no run was applied twice"
