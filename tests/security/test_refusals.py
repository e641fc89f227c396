"""Every case of the refusal table through the real `plan-runtime`: refused, in words, nothing touched."""

import json
import os
import shutil

import pytest

from requisition.runtime.layout import StateDir
from requisition.runtime.machine import platform_of_machine
from support.process import request, run_runtime
from support.refusals import CASES, build

HERE = platform_of_machine()
ROOTED = os.geteuid() == 0 and shutil.which("unshare") and shutil.which("faketime")
pytestmark = pytest.mark.skipif(not ROOTED, reason="needs root for a host name of its own, and faketime for the date")


def world_of(world) -> list[str]:
    """A process whose host name and date are the case's."""
    stamp = f"{world.now:%Y-%m-%d %H:%M:%S}"
    enter = 'hostname "$1"; shift; exec "$@"'
    return ["unshare", "--uts", "sh", "-c", enter, "sh", world.hostname, "env", "TZ=UTC", "faketime", "-f", f"@{stamp}"]


@pytest.mark.parametrize("name", sorted(CASES))
def test_it_is_refused_by_the_runtime_itself(name, tmp_path):
    case = tmp_path / "case"
    case.mkdir()
    world = build(name, str(case))
    if (world.platform.os, world.platform.distro, world.platform.arch) != (HERE.os, HERE.distro, HERE.arch):
        pytest.skip("the runtime reads its own platform; tests/runtime/test_trust.py tries this one")
    root = tmp_path / "root"
    root.mkdir()
    state = tmp_path / "state"
    for place in ("/", str(root)):
        head = StateDir(str(state)).root(place)
        with open(f"{head}/head.json", "w", encoding="utf-8") as file:
            json.dump({"target_root": place, "serials": {"demo": world.last_serial}}, file)
    answer = run_runtime(request("apply", state, world.order_path, trust_path=world.trust_path), *world_of(world))
    assert answer.status in ("refused", "bad_input"), answer.text
    assert world.words in answer.text
    assert not list(root.iterdir())
    assert not os.listdir(state / "runs")
    assert "Traceback" not in answer.stderr
