"""A watch's lock outlives the daemon in its programs; who comes after waits, and at last ends them."""

import asyncio
import os
import subprocess

from requisition.services.watch.alone import alone, holders
from support.stories import story


def holding(path, script):
    """A program that holds the lock as one of a killed daemon does."""
    words = ["flock", "--no-fork", str(path), "sh", "-c", f"echo held; {script}"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout.readline() == b"held\n"
    return process


@story
async def test_who_comes_after_waits_until_they_have_ended(tmp_path):
    path, said = tmp_path / "lock", []
    with holding(path, "sleep 0.3") as process:
        async with alone(str(path), 60, said.append):
            assert process.wait() == 0
    assert said == ["programs of an earlier service still work on it: waiting for them"]


@story
async def test_who_does_not_end_is_ended(tmp_path):
    path = tmp_path / "lock"
    with holding(path, "trap '' TERM; while :; do sleep 1; done") as process:
        assert process.pid in holders(str(path))
        async with alone(str(path), 0.1, lambda _: None):
            assert await asyncio.to_thread(process.wait) == -9
    assert holders(str(path)) == []


@story
async def test_the_lock_is_for_one_and_children_may_hold_it(tmp_path):
    path = str(tmp_path / "lock")
    async with alone(path, 60, print) as fd:
        assert os.fstat(fd).st_mode & 0o777 == 0o600
        other = asyncio.create_task(alone(path, 60, lambda _: None).__aenter__())
        done, _ = await asyncio.wait([other], timeout=0.3)
        assert not done
    os.close(await other)
