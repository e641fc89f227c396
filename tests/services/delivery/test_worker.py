import asyncio

import msgspec
import pytest

from requisition.services.delivery import overrides, verbs
from requisition.services.delivery.config import Bandwidth, Gate, Window
from requisition.services.delivery.manifest import parse
from requisition.services.delivery.transport import TransportFailure
from support.deliveries import awkward, tree
from support.rigs import CLEANING, always, once, rig


def failing(kind):
    def fail(*_):
        raise TransportFailure(kind, f"as if: {kind}")

    return fail


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
    import os

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


# --- stopping


def forever(begun):
    async def wait(*_):
        begun.append(True)
        await asyncio.sleep(3600)

    return wait


@pytest.mark.parametrize("how", ["cancel", "pause", "destination"])
def test_who_wants_it_stopped_has_it_stopped(tmp_path, how):
    with rig(tmp_path) as at:
        job = at.enqueue()
        begun = []
        at.fault.after["stage"] = forever(begun)

        async def doing(worker):
            await at.until(lambda: begun)
            if how == "destination":
                verbs.pause_destination(at.queue, "far", "bob", "later")
            else:
                getattr(verbs, how)(at.queue, job.id, "bob", "because")
            wanted = "cancelled" if how == "cancel" else "queued"
            await at.until(lambda: at.state(job) == wanted)

        at.meanwhile(doing)
        assert (at.far / ".incoming" / job.id).exists() is (how != "cancel")
        at.fault.after.clear()
        if how == "pause":
            verbs.resume(at.queue, job.id, "bob", "now")
        elif how == "destination":
            verbs.resume_destination(at.queue, "far")
        else:
            verbs.retry(at.queue, job.id, "bob", "after all")
        at.work()
        assert at.state(job) == "verified"


def test_what_was_pushed_of_a_job_that_is_cancelled_later_is_discarded_once_that_can_be(tmp_path):
    with rig(tmp_path) as at:
        job = at.enqueue()
        at.fault.after["stage"] = once(failing("network"))
        at.work()
        assert (at.far / ".incoming" / job.id).exists()
        verbs.cancel(at.queue, job.id, "bob", "not wanted")
        assert at.state(job) == "cancelled"
        at.work()
        assert not (at.far / ".incoming" / job.id).exists()
        assert at.state(job) == "cancelled"
        assert at.queue.job(job.id).due is None


def test_a_worker_that_is_stopped_leaves_its_jobs_to_be_gone_on_with(tmp_path):
    with rig(tmp_path) as at:
        job = at.enqueue()
        begun = []
        at.fault.after["stage"] = forever(begun)
        at.meanwhile(lambda worker: at.until(lambda: begun))
        row = at.queue.job(job.id)
        assert (row.state, row.lease, row.attempts) == ("queued", "", 0)
        at.fault.after.clear()
        at.work()
        assert at.state(job) == "verified"


def test_a_job_that_someone_else_took_is_dropped_and_not_written_to(tmp_path):
    with rig(tmp_path) as at:
        job = at.enqueue()
        begun, go_on = [], []

        async def suspended(*_):
            begun.append(True)
            await at.until(lambda: go_on)

        at.fault.before["publish"] = suspended

        async def doing(worker):
            await at.until(lambda: begun)
            at.hands.pass_(60)  # our machine was asleep, say
            taken = at.queue.claim("another", {"far": 9})
            go_on.append(True)
            await at.until(lambda: at.said)
            assert at.queue.job(job.id) == taken

        at.meanwhile(doing)
        assert "not ours any more" in at.said[0]


# --- bandwidth


def test_nothing_is_pushed_in_a_window_that_pauses_and_the_limit_changes_under_way(tmp_path):
    with rig(tmp_path) as at:
        nights = (Window(frozenset(range(7)), 0, 6 * 60, 0), Window(frozenset(range(7)), 12 * 60, 18 * 60, 5000))
        place = msgspec.structs.replace(at.delivery.destinations["far"], bandwidth=Bandwidth(None, "UTC", nights))
        at.configured(destinations={"far": place})
        job = at.enqueue()
        limits = []
        real = at.fault.real.stage

        async def stage(source, manifest, number, limit, on_progress):
            limits.append(limit)
            if limit is None:
                await asyncio.sleep(3600)
            await real(source, manifest, number, None, on_progress)

        at.fault.real.stage = stage
        day = at.hands.wall - at.hands.wall % 86400

        async def doing(worker):
            at.hands.wall = day + 3 * 3600
            await asyncio.wait_for(worker.run(until_idle=True), 10)
            assert limits == []

        asyncio.run(doing(at.worker()))

        async def changing(worker):
            at.hands.wall = day + 11 * 3600
            worker.wake()
            await at.until(lambda: limits == [None])
            at.hands.wall = day + 13 * 3600
            await at.until(lambda: at.state(job) == "verified")
            assert limits == [None, 5000]

        at.meanwhile(changing)


def test_a_push_stops_when_a_window_that_pauses_opens_and_goes_on_behind_it(tmp_path):
    with rig(tmp_path) as at:
        night = Window(frozenset(range(7)), 0, 6 * 60, 0)
        place = msgspec.structs.replace(at.delivery.destinations["far"], bandwidth=Bandwidth(None, "UTC", (night,)))
        at.configured(destinations={"far": place})
        job = at.enqueue()
        begun = []
        at.fault.before["stage"] = forever(begun)
        day = at.hands.wall - at.hands.wall % 86400

        async def doing(worker):
            at.hands.wall = day + 23 * 3600
            await at.until(lambda: begun)
            at.hands.wall = day + 25 * 3600
            await at.until(lambda: at.state(job) == "queued")
            at.fault.before.clear()
            at.hands.wall = day + 31 * 3600
            await at.until(lambda: at.state(job) == "verified")
            assert at.queue.job(job.id).attempts == 0

        at.meanwhile(doing)


# --- the gate


def test_a_hard_finding_blocks_until_it_is_resolved(tmp_path):
    with rig(tmp_path, gate=Gate(manifest="meta.yaml")) as at:
        job = at.enqueue()
        at.work()
        assert at.state(job) == "blocked"
        assert [(one.rule, one.hard) for one in at.queue.findings(job.id)] == [("manifest", True)]
        assert not (at.far / ".incoming").exists()
        (at.data / "run/meta.yaml").write_text("who: alice\n")
        at.hands.pass_(300)
        at.work()
        assert at.state(job) == "verified"
        assert at.story(job) == ["queued", "running", "blocked", "queued", "running", "awaiting_verify", "verified"]


def test_an_override_lets_one_job_go_and_revoking_it_stops_it_under_way(tmp_path):
    with rig(tmp_path) as at:
        job = at.enqueue(**{"<name>.txt": b"x"})
        other = at.enqueue("other", **{"<name>.txt": b"x"})
        at.work()
        assert (at.state(job), at.state(other)) == ("blocked", "blocked")
        made = overrides.override(at.queue, job.id, "placeholders", "bob", "it is called that")
        begun = []
        at.fault.before["publish"] = forever(begun)

        async def doing(worker):
            await at.until(lambda: begun)
            overrides.revoke(at.queue, made.number, "carol", "it is not")
            await at.until(lambda: at.state(job) == "blocked")

        at.meanwhile(doing)
        at.hands.pass_(400)
        at.work()
        assert (at.state(job), at.state(other)) == ("blocked", "blocked")
        assert not (at.far / "run").exists()


def test_a_verified_job_is_compared_with_everything_when_someone_asks(tmp_path):
    with rig(tmp_path) as at:
        job = at.enqueue()
        at.work()
        before = (at.far / "run.delivery/SHA256SUMS").read_bytes()
        verbs.look_again(at.queue, job.id, "bob", "to be sure")
        at.work()
        assert at.queue.job(job.id).passes == 2
        (at.data / "run/a.txt").write_bytes(b"two\n")
        verbs.look_again(at.queue, job.id, "bob", "to be sure")
        at.work()
        assert "1 different: 'a.txt'" in at.queue.history(job.id)[-1].why
        assert at.state(job) == "verified"
        (at.far / "run/a.txt").write_bytes(b"two\n")
        verbs.look_again(at.queue, job.id, "bob", "to be sure")
        at.work()
        assert (at.state(job), at.queue.job(job.id).error_kind) == ("failed", "hash_mismatch")
        assert (at.far / "run.delivery/SHA256SUMS").read_bytes() == before


def test_a_job_is_compared_again_by_itself_only_when_clean_up_is_on(tmp_path):
    with rig(tmp_path) as at:
        job = at.enqueue()
        at.work()
        assert at.queue.job(job.id).due is None
        at.configured(cleanup=CLEANING)
        at.work()
        at.hands.pass_(CLEANING.interval)
        at.work()
        assert at.queue.job(job.id).passes == 2


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
