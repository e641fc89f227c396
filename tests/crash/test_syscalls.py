import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.faults import available

TESTS = Path(__file__).parents[1]
SHARES = 2
pytestmark = pytest.mark.skipif(bool(available()), reason=available() or "strace")


def drive(folder, fault, spread, times, first, step, timeout=3600):
    """What the driver found; every fault of the share must have been tried."""
    numbers = map(str, (times, first, step))
    done = subprocess.run(
        [sys.executable, "-m", "support.fault_driver", str(folder), fault, spread, *numbers],
        cwd=TESTS,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["problems"] == []
    return found


@pytest.mark.parametrize("share", range(SHARES))
def test_killed_at_any_system_call_a_run_is_rolled_back_or_resumed_exactly(tmp_path, share):
    found = drive(tmp_path, "kill", "once", 1, share, SHARES)
    assert sum(found["struck"].values()) > 120 / SHARES


@pytest.mark.parametrize("spread", ["once", pytest.param("always", marks=pytest.mark.long)])
@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_an_error_of_any_system_call_is_told_and_harmless(tmp_path, error, spread):
    found = drive(tmp_path, error, spread, 1, 0, 1)
    assert sum(found["struck"].values()) > 120


@pytest.mark.long
@pytest.mark.parametrize("share", range(SHARES))
def test_killed_at_any_system_call_of_a_larger_run(tmp_path, share):
    drive(tmp_path, "kill", "once", 5, share, SHARES)


@pytest.mark.long
@pytest.mark.parametrize(
    ("error", "spread"),
    [
        (error, spread)
        for error in ("EIO", "ENOSPC", "EINTR", "EDQUOT", "EMFILE", "EROFS")
        for spread in ("once", "always")
        if (error, spread) != ("EINTR", "always")  # Python asks again without end (PEP 475), and no kernel does that
    ],
)
def test_an_error_of_any_system_call_of_a_larger_run(tmp_path, error, spread):
    drive(tmp_path, error, spread, 5, 0, 1)
