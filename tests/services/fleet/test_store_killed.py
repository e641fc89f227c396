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


def killed(address: str, seed: int, kills: int, *how: str) -> tuple[int, int]:
    command = [sys.executable, "-m", "support.fleet_driver", address, str(seed), str(kills), *how]
    done = subprocess.run(command, capture_output=True, text=True, cwd=TESTS, env=os.environ, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    events, said = map(int, done.stdout.split())
    return events, said


def test_a_killed_server_lost_nothing_it_acknowledged(address):
    events, said = killed(address, 1, 15)
    assert events > said > 100


def stopped(seed: int, times: int) -> None:
    with postgres.Server() as server:
        events, said = killed(server.emptied(), seed, times, "stopped")
    assert events > said > times


@pytest.mark.skipif(bool(postgres.WHY_NOT), reason=postgres.WHY_NOT)
def test_a_server_that_was_stopped_and_replaced_writes_nothing_when_it_goes_on():
    stopped(5, 4)


@pytest.mark.long
@pytest.mark.skipif(bool(postgres.WHY_NOT), reason=postgres.WHY_NOT)
def test_servers_that_were_stopped_and_replaced_write_nothing_forty_times():
    stopped(6, 40)


@pytest.mark.long
@pytest.mark.parametrize("seed", [2, 3, 4])
def test_a_server_killed_a_hundred_times_lost_nothing_it_acknowledged(address, seed):
    events, said = killed(address, seed * 1_000, 100)
    assert events > said > 1_000
