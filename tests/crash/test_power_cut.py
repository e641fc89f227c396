import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.faults import available

TESTS = Path(__file__).parents[1]


def missing() -> str:
    if os.geteuid() != 0:
        return "cutting the power needs root, to mount a disk image"
    if not shutil.which("mkfs.ext4") or not shutil.which("unshare"):
        return "mkfs.ext4 and unshare are needed"
    if not os.path.exists("/dev/loop-control"):
        return "there are no loop devices here"
    return available()


pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "root")


def cut(folder, *arguments):
    done = subprocess.run(
        ["unshare", "-m", sys.executable, "-m", "support.power_driver", str(folder), *arguments],
        cwd=TESTS,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_after_a_power_cut_at_any_sync_or_rename_a_run_is_rolled_back_or_resumed_exactly(tmp_path):
    found = cut(tmp_path)
    assert found["problems"] == []
    assert found["cuts"] >= 55


def test_a_runtime_that_forgets_to_sync_is_noticed(tmp_path):
    assert cut(tmp_path, "without-syncfs")["problems"]


@pytest.mark.long
@pytest.mark.parametrize("options", ["data=writeback", "data=journal", "noauto_da_alloc"])
def test_after_a_power_cut_with_other_habits_of_the_file_system(tmp_path, options):
    found = cut(tmp_path, options)
    assert found["problems"] == []
