"""rclone when things go wrong, and what its remotes can and cannot hold."""

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from requisition.services.delivery.choose import transport_for
from requisition.services.delivery.config import Destination, Verify
from requisition.services.delivery.hashing import scan
from requisition.services.delivery.manifest import Manifest
from requisition.services.delivery.rclone import Rclone
from requisition.services.delivery.transport import Progress, incoming
from requisition.services.delivery.verify import verify
from support.deliveries import awkward, do, fails, remotes, small_disk, without_power
from support.sshd import children, free_port

pytestmark = pytest.mark.skipif(shutil.which("rclone") is None, reason="needs rclone (Debian: rclone)")


@pytest.fixture
def config(tmp_path: Path) -> str:
    return remotes(tmp_path / "remotes")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    made = tmp_path / "source"
    made.mkdir()
    (made / "small").write_text("small")
    return made


def to(remote: str, config: str, limit: int = 1 << 30, programs: str = "") -> Rclone:
    destination = Destination("store", "rclone", remote=remote, rclone_config=config, verify=Verify(limit))
    found = transport_for(destination, {**os.environ, **({"PATH": programs} if programs else {})})
    assert isinstance(found, Rclone)
    return found


def push(transport: Rclone, source: Path, manifest: Manifest) -> None:
    do(transport.stage(str(source), manifest, "job", None, lambda _: None))


def test_a_remote_that_only_remembers_digests_is_read_back(config: str, tmp_path: Path) -> None:
    """rclone's hasher answers with what it once sent: that proves nothing of what lies there now."""
    source = awkward(tmp_path / "awkward", utf8_only=True)
    manifest, transport = scan(str(source)), to("memory:", config)
    push(transport, source, manifest)
    found = do(verify(transport, incoming("job"), manifest))
    assert (found.ok, found.strategy) == (True, "stream"), str(found)


def test_a_byte_that_changed_in_an_encrypted_remote_is_found(config: str, source: Path, tmp_path: Path) -> None:
    manifest, transport = scan(str(awkward(source, utf8_only=True))), to("sealed:", config)
    push(transport, source, manifest)
    for sealed in (tmp_path / "remotes/sealed").rglob("small*"):
        content = bytearray(sealed.read_bytes())
        content[-1] ^= 1
        sealed.write_bytes(content)
    found = do(verify(transport, incoming("job"), manifest))
    assert found.mismatched == (b"small",)
    assert not found.missing
    assert not found.extra


def test_more_than_the_limit_is_not_read_back(config: str, source: Path) -> None:
    manifest = scan(str(source))
    push(to("sealed:", config), source, manifest)
    with fails("usage", "verify.stream_limit"):
        do(verify(to("sealed:", config, limit=4), incoming("job"), manifest))


@pytest.mark.parametrize("name", [b"\xff", "␊".encode(), "‛".encode(), "／".encode(), b"a.rclonelink"])
def test_a_name_that_would_not_arrive_as_it_is_is_refused(config: str, source: Path, name: bytes) -> None:
    Path(os.fsdecode(os.fsencode(source) + b"/" + name)).write_text("x")
    with fails("usage"):
        push(to("plain:", config), source, scan(str(source)))


def test_a_move_that_was_cut_off_is_ended_by_the_next(config: str, tmp_path: Path) -> None:
    """As on a remote that moves file by file: some of them are at the target, the others still staged."""
    source = awkward(tmp_path / "awkward", utf8_only=True)
    manifest, transport = scan(str(source)), to("plain:", config)
    push(transport, source, manifest)
    plain = tmp_path / "remotes/plain"
    (plain / "t").mkdir()
    for name in ("plain", "new\nline", "link"):
        (plain / incoming("job") / name).rename(plain / "t" / name)
    do(transport.publish("job", "t", manifest))
    assert do(verify(transport, "t", manifest)).ok


def test_a_cancelled_push_ends_its_processes(config: str, source: Path) -> None:
    (source / "large").write_bytes(os.urandom(16 << 20))
    manifest, transport = scan(str(source)), to("plain:", config)

    async def cancel() -> None:
        moving = asyncio.Event()

        def heard(progress: Progress) -> None:
            if 0 < progress.sent < progress.total:
                moving.set()

        task = asyncio.ensure_future(transport.stage(str(source), manifest, "job", 2 << 20, heard))
        await moving.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not [pid for pid in children(os.getpid()) if b"rclone" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    do(cancel())
    push(transport, source, manifest)
    assert do(verify(transport, incoming("job"), manifest)).ok


def test_a_full_disk_is_the_destinations(source: Path, tmp_path: Path) -> None:
    (source / "large").write_bytes(os.urandom(4 << 20))
    with small_disk(tmp_path / "small disk", 1 << 20) as disk:
        config = tmp_path / "conf"
        config.write_text(f"[full]\ntype = alias\nremote = {disk}\n")
        with fails("disk_full_remote"):
            push(to("full:", str(config)), source, scan(str(source)))


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="needs root and setpriv")
def test_a_source_that_may_not_be_read_is_not_an_authentication_failure(
    config: str, source: Path, tmp_path: Path
) -> None:
    manifest = scan(str(source))
    (source / "small").chmod(0)
    with fails("local_permission", "permission denied"):
        push(to("plain:", config, programs=without_power(tmp_path / "bin", "rclone")), source, manifest)


def test_a_source_that_is_gone_has_vanished(config: str, source: Path) -> None:
    manifest = scan(str(source))
    shutil.rmtree(source)
    with fails("local_vanished"):
        push(to("plain:", config), source, manifest)


def test_a_remote_that_is_not_configured_or_not_there_is_told(config: str, tmp_path: Path) -> None:
    with fails("usage", "didn't find section in config file"):
        do(to("nothing:", config).probe())
    (tmp_path / "conf").write_text(f"[far]\ntype = webdav\nurl = http://127.0.0.1:{free_port()}\nvendor = other\n")
    with fails("network", "connection refused"):
        do(to("far:", str(tmp_path / "conf")).probe())
