"""Killed at any save and at any effect, alone or with everything it started, an agent goes on and loses nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]


def drive(folder: Path, *words: object) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-m", "support.agent_driver", str(folder), *map(str, words)],
        cwd=TESTS,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_told_to_end_the_process_ends_well_and_the_next_one_goes_on(tmp_path: Path) -> None:
    agent = subprocess.Popen(
        [sys.executable, "-m", "support.agent_process", str(tmp_path)],
        cwd=TESTS,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "root/version").exists():
        assert agent.poll() is None, "the agent ended by itself"
        assert time.monotonic() < deadline, "the order was not installed"
        time.sleep(0.02)
    agent.send_signal(signal.SIGTERM)
    assert agent.wait(60) == 0


@pytest.mark.parametrize(("story", "first", "how"), [("good", 3, "agent"), ("sick", 5, "all")])
def test_killed_at_some_place_it_ends_as_if_nobody_had_killed_it(
    tmp_path: Path, story: str, first: int, how: str
) -> None:
    found = drive(tmp_path, story, first, 13, how)
    assert found["problems"] == []
    assert found["checked"]


@pytest.mark.parametrize("how", ["agent", "all"])
def test_killed_in_the_middle_of_a_run_it_ends_as_if_nobody_had_killed_it(tmp_path: Path, how: str) -> None:
    assert drive(tmp_path, "during", 1, 1, how)["problems"] == []


@pytest.mark.long
@pytest.mark.parametrize("how", ["agent", "all"])
@pytest.mark.parametrize("story", ["good", "sick"])
def test_killed_at_any_place_it_ends_as_if_nobody_had_killed_it(tmp_path: Path, story: str, how: str) -> None:
    found = drive(tmp_path, story, 1, 1, how)
    assert found["problems"] == []
    assert found["checked"]
