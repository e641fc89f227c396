import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
SHARES = 8


def drive(folder, *arguments, timeout=900):
    done = subprocess.run(
        [sys.executable, "-m", "support.crash_driver", str(folder), *map(str, arguments)],
        cwd=TESTS,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("share", range(SHARES))
def test_killed_at_any_journal_record_a_run_is_rolled_back_or_resumed_exactly(tmp_path, share):
    found = drive(tmp_path, 1 + share, 100_000, SHARES)
    assert found["problems"] == []
    assert found["ended"], "the driver must reach the end of the run, or positions were left out"
    assert found["checked"] * SHARES > 350


@pytest.mark.long
@pytest.mark.parametrize(
    ("order", "apart", "step", "depth"), [("small", 1, 1, 2), ("small", 3, 2, 3), ("mixed", 70, 11, 2)]
)
def test_killed_again_during_rollback_or_resume_it_still_ends_exactly(tmp_path, order, apart, step, depth):
    found = drive(tmp_path, 1, 100_000, apart, order, step, depth, timeout=1800)
    assert found["problems"] == []
    assert found["ended"]
    assert found["checked"] > 5
