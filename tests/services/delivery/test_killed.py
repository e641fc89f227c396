"""kill -9 of the worker before and after every write to the queue, every call of the transport, every file it keeps
and every file it deletes. Each time: nothing is lost, and whoever comes next finishes the job."""

import asyncio
import itertools
import os
import signal
from contextlib import contextmanager

import pytest

from requisition.services.delivery.queue import Queue
from requisition.services.delivery.states import State, check
from support.deliveries import awkward, tree
from support.rigs import CLEANING, Rig

DAYS = 30 * 86400.0
KILLED = -signal.SIGKILL


def in_child(work):
    """Run it in a process of its own; its exit status, or minus the signal that ended it."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class Deadly:
    """Kills this process at the point of that number; 0 never."""

    def __init__(self, number):
        self.left = number

    def point(self):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, function, counts=lambda *args, **named: True):
        def call(*args, **named):
            if not counts(*args, **named):
                return function(*args, **named)
            self.point()
            result = function(*args, **named)
            self.point()
            return result

        return call

    def arm(self, at):
        real = Queue.transaction

        @contextmanager
        def transaction(queue):
            with real(queue) as rows:
                yield rows
                self.point()
            self.point()

        async def step(*_):
            self.point()

        Queue.transaction = transaction
        os.replace = self.around(os.replace)
        os.unlink = self.around(os.unlink, lambda *_, dir_fd=None, **__: dir_fd is not None)
        for name in ("probe", "stage", "digests", "publish", "put", "discard"):
            at.fault.before[name] = at.fault.after[name] = step


def deliver(folder, begun, number):
    """From a fresh start to the end, by a clock on which a day passes between visits."""
    at = Rig(folder, cleanup=CLEANING)
    at.hands.pass_(begun * DAYS)
    at.queue.close()
    at.queue = at.hands.queue(folder / "state")
    Deadly(number).arm(at)
    for _ in range(5):
        asyncio.run(at.worker().run(until_idle=True))
        at.hands.pass_(86400.0)
    at.close()


def look(folder, begun, before):
    """The job, after it was seen that nothing is lost and that its history is one that may be."""
    at = Rig(folder, cleanup=CLEANING)
    at.hands.pass_(begun * DAYS)
    (job,) = at.queue.jobs()
    events = at.queue.history(job.id)
    for one, two in itertools.pairwise(events):
        assert one.new == two.old
        check(State(two.old), State(two.new))
    assert events[-1].new == job.state
    source = tree(at.data / "run")
    if source != before:
        assert tree(at.far / "run") == before, "a source was deleted that does not lie at the far end"
        assert job.passes >= CLEANING.passes + 1
        assert job.cleaning or job.state is State.CLEANED
    assert source.items() <= before.items()
    at.close()
    return job


def prepared(folder):
    folder.mkdir()
    at = Rig(folder, cleanup=CLEANING)
    awkward(at.data / "run")
    at.enqueue()
    before = tree(at.data / "run")
    at.close()
    return before


def killed_at(folder, *numbers):
    """Killed at these points, one life after the other, then left alone. Whether all points were there."""
    before = prepared(folder)
    for life, number in enumerate(numbers, 1):
        ended = in_child(lambda life=life, number=number: deliver(folder, life, number))
        assert ended in (0, KILLED)
        look(folder, life + 1, before)
        if ended == 0:
            return False
    assert in_child(lambda: deliver(folder, len(numbers) + 1, 0)) == 0
    job = look(folder, len(numbers) + 2, before)
    assert (job.state, job.lease) == (State.CLEANED, "")
    assert tree(folder / "far/run") == before
    assert not any((folder / "far/.incoming").iterdir())
    assert not [one for one in os.listdir(folder / "data/run") if os.path.isfile(folder / "data/run" / one)]
    return True


def test_a_worker_that_is_killed_loses_nothing(tmp_path):
    numbers = itertools.count(1, 11)  # every point in the nightly tests
    ended = next(number for number in numbers if not killed_at(tmp_path / str(number), number))
    assert ended > 60  # so many there are at least


@pytest.mark.long
def test_a_worker_that_is_killed_at_any_point_loses_nothing(tmp_path):
    numbers = itertools.count(1)
    assert next(number for number in numbers if not killed_at(tmp_path / str(number), number)) > 60


@pytest.mark.long
@pytest.mark.parametrize("second", range(1, 60, 12))
def test_a_worker_that_is_killed_again_and_again_loses_nothing(tmp_path, second):
    for first in range(2, 80, 7):
        killed_at(tmp_path / str(first), first, second, second + 3)
