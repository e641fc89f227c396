"""A local folder as a destination: its faults are its own, and what was written is gone on with."""

import asyncio
import os
from pathlib import Path

import pytest

from requisition.services.delivery.choose import transport_for
from requisition.services.delivery.config import Destination
from requisition.services.delivery.hashing import scan
from requisition.services.delivery.local import Local
from requisition.services.delivery.manifest import Manifest
from requisition.services.delivery.transport import Progress, incoming
from requisition.services.delivery.verify import verify
from support.deliveries import do, fails, small_disk

LARGE = 8 << 20


@pytest.fixture
def source(tmp_path: Path) -> Path:
    made = tmp_path / "source"
    made.mkdir()
    (made / "large").write_bytes(os.urandom(LARGE))
    return made


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    made.mkdir()
    return made


def to(root: Path) -> Local:
    found = transport_for(Destination("disk", "local", path=str(root)))
    assert isinstance(found, Local)
    return found


def push(root: Path, source: Path, manifest: Manifest, job: str = "job") -> list[Progress]:
    heard: list[Progress] = []
    do(to(root).stage(str(source), manifest, job, None, heard.append))
    return heard


def stopped_midway(root: Path, source: Path, manifest: Manifest) -> int:
    """Bytes that a slow push had written when it was cancelled."""
    part = root / ".incoming/job/part"

    async def begin_and_cancel() -> None:
        task = asyncio.ensure_future(to(root).stage(str(source), manifest, "job", 1 << 20, lambda _: None))
        while not (part.exists() and any(one.stat().st_size for one in part.iterdir())):
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    do(begin_and_cancel())
    (left,) = part.iterdir()
    return left.stat().st_size


def test_a_cancelled_push_is_gone_on_with(root: Path, source: Path) -> None:
    manifest = scan(str(source))
    begun = stopped_midway(root, source, manifest)
    assert 0 < begun < LARGE
    (left,) = (root / ".incoming/job/part").iterdir()
    with left.open("r+b") as file:
        file.write(b"no longer what was written")  # shows that the rest alone is written
    push(root, source, manifest)
    assert do(verify(to(root), incoming("job"), manifest)).mismatched == (b"large",)
    do(to(root).discard("job"))
    push(root, source, manifest)
    assert do(verify(to(root), incoming("job"), manifest)).ok


def test_what_was_written_of_another_content_is_not_gone_on_with(root: Path, source: Path) -> None:
    stopped_midway(root, source, scan(str(source)))
    (source / "large").write_bytes(os.urandom(LARGE))
    manifest = scan(str(source))
    push(root, source, manifest)
    assert do(verify(to(root), incoming("job"), manifest)).ok
    do(to(root).publish("job", "t", manifest))
    assert not list((root / ".incoming").iterdir())


def test_what_is_staged_in_the_way_of_another_manifest_gives_way(root: Path, source: Path, tmp_path: Path) -> None:
    """A link over there must never be written through."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (source / "sub").symlink_to(outside)
    push(root, source, scan(str(source)))
    (source / "sub").unlink()
    (source / "sub").mkdir()
    (source / "sub/file").write_text("inside")
    (source / "large").unlink()
    (source / "large").mkdir()
    manifest = scan(str(source))
    push(root, source, manifest)
    assert not list(outside.iterdir())
    assert do(verify(to(root), incoming("job"), manifest)).ok


def test_a_source_that_changed_or_is_gone_is_told(root: Path, source: Path) -> None:
    manifest = scan(str(source))
    (source / "large").write_bytes(b"other")
    with fails("local_changed"):
        push(root, source, manifest)
    (source / "large").unlink()
    with fails("local_vanished"):
        push(root, source, manifest)


def test_a_full_disk_is_the_destinations(source: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "small disk", 2 << 20) as disk:
        with fails("disk_full_remote", "No space left on device"):
            push(disk, source, scan(str(source)))
        do(to(disk).discard("job"))


def test_a_limit_is_kept_to(root: Path, source: Path) -> None:
    """Told by what is said of it, not by a clock: a rate below the limit, or the limit was not heard of."""
    manifest, heard, limit = scan(str(source)), list[Progress](), 16 << 20
    do(to(root).stage(str(source), manifest, "job", limit, heard.append))
    assert heard[-1].sent == LARGE
    assert heard[-1].rate <= limit * 1.05


def test_a_mount_below_the_destination_is_another_disk(root: Path, source: Path) -> None:
    (source / "large").write_text("small")
    manifest = scan(str(source))
    with small_disk(root / "mounted", 4 << 20):
        push(root, source, manifest)
        with fails("unknown", "cross-device"):
            do(to(root).publish("job", "mounted/t", manifest))
        assert not (root / "mounted/t").exists()
        assert do(verify(to(root), incoming("job"), manifest)).ok


def test_a_partly_different_or_larger_target_is_a_conflict(root: Path, source: Path, tmp_path: Path) -> None:
    manifest = scan(str(source))
    push(root, source, manifest)
    for name in ("beside.bin", "large"):
        target = root / name / "t"
        target.mkdir(parents=True)
        (target / name).write_text("someone's")
        with fails("conflict"):
            do(to(root).publish("job", f"{name}/t", manifest))
        assert (target / name).read_text() == "someone's"
    (root / "file").write_text("someone's")
    for target in ("file", "file/t"):
        with fails("conflict"):
            do(to(root).publish("job", target, manifest))
    assert (root / "file").read_text() == "someone's"
