"""Deliveries over the real rsync and ssh, on disks that are full, and by several processes at once."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from requisition.services.delivery import verbs
from requisition.services.delivery.config import Bandwidth
from requisition.services.delivery.queue import Queue
from support.deliveries import Beyond, awkward, tree
from support.rigs import CLEANING, Rig, once, rig
from support.sshd import children, skip_without

TESTS = Path(__file__).parents[2]
with_root = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare"), reason="a small disk needs root, to mount it"
)


@with_root
@pytest.mark.parametrize("which", ["far", "state"])
def test_a_full_disk_loses_nothing_and_work_goes_on_when_there_is_room(tmp_path, which):
    done = subprocess.run(
        ["unshare", "-m", sys.executable, "-m", "support.full_delivery", str(tmp_path), which],
        cwd=TESTS, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["problems"] == []
    assert found["met"] >= 1


# --- over ssh


class RigOverSsh(Rig):
    def __init__(self, folder, beyond, **settings):
        super().__init__(folder, **settings)
        self.beyond = beyond
        self.far = beyond.root
        self.configured(destinations={"far": msgspec.structs.replace(beyond.destination, name="far")})

    def real(self, destination):
        return self.beyond.transport()


@pytest.fixture(scope="module")
def beyond(tmp_path_factory):
    made = Beyond(tmp_path_factory.mktemp("beyond"))
    yield made
    made.machine.close()


@pytest.fixture
def over_ssh(tmp_path, beyond):
    for one in beyond.root.iterdir():
        shutil.rmtree(one)
    at = RigOverSsh(tmp_path, beyond, cleanup=CLEANING)
    yield at
    at.close()


ssh = [skip_without(), pytest.mark.skipif(not shutil.which("rsync"), reason="needs rsync")]


def marked(test):
    for one in ssh:
        test = one(test)
    return test


@marked
def test_over_ssh_everything_arrives_as_it_was_and_only_then_goes(over_ssh):
    at = over_ssh
    awkward(at.data / "2026/run")
    job = at.queue.enqueue(str(at.data / "2026/run"), "far", "2026/run", "alice")[0]
    before = tree(at.data / "2026/run")
    for _ in range(4):
        at.work()
        at.hands.pass_(86400)
    assert at.state(job) == "cleaned"
    assert tree(at.far / "2026/run") == before
    assert list((at.data / "2026/run").iterdir()) == []


@marked
@pytest.mark.long
def test_over_ssh_a_byte_that_changed_at_the_far_end_is_found_and_sent_again(over_ssh):
    at = over_ssh
    job = at.enqueue()

    def spoil(*_):
        path = at.far / ".incoming" / job.id / "data/b.bin"
        info = path.stat()
        path.write_bytes(b"?" + path.read_bytes()[1:])
        os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))

    at.fault.after["stage"] = once(spoil)
    at.work()
    assert at.state(job) == "verified"
    assert at.fault.called.count("stage") == 2
    assert tree(at.far / "run") == tree(at.data / "run")


@marked
def test_over_ssh_a_connection_that_is_cut_is_tried_again_and_goes_on(over_ssh, beyond):
    at = over_ssh
    job = at.enqueue(big=os.urandom(4 << 20))
    slow = at.delivery.destinations["far"]
    at.configured(destinations={"far": msgspec.structs.replace(slow, bandwidth=Bandwidth(1 << 20))})

    async def doing(worker):
        await at.until(lambda: worker.progress() and children(beyond.machine._daemon.pid))
        beyond.machine.hang_up()
        await at.until(lambda: at.state(job) == "queued")

    at.meanwhile(doing)
    assert at.queue.job(job.id).error_kind == "network"
    at.configured(destinations={"far": slow})
    at.hands.pass_(60)
    at.work()
    assert at.state(job) == "verified"
    assert tree(at.far / "run") == tree(at.data / "run")


@marked
def test_over_ssh_a_cancelled_push_leaves_no_process_and_nothing_behind(over_ssh, beyond):
    at = over_ssh
    job = at.enqueue(big=bytes(64 << 20))
    slow = at.delivery.destinations["far"]
    at.configured(destinations={"far": msgspec.structs.replace(slow, bandwidth=Bandwidth(1 << 18))})

    async def doing(worker):
        await at.until(worker.progress)
        verbs.cancel(at.queue, job.id, "bob", "wrong one")
        await at.until(lambda: set(children(os.getpid())) == ours)
        await at.until(lambda: at.state(job) == "cancelled")

    ours = set(children(os.getpid()))
    at.meanwhile(doing)
    assert set(children(os.getpid())) == ours
    assert not (at.far / ".incoming" / job.id).exists()


# --- several processes


def start(folder):
    return subprocess.Popen([sys.executable, "-m", "support.rigs", str(folder)], cwd=TESTS)


def test_processes_that_share_a_queue_deliver_each_job_once_though_one_is_killed(tmp_path):
    at = Rig(tmp_path)
    at.queue.close()
    queue = Queue(str(tmp_path / "state/queue.db"))
    jobs = [
        queue.enqueue(str(at.source(f"run{number}", data=b"%d" % number * 1000)), "far", f"run{number}", "alice")[0]
        for number in range(12)
    ]
    workers = [start(tmp_path) for _ in range(3)]
    try:
        await_(lambda: owners(queue))
        killed = int(owners(queue)[0].split("-")[1])
        next(one for one in workers if one.pid == killed).kill()
        await_(lambda: all(queue.job(one.id).state == "verified" for one in jobs))
    finally:
        for one in workers:
            one.terminate()
            one.wait(30)
    for one in jobs:
        events = [event.new for event in queue.history(one.id) if event.old != event.new]
        assert events.count("verified") == 1
        assert queue.job(one.id).passes == 1
        assert tree(tmp_path / "far" / one.target) == tree(Path(one.source))
    assert len({event.who for one in jobs for event in queue.history(one.id)} - {"alice"}) > 1
    queue.close()


def owners(queue):
    return [one.owner for one in queue.jobs() if one.owner] or [
        event.who for one in queue.jobs() for event in queue.history(one.id) if event.who != "alice"
    ]


def await_(holds):
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.02)


def test_a_job_of_a_worker_that_was_killed_is_taken_up_before_its_lease_ends(tmp_path):
    with rig(tmp_path) as at:
        job = at.enqueue()
        child = os.fork()
        if child == 0:
            asleep(at.folder)
        await_(lambda: at.state(job) == "awaiting_verify")
        assert at.queue.claim("another", {"far": 9}) is None
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        at.work()  # no time has passed
        assert at.state(job) == "verified"


def asleep(folder):
    """Deliver, and fall asleep before publishing: in a process of its own, that will be killed."""
    import asyncio

    try:
        at = Rig(folder)

        async def sleep(*_):
            await asyncio.sleep(60)

        at.fault.before["digests"] = sleep
        asyncio.run(at.worker().run())
    finally:
        os._exit(1)
