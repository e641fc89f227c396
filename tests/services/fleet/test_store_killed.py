"""A server killed in the middle of its work, again and again: nothing it acknowledged is lost, nothing is there twice."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import postgres

TESTS = Path(__file__).parents[2]


@pytest.fixture(params=["sqlite", "postgres"])
def address(request, tmp_path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:{tmp_path / 'fleet.db'}"
    elif postgres.WHY_NOT:
        pytest.skip(postgres.WHY_NOT)
    else:
        with postgres.Server() as server:
            yield server.emptied()


def killed(address: str, seed: int, kills: int) -> tuple[int, int]:
    command = [sys.executable, "-m", "support.fleet_driver", address, str(seed), str(kills)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=TESTS, env=os.environ, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    events, said = map(int, done.stdout.split())
    return events, said


def test_a_killed_server_lost_nothing_it_acknowledged(address):
    events, said = killed(address, 1, 15)
    assert events > said > 100


@pytest.mark.long
@pytest.mark.parametrize("seed", [2, 3, 4])
def test_a_server_killed_a_hundred_times_lost_nothing_it_acknowledged(address, seed):
    events, said = killed(address, seed * 1_000, 100)
    assert events > said > 1_000
