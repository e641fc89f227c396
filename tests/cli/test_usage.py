"""Words that no command takes, told as they were asked to be told."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from support.script import environment

MISUSES = {
    "no such command": (["--json", "frobnicate"], "there is no command 'frobnicate'", "plan --help"),
    "no such command of a group": (["key", "--json", "nope"], "No such command 'nope'", "plan key --help"),
    "an option that is none": (["apply", "--nope", "x.yaml", "--json"], "No such option '--nope'", "plan apply --help"),
    "an argument too few": (["build", "--json"], "Missing argument 'SOURCE'", "plan build --help"),
    "a file that is absent": (["show", "absent.yaml", "--json"], "does not exist", "plan show --help"),
    "a number out of range": (["--json", "apply", ".", "--jobs", "0"], "is not in the range", "plan apply --help"),
    "a host that is none": (["status", "--host", "a:b", "--json"], "'a:b' does not name a host", "ssh://"),
}


def plan(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "requisition.cli.main", *words]
    return subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", MISUSES)
def test_with_json_a_misuse_is_one_object_on_stdout(tmp_path: Path, name: str) -> None:
    words, what, advice = MISUSES[name]
    done = plan(tmp_path, *words)
    (line,) = done.stdout.splitlines()
    found = json.loads(line)
    assert found["type"] == "diagnostic"
    assert what in found["what"]
    assert advice in found["next"]
    assert (done.returncode, done.stderr) == (4, "")


def test_without_json_a_misuse_is_told_on_stderr_alone(tmp_path: Path) -> None:
    done = plan(tmp_path, "build")
    assert "Missing argument 'SOURCE'" in done.stderr
    assert (done.returncode, done.stdout) == (4, "")
