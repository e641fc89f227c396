"""What is asked of a worker while it is at work: by people, by windows of bandwidth, by the gate."""

import asyncio

import msgspec
import pytest

from requisition.services.delivery import overrides, verbs
from requisition.services.delivery.config import Bandwidth, Gate, Window
from support.rigs import CLEANING, failing, forever, once, rig


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
        nights = (Window(frozenset(range(7)), 0, 6 * 60, 0), Window(frozenset(range(7)), 12 * 60, 18 * 60, 10_000))
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
