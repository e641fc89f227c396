"""Programs end when they must, with all that they started; what they say is heard, and only its end kept."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from requisition.schemas.diagnostic import Failed
from requisition.services import processes
from requisition.services.processes import Limits
from support.stories import story

ENV = {"PATH": os.environ["PATH"]}


def sh(script, **options):
    return processes.run(["sh", "-c", script], env=ENV, **options)


async def told(path: Path) -> int:
    """The pid that a program wrote down."""
    for _ in range(1000):
        if path.exists() and path.read_text().endswith("\n"):
            return int(path.read_text())
        await asyncio.sleep(0.01)
    raise AssertionError(f"nothing was written to {path}")


def lives(pid: int) -> bool:
    """Whether a process works; one that ended and is not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


async def gone(pid: int) -> None:
    for _ in range(1000):
        if not lives(pid):
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{pid} still lives")


@story
async def test_status_and_both_outputs_come_back_and_stdin_goes_in():
    ended = await sh("cat; echo wrong >&2; exit 3", stdin=b"given")
    assert (ended.status, ended.stopped, ended.out, ended.err, ended.good) == (3, "", b"given", b"wrong\n", False)
    assert (await sh("kill -9 $$")).status == -signal.SIGKILL
    assert (await sh("exit 0", stdin=b"x" * (1 << 20))).good, "a program need not read what it is given"


@story
async def test_a_chatty_program_costs_no_memory_but_all_of_it_is_heard():
    heard = 0

    def hear(chunk):
        nonlocal heard
        heard += len(chunk)

    ended = await sh("head -c 50000000 /dev/zero; printf end", on_out=hear)
    assert heard == 50_000_003
    assert len(ended.out) == 16 << 10
    assert ended.out.endswith(b"end")


@story
async def test_what_is_not_there_is_told_with_what_to_do():
    with pytest.raises(Failed, match="cannot be started"):
        await processes.run(["/nowhere/program"], env=ENV, outlive=True)
    assert (await processes.run(["/nowhere/program"], env=ENV)).status == 127 if processes._bound_to_us() else True


@story
async def test_only_the_given_environment_and_descriptors_reach_it(tmp_path, monkeypatch):
    monkeypatch.setenv("TOKEN", "hunter2")
    given, other = (os.open(tmp_path / name, os.O_RDWR | os.O_CREAT) for name in ("given", "other"))
    try:
        os.set_inheritable(other, True)
        ended = await sh("env; ls /proc/self/fd", inherit=(given,))
        names = ended.out.decode().splitlines()
        assert not any("hunter2" in name for name in names)
        assert str(given) in names
        assert str(other) not in names
    finally:
        os.close(given)
        os.close(other)


@story
@pytest.mark.parametrize(
    ("script", "limits", "why"),
    [
        ("sleep 100", Limits(total=0.1), "took longer than 0.1 s"),
        ("echo x; sleep 100", Limits(silence=0.2), "said nothing for 0.2 s"),
        ("while :; do echo x; sleep 0.01; done", Limits(silence=5, total=0.3), "took longer than 0.3 s"),
    ],
)
async def test_a_time_out_ends_it_and_says_which(script, limits, why):
    ended = await sh(script, limits=limits)
    assert ended.stopped == why
    assert ended.status == -signal.SIGTERM
    assert not ended.good


@story
async def test_a_time_out_ends_what_it_started_too_whatever_group_it_is_in_and_whatever_it_ignores(tmp_path):
    script = f"""trap '' TERM
    sh -c 'trap "" TERM; echo $$ > {tmp_path}/child; while :; do sleep 1; done' &
    setsid sh -c 'trap "" TERM; echo $$ > {tmp_path}/far; while :; do sleep 1; done' &
    echo $$ > {tmp_path}/self; while :; do sleep 1; done"""
    running = asyncio.create_task(sh(script, limits=Limits(total=1.5, grace=0.2)))
    pids = [await told(tmp_path / name) for name in ("child", "far", "self")]
    assert all(map(lives, pids))
    ended = await running
    assert ended.status == -signal.SIGKILL
    for pid in pids:
        await gone(pid)


@story
async def test_what_a_program_leaves_behind_in_its_group_ends_with_it_and_is_not_waited_for(tmp_path):
    ended = await sh(f"sleep 1000 & echo $! > {tmp_path}/left; echo said", limits=Limits(grace=0.2))
    assert ended.out == b"said\n"
    assert ended.good
    await gone(int((tmp_path / "left").read_text()))


TIDY = """
import os, signal, sys
def tidy(*_):
    print("tidied", flush=True)
    sys.exit()
signal.signal(signal.SIGTERM, tidy)
open("{}/pid", "w").write(f"{{os.getpid()}}\\n")
while True:
    signal.pause()
"""


@story
async def test_who_is_cancelled_ends_the_program_first_with_time_to_tidy_up(tmp_path):
    said = []
    words = [sys.executable, "-c", TIDY.format(tmp_path)]
    running = asyncio.create_task(processes.run(words, env=ENV, on_out=said.append))
    pid = await told(tmp_path / "pid")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not lives(pid)
    assert said == [b"tidied\n"]


@story
async def test_a_second_cancellation_leaves_nothing_behind_either(tmp_path):
    running = asyncio.create_task(
        sh(f"trap '' TERM; echo $$ > {tmp_path}/pid; while :; do sleep 1; done", limits=Limits(grace=0.5))
    )
    pid = await told(tmp_path / "pid")
    running.cancel()
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await gone(pid)


@story
async def test_when_who_listens_fails_the_program_ends_and_the_failure_is_told():
    def hear(_):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        await sh("echo x; sleep 1000", on_out=hear)


@pytest.mark.skipif(not processes._bound_to_us(), reason="needs setpriv")
@pytest.mark.parametrize("outlive", [False, True])
def test_when_we_are_killed_it_ends_unless_it_was_to_outlive_us(tmp_path, outlive):
    code = f"""
import asyncio
from requisition.services import processes
asyncio.run(processes.run(["sh", "-c", "echo $$ > {tmp_path}/pid; exec sleep 1000"], env={ENV!r}, outlive={outlive}))
"""
    with subprocess.Popen([sys.executable, "-c", code]) as us:
        pid = asyncio.run(told(tmp_path / "pid"))
        us.kill()
    try:
        if outlive:
            assert lives(pid)
        else:
            asyncio.run(gone(pid))
    finally:
        if lives(pid):
            os.kill(pid, signal.SIGKILL)


@story
async def test_the_loop_is_free_meanwhile_and_many_run_at_once():
    begun = time.monotonic()
    ended = await asyncio.gather(*(sh("sleep 0.5; exit 0") for _ in range(20)))
    assert all(one.good for one in ended)
    assert time.monotonic() - begun < 10, "side by side: one after the other takes longer"
