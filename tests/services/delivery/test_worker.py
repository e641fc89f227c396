import asyncio
import os
import threading

import msgspec
import pytest

from requisition.services.delivery import verbs
from requisition.services.delivery.manifest import parse
from support.deliveries import awkward, tree
from support.rigs import always, failing, forever, once, rig


def test_a_folder_is_staged_compared_renamed_and_told_of_beside_it(tmp_path):
    with rig(tmp_path) as at:
        awkward(at.data / "2026" / "run")
        (at.data / "2026/run/new\nline").write_bytes(b"x")
        job = at.queue.enqueue(str(at.data / "2026/run"), "far", "2026/run", "alice")[0]
        at.work()
        assert at.story(job) == ["queued", "running", "awaiting_verify", "verified"]
        assert tree(at.far / "2026/run") == tree(at.data / "2026/run")
        done = at.queue.job(job.id)
        beside = at.far / "2026/run.delivery"
        text = (beside / "SHA256SUMS").read_bytes()
        assert parse(text).digest == done.manifest
        told = msgspec.json.decode((beside / "receipt.json").read_bytes())
        assert (told["job"], told["manifest"], told["passes"]) == (job.id, done.manifest, 1)
        assert list((at.far / ".incoming").iterdir()) == []
        assert done.passes == 1
        assert done.bytes == parse(text).size


def test_what_was_enqueued_while_the_clock_was_wrong_is_delivered(tmp_path):
    with rig(tmp_path) as at:
        at.hands.jump(1e9)
        job = at.enqueue()
        at.hands.jump(-1.5e9)
        at.work()
        assert at.state(job) == "verified"


def test_two_sources_with_the_same_last_name_do_not_meet(tmp_path):
    with rig(tmp_path) as at:
        one, two = at.enqueue("p1/run", data=b"one"), at.enqueue("p2/run", data=b"two")
        at.work()
        assert (at.state(one), at.state(two)) == ("verified", "verified")
        assert [(at.far / name / "run/data").read_bytes() for name in ("p1", "p2")] == [b"one", b"two"]


def test_something_else_at_the_target_is_a_conflict_and_stays(tmp_path):
    with rig(tmp_path) as at:
        (at.far / "run").mkdir()
        (at.far / "run/theirs").write_bytes(b"theirs")
        job = at.enqueue()
        at.work()
        assert at.queue.job(job.id).error_kind == "conflict"
        assert at.state(job) == "failed"
        assert tree(at.far / "run") == tree(at.far / "run")
        assert [p.name for p in (at.far / "run").iterdir()] == ["theirs"]
        assert (at.data / "run/a.txt").exists()


# --- failures


def test_the_whole_retry_table_is_used_then_it_is_given_up(tmp_path):
    with rig(tmp_path) as at:
        job = at.enqueue()
        at.fault.before["stage"] = always(failing("timeout"))
        waits = []
        for _ in range(6):
            at.hands.pass_(7200.0)
            at.work()
            row = at.queue.job(job.id)
            waits.append(round(row.next_attempt - at.hands.wall) if row.due else None)
        assert waits == [30, 120, 480, 1800, 7200, None]
        assert at.state(job) == "failed"
        assert at.queue.job(job.id).error_kind == "timeout"
        at.fault.before.clear()
        verbs.retry(at.queue, job.id, "bob", "the cable is in")
        at.work()
        assert at.state(job) == "verified"


@pytest.mark.parametrize("kind", ["auth", "host_key", "local_permission", "missing_program", "usage"])
def test_what_cannot_pass_by_itself_is_not_tried_again(tmp_path, kind):
    with rig(tmp_path) as at:
        job = at.enqueue()
        at.fault.before["stage"] = always(failing(kind))
        at.work()
        assert (at.state(job), at.fault.called.count("stage")) == ("failed", 1)
        assert at.queue.job(job.id).error == f"as if: {kind}"


def spoil(at, job):
    path = at.far / ".incoming" / job.id / "data/b.bin"
    info = path.stat()
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(info.st_mtime_ns, info.st_mtime_ns))


def test_a_byte_that_changed_on_the_way_is_found_and_sent_again_once(tmp_path):
    with rig(tmp_path) as at:
        job = at.enqueue()
        at.fault.after["stage"] = once(lambda *_: spoil(at, job))
        at.work()
        assert at.story(job) == [
            *("queued", "running", "awaiting_verify", "queued", "running", "awaiting_verify", "verified"),
        ]
        assert tree(at.far / "run") == tree(at.data / "run")


def test_bytes_that_change_on_every_way_are_given_up_and_never_renamed(tmp_path):
    with rig(tmp_path) as at:
        job = at.enqueue()
        at.fault.before["stage"] = once(failing("network"))  # another failure before does not count for this one
        at.work()
        at.hands.pass_(60)
        at.fault.after["stage"] = always(lambda *_: spoil(at, job))
        at.work()
        assert at.state(job) == "failed"
        assert (at.queue.job(job.id).error_kind, at.fault.called.count("stage")) == ("hash_mismatch", 3)
        assert not (at.far / "run").exists()


def test_a_source_that_changes_while_it_is_pushed_is_delivered_as_it_is_at_last(tmp_path):
    with rig(tmp_path) as at:
        job = at.enqueue()
        at.fault.after["stage"] = once(lambda *_: (at.data / "run/a.txt").write_bytes(b"changed, and longer\n"))
        at.work()
        assert (at.state(job), at.queue.job(job.id).error_kind) == ("queued", "local_changed")
        at.hands.pass_(60)
        at.work()
        assert at.state(job) == "verified"
        assert tree(at.far / "run") == tree(at.data / "run")


def test_a_source_that_vanished_fails_and_says_so(tmp_path):
    with rig(tmp_path) as at:
        job = at.enqueue()
        (at.data / "run").rename(tmp_path / "elsewhere")
        at.work()
        assert (at.state(job), at.queue.job(job.id).error_kind) == ("failed", "local_vanished")


def test_a_source_that_became_a_link_out_of_the_roots_is_not_followed(tmp_path):
    with rig(tmp_path) as at:
        job = at.enqueue()
        (at.data / "run").rename(tmp_path / "secret")
        (at.data / "run").symlink_to(tmp_path / "secret")
        at.work()
        assert at.state(job) == "failed"
        assert not (at.far / "run").exists()


def test_a_destination_that_fails_rests_and_one_job_tries_it_first(tmp_path):
    with rig(tmp_path, workers=1) as at:
        jobs = [at.enqueue(f"run{number}") for number in range(5)]
        at.fault.before["stage"] = always(failing("network"))

        async def doing(worker):
            await at.until(lambda: worker.resting())
            assert at.fault.called.count("stage") == 3
            assert [at.queue.job(one.id).attempts for one in jobs] == [1, 1, 1, 0, 0]
            at.hands.pass_(100)
            await at.until(lambda: sum(at.queue.job(one.id).attempts for one in jobs) == 4)
            await at.until(lambda: max(worker.resting().values(), default=0) > 0)
            assert at.fault.called.count("stage") == 4
            at.fault.before.clear()
            at.hands.pass_(5000)
            await at.until(lambda: all(at.state(one) == "verified" for one in jobs))

        at.meanwhile(doing)


def test_an_unexpected_error_ends_neither_the_worker_nor_the_job(tmp_path):
    with rig(tmp_path) as at:
        job, other = at.enqueue("run"), at.enqueue("other")

        def broken(source, *_):
            if source.endswith("run"):
                raise ZeroDivisionError("a mistake of ours")

        at.fault.before["stage"] = always(broken)
        at.work()
        assert at.state(other) == "verified"
        assert "ZeroDivisionError" in at.queue.job(job.id).error
        at.fault.before.clear()
        at.hands.pass_(60)
        at.work()
        assert at.state(job) == "verified"


def test_a_destination_that_hangs_keeps_no_other_waiting(tmp_path):
    with rig(tmp_path, workers=1) as at:
        (tmp_path / "second").mkdir()
        far = at.delivery.destinations["far"]
        at.configured(
            destinations={
                "far": far,
                "second": msgspec.structs.replace(far, name="second", path=str(tmp_path / "second")),
            }
        )
        hangs = [at.enqueue(f"hangs{number}") for number in range(3)]
        others = [at.enqueue(f"run{number}", to="second") for number in range(3)]
        begun = []
        at.fault.before["stage"] = forever(begun)

        async def doing(worker):
            await at.until(lambda: all(at.state(one) == "verified" for one in others))
            assert begun == [True]
            assert [at.state(one) for one in hangs] == ["running", "queued", "queued"]

        at.meanwhile(doing)


def test_a_source_that_vanishes_while_it_is_pushed_fails_and_nothing_is_renamed(tmp_path):
    with rig(tmp_path) as at:
        job = at.enqueue()
        at.fault.before["stage"] = once(lambda *_: (at.data / "run/a.txt").unlink())
        at.work()
        assert (at.state(job), at.queue.job(job.id).error_kind) == ("failed", "local_vanished")
        assert not (at.far / "run").exists()


def test_after_a_reboot_what_waited_is_delivered(tmp_path):
    with rig(tmp_path) as at:
        jobs = [at.enqueue(f"run{number}") for number in range(4)]
        at.fault.before["stage"] = always(failing("disk_full_remote"))
        at.work()
        at.queue.close()
        at.hands.reboot(3600)
        at.queue = at.hands.queue(tmp_path / "state")
        at.fault.before.clear()
        at.work()
        assert {at.state(one) for one in jobs} == {"verified"}


def test_jobs_that_are_busy_with_the_disk_take_no_thread_from_others(tmp_path):
    with rig(tmp_path, workers=12) as at:
        jobs = [at.enqueue(f"run{number}") for number in range(12)]
        go_on = threading.Event()
        begun = []

        async def busy(*_):
            begun.append(True)
            await asyncio.to_thread(go_on.wait)

        at.fault.before["stage"] = busy

        async def doing(worker):
            try:
                await at.until(lambda: len(begun) == len(jobs))
                await asyncio.to_thread(at.queue.counts)
            finally:
                go_on.set()
            await at.until(lambda: all(at.state(one) == "verified" for one in jobs))

        at.meanwhile(doing)
