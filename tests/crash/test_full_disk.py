import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare"), reason="a small disk needs root, to mount it"
)


@pytest.mark.parametrize("full", ["all", "state"])
def test_with_any_too_little_room_it_is_told_and_all_is_as_before(tmp_path, full):
    done = subprocess.run(
        ["unshare", "-m", sys.executable, "-m", "support.full_driver", str(tmp_path), full],
        cwd=TESTS,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["problems"] == []
    assert found["failed"] > 8
