"""Clean-up as it happens: with a queue, a worker, a source and a far end on real disks."""

import errno
import os
import shutil

import msgspec
import pytest

from requisition.services.delivery import overrides, verbs
from requisition.services.delivery.config import Cleanup
from requisition.services.delivery.deletion import delete
from requisition.services.delivery.dryrun import explain
from requisition.services.delivery.hashing import scan
from requisition.services.delivery.records import Records
from requisition.services.delivery.transport import TransportFailure
from support.deliveries import awkward, do, tree
from support.rigs import CLEANING, always, once, rig

DAY = 86400.0


def ripe(at, job):
    """Delivered, and compared as often as it must be; the next visit decides."""
    at.work()
    at.hands.pass_(CLEANING.interval)
    at.work()
    assert at.queue.job(job.id).passes == 2
    at.hands.pass_(DAY)


def files(folder):
    return {os.path.join(where, one) for where, _, some in os.walk(folder) for one in some}


def kept(at, job):
    return at.queue.job(job.id).error.partition(":")[0]


def test_what_was_delivered_and_compared_twice_goes_and_what_is_known_of_it_stays(tmp_path):
    with rig(tmp_path, cleanup=CLEANING) as at:
        awkward(at.data / "run")
        job = at.enqueue()
        before = tree(at.data / "run")
        ripe(at, job)
        assert at.state(job) == "verified"
        at.work()
        assert at.state(job) == "cleaned"
        assert list((at.data / "run").iterdir()) == []
        assert tree(at.far / "run") == before
        assert at.story(job)[-3:] == ["verified", "cleanup_eligible", "cleaned"]
        assert at.queue.job(job.id).passes == 3
        assert at.queue.history(job.id)[-1].why.startswith("deleted 30 files and links, ")
        assert Records(str(tmp_path / "state/manifests")).manifest(job_of(at, job)).files
        assert (at.far / "run.delivery/receipt.json").exists()


def job_of(at, job):
    return at.queue.job(job.id)


def test_nothing_goes_when_clean_up_is_off(tmp_path):
    with rig(tmp_path) as at:
        job = at.enqueue()
        for _ in range(5):
            at.work()
            at.hands.pass_(10 * DAY)
        verbs.consider(at.queue, job.id, "bob", "now")
        at.work()
        assert at.state(job) == "verified"
        assert len(files(at.data)) == 2


def test_setting_the_clock_ahead_deletes_nothing(tmp_path):
    with rig(tmp_path, cleanup=CLEANING) as at:
        job = at.enqueue()
        for _ in range(5):
            at.work()
            at.hands.jump(30 * DAY)
        verbs.consider(at.queue, job.id, "bob", "now")
        at.work()
        assert at.state(job) == "verified"
        assert len(files(at.data)) == 2


def new_file(at):
    (at.data / "run/late.txt").write_bytes(b"late")


def changed_file(at):
    (at.data / "run/a.txt").write_bytes(b"ONE\n")


def same_size_and_time(at):
    path = at.data / "run/a.txt"
    info = path.stat()
    path.write_bytes(b"ONE\n")
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))


def replaced_by_link(at):
    (at.data / "run/a.txt").unlink()
    (at.data / "run/a.txt").symlink_to("b.bin")


def gone(at):
    (at.data / "run/a.txt").unlink()


def folder_moved(at):
    (at.data / "run").rename(at.folder / "moved")
    (at.data / "run").symlink_to(at.folder / "moved")


@pytest.mark.parametrize("change", [new_file, changed_file, same_size_and_time, replaced_by_link, gone, folder_moved])
def test_a_source_that_is_not_as_it_was_is_kept(tmp_path, change):
    with rig(tmp_path, cleanup=CLEANING) as at:
        job = at.enqueue()
        ripe(at, job)
        change(at)
        before = files(at.folder / "data") | files(at.folder / "moved")
        at.work()
        assert (at.state(job), kept(at, job)) == ("verified", "unchanged")
        assert files(at.folder / "data") | files(at.folder / "moved") == before


def test_a_byte_that_rotted_at_the_far_end_is_found_and_the_source_kept(tmp_path):
    with rig(tmp_path, cleanup=CLEANING) as at:
        job = at.enqueue()
        ripe(at, job)
        path = at.far / "run/b.bin"
        info = path.stat()
        path.write_bytes(path.read_bytes()[:-1] + b"?")
        os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))
        at.work()
        assert (at.state(job), at.queue.job(job.id).error_kind) == ("failed", "hash_mismatch")
        assert len(files(at.data)) == 2


def test_a_destination_that_cannot_be_reached_keeps_the_source_and_the_job_delivered(tmp_path):
    with rig(tmp_path, cleanup=CLEANING) as at:
        job = at.enqueue()
        ripe(at, job)
        shutil.move(at.far, tmp_path / "unplugged")
        for _ in range(8):
            at.work()
            at.hands.pass_(3 * 7200)
        assert at.state(job) in ("verified", "cleanup_eligible")
        assert len(files(at.data)) == 2
        shutil.move(tmp_path / "unplugged", at.far)
        at.work()
        assert at.state(job) == "cleaned"


def test_a_revoked_override_keeps_the_source_until_it_is_given_again(tmp_path):
    with rig(tmp_path, cleanup=CLEANING) as at:
        job = at.enqueue(**{"<x>": b"x"})
        at.work()
        made = overrides.override(at.queue, job.id, "placeholders", "bob", "is its name")
        ripe(at, job)
        overrides.revoke(at.queue, made.number, "carol", "is it?")
        at.work()
        assert (at.state(job), kept(at, job)) == ("verified", "overrides")
        overrides.override(at.queue, job.id, "placeholders", "carol", "it is")
        verbs.consider(at.queue, job.id, "carol", "checked")
        at.work()
        assert at.state(job) == "cleaned"


@pytest.mark.parametrize("other", ["run", "run/below", ""])
def test_a_source_that_another_job_has_yet_to_deliver_is_kept(tmp_path, other):
    with rig(tmp_path, cleanup=CLEANING) as at:
        at.source("run/below", c=b"c")
        job = at.enqueue()
        ripe(at, job)
        waits = at.queue.enqueue(str(at.data / other).rstrip("/"), "elsewhere", "x", "bob")[0]
        at.work()
        assert (at.state(job), kept(at, job)) == ("verified", "needed")
        verbs.cancel(at.queue, waits.id, "bob", "not wanted")
        verbs.consider(at.queue, job.id, "bob", "now")
        at.work()
        assert at.state(job) == "cleaned"


def test_a_source_with_two_destinations_goes_when_both_have_it_and_both_jobs_end(tmp_path):
    with rig(tmp_path, cleanup=CLEANING) as at:
        (tmp_path / "second").mkdir()
        far = at.delivery.destinations["far"]
        second = msgspec.structs.replace(far, name="second", path=str(tmp_path / "second"))
        at.configured(destinations={"far": far, "second": second})
        jobs = [at.enqueue(), at.enqueue(to="second")]
        before = tree(at.data / "run")
        for _ in range(5):
            at.work()
            at.hands.pass_(DAY)
        assert [at.state(one) for one in jobs] == ["cleaned", "cleaned"]
        assert tree(at.far / "run") == tree(tmp_path / "second/run") == before
        assert files(at.data) == set()


def test_what_changes_while_the_far_end_is_compared_is_seen(tmp_path):
    with rig(tmp_path, cleanup=CLEANING) as at:
        job = at.enqueue()
        ripe(at, job)
        at.fault.after["digests"] = once(lambda *_: new_file(at))
        at.work()
        assert (at.state(job), kept(at, job)) == ("verified", "unchanged")
        assert len(files(at.data)) == 3


def test_a_file_that_someone_writes_is_left_and_the_job_is_not_cleaned_before_it_went(tmp_path):
    with rig(tmp_path, cleanup=CLEANING) as at:
        job = at.enqueue()
        ripe(at, job)
        held = open(at.data / "run/a.txt", "ab")  # noqa: SIM115  (an instrument that may go on writing)
        at.work()
        assert at.state(job) == "cleanup_eligible"
        assert "'a.txt': someone has it open for writing" in at.queue.job(job.id).error
        assert files(at.data) == {str(at.data / "run/a.txt")}
        held.close()
        at.hands.pass_(CLEANING.interval)
        at.work()
        assert at.state(job) == "cleaned"
        assert files(at.data) == set()


def test_only_the_manifests_own_files_are_deleted(tmp_path):
    folder = tmp_path / "run"
    awkward(folder)
    manifest = scan(str(folder))
    (folder / "sub/not ours").write_bytes(b"keep me")
    (folder / "plain").write_bytes(b"changed, keep me")
    done = delete(str(folder), manifest, lambda: False)
    assert files(folder) == {str(folder / "sub/not ours"), str(folder / "plain")}
    assert sorted(one.partition(":")[0] for one in done.problems) == ["'plain'", "'sub'"]


def test_no_link_leads_the_deletion_out_of_the_folder(tmp_path):
    folder, outside = tmp_path / "run", tmp_path / "outside"
    for one in (folder / "sub", outside):
        one.mkdir(parents=True)
        (one / "precious").write_bytes(b"x")
    manifest = scan(str(folder))
    shutil.rmtree(folder / "sub")
    (folder / "sub").symlink_to(outside)
    done = delete(str(folder), manifest, lambda: False)
    assert (outside / "precious").exists()
    assert done.files == 0
    assert len(done.problems) == 2


def test_names_of_one_file_all_go(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "one").write_bytes(b"x")
    os.link(folder / "one", folder / "two")
    os.link(folder / "one", tmp_path / "elsewhere")
    assert delete(str(folder), scan(str(folder)), lambda: False).problems == ()
    assert files(folder) == set()
    assert (tmp_path / "elsewhere").read_bytes() == b"x"


def test_a_deletion_that_was_cut_off_is_gone_on_with(tmp_path):
    with rig(tmp_path, cleanup=CLEANING) as at:
        job = at.enqueue()
        ripe(at, job)
        row = at.queue.claim("killed", {"far": 9})
        row = at.queue.leave(row, "cleanup_eligible", "", 0.0)
        row = at.queue.claim("killed", {"far": 9})
        at.queue.move(row, row.state, "deleting", cleaning=True)
        (at.data / "run/a.txt").unlink()
        at.hands.pass_(60)
        at.work()
        assert at.state(job) == "cleaned"
        assert files(at.data) == set()


def test_a_dry_run_says_of_each_interlock_whether_it_holds_and_touches_nothing(tmp_path):
    with rig(tmp_path, cleanup=CLEANING) as at:
        job = at.enqueue()
        at.work()
        records = Records(str(tmp_path / "state/manifests"))

        def told(transport):
            found = do(explain(at.queue, CLEANING, records, job_of(at, job), transport))
            return {one.name: one.holds for one in found}

        hold = {"enabled", "overrides", "needed", "unchanged"}
        assert {name for name, holds in told(None).items() if holds} == hold
        assert {name for name, holds in told(at.fault).items() if holds} == hold | {"reachable", "verified"}
        at.fault.before["probe"] = always(unreachable)
        assert {name for name, holds in told(at.fault).items() if holds} == hold
        assert at.state(job) == "verified"
        assert len(files(at.data)) == 2


def unreachable(*_):
    raise TransportFailure("network", "no route to host")


def test_clean_up_that_is_turned_on_later_thinks_of_what_was_delivered_before(tmp_path):
    with rig(tmp_path) as at:
        job = at.enqueue()
        at.work()
        at.configured(cleanup=Cleanup(enabled=True, passes=2, min_age=3600.0, interval=3600.0))
        at.hands.pass_(DAY)
        at.work()
        assert at.queue.job(job.id).passes == 3
        assert at.state(job) == "cleaned"


def test_a_failed_unlink_is_not_cleaned(tmp_path, monkeypatch):
    with rig(tmp_path, cleanup=CLEANING) as at:
        job = at.enqueue()
        ripe(at, job)
        real = os.unlink

        def failing(name, *, dir_fd=None):
            if name == b"a.txt":
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            real(name, dir_fd=dir_fd)

        monkeypatch.setattr(os, "unlink", failing)
        at.work()
        monkeypatch.undo()
        assert at.state(job) == "cleanup_eligible"
        assert at.queue.job(job.id).error == "deleted 1 files and links, 10240 bytes; left: 'a.txt': Input/output error"
        at.hands.pass_(CLEANING.interval)
        at.work()
        assert at.state(job) == "cleaned"
        assert files(at.data) == set()


def test_a_look_that_is_asked_for_tells_of_a_source_that_is_gone(tmp_path):
    with rig(tmp_path) as at:
        job = at.enqueue()
        at.work()
        shutil.rmtree(at.data / "run")
        verbs.look_again(at.queue, job.id, "bob", "is it there?")
        at.work()
        assert at.queue.job(job.id).passes == 2
        assert "No such file or directory" in at.queue.history(job.id)[-1].why
