"""rsync over ssh when things go wrong: each fault is told for what it is, and what was sent is gone on with."""

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from requisition.schemas.diagnostic import BadInput
from requisition.services.delivery.config import Verify
from requisition.services.delivery.hashing import scan
from requisition.services.delivery.manifest import Manifest
from requisition.services.delivery.rsync import Rsync
from requisition.services.delivery.ssh import QUICK, patience
from requisition.services.delivery.transport import Progress, incoming
from requisition.services.delivery.verify import verify
from support.deliveries import Beyond, awkward, do, fails, small_disk, tree, without_power
from support.sshd import children, free_port, new_key, skip_without

pytestmark = [skip_without(), pytest.mark.skipif(shutil.which("rsync") is None, reason="needs rsync (Debian: rsync)")]
LARGE = 24 << 20
SLOW = 2 << 20


@pytest.fixture(scope="module")
def beyond(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Beyond]:
    made = Beyond(tmp_path_factory.mktemp("beyond") / "machine")
    yield made
    made.machine.close()


@pytest.fixture
def root(beyond: Beyond, request: pytest.FixtureRequest) -> Path:
    made = beyond.root / request.node.name
    made.mkdir()
    return made


@pytest.fixture
def source(tmp_path: Path) -> Path:
    made = tmp_path / "source"
    made.mkdir()
    (made / "small").write_text("small")
    return made


def large(source: Path) -> Manifest:
    (source / "large").write_bytes(os.urandom(LARGE))
    return scan(str(source))


def push(transport: Rsync, source: Path, manifest: Manifest) -> None:
    do(transport.stage(str(source), manifest, "job", None, lambda _: None))


async def begun(transport: Rsync, source: Path, manifest: Manifest) -> "asyncio.Task[None]":
    """A slow push of which some has been sent."""
    moving = asyncio.Event()

    def heard(progress: Progress) -> None:
        if 0 < progress.sent < progress.total:
            moving.set()

    task = asyncio.ensure_future(transport.stage(str(source), manifest, "job", SLOW, heard))
    waiting = asyncio.ensure_future(moving.wait())
    await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
    assert not task.done()
    return task


def kept(root: Path) -> int:
    """Bytes of the file that was not ready."""
    return sum(one.stat().st_size for one in (root / incoming("job")).glob(".partial-job/*"))


async def gone(root: Path) -> None:
    """Wait until no process here or over there works on a job below this folder."""
    while any(os.fsencode(root) in _command(pid) for pid in filter(str.isdigit, os.listdir("/proc"))):
        await asyncio.sleep(0.01)


def _command(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() + os.readlink(f"/proc/{pid}/cwd").encode()
    except OSError:
        return b""


def test_a_cancelled_push_ends_its_processes_at_once_and_is_gone_on_with(
    beyond: Beyond, root: Path, source: Path
) -> None:
    transport, manifest = beyond.transport(path=str(root)), large(source)

    async def cancel() -> None:
        task = await begun(transport, source, manifest)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not [pid for pid in children(os.getpid()) if b"rsync" in _command(str(pid))]
        await gone(root)

    do(cancel())
    assert patience(1 << 40).grace == QUICK.grace < 1, "seconds that a program may take over its end"
    assert 0 < kept(root) < LARGE
    push(transport, source, manifest)
    assert not kept(root)
    assert do(verify(transport, incoming("job"), manifest)).ok


def test_a_cut_connection_is_the_network_and_what_was_sent_is_kept(beyond: Beyond, root: Path, source: Path) -> None:
    transport, manifest = beyond.transport(path=str(root)), large(source)

    async def cut() -> None:
        task = await begun(transport, source, manifest)
        beyond.machine.hang_up()
        with fails("network"):
            await task
        await gone(root)

    do(cut())
    assert 0 < kept(root) < LARGE
    push(transport, source, manifest)
    assert do(verify(transport, incoming("job"), manifest)).ok


def test_who_is_killed_leaves_no_process_behind_and_the_next_goes_on(beyond: Beyond, root: Path, source: Path) -> None:
    """kill -9 of the service: the kernel ends its rsync, and with it what works over there."""
    transport, manifest = beyond.transport(path=str(root)), large(source)
    sending, ready = os.pipe()
    pid = os.fork()
    if pid == 0:

        async def die() -> None:
            await begun(transport, source, manifest)
            os.write(ready, b"!")
            await asyncio.sleep(60)

        asyncio.run(die())
        os._exit(1)
    os.read(sending, 1)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    do(gone(root))
    assert 0 < kept(root) < LARGE
    push(transport, source, manifest)
    assert do(verify(transport, incoming("job"), manifest)).ok


def test_a_killed_rsync_over_there_leaves_nothing_that_is_taken_for_data(
    beyond: Beyond, root: Path, source: Path
) -> None:
    transport, manifest = beyond.transport(path=str(root)), large(source)
    part = root / ".incoming/job/part"

    async def kill() -> None:
        task = await begun(transport, source, manifest)
        while not (part.is_dir() and os.listdir(part)):
            await asyncio.sleep(0.01)
        theirs = [
            int(pid)
            for pid in filter(str.isdigit, os.listdir("/proc"))
            if b"--server" in _command(pid) and os.fsencode(root) in _command(pid)
        ]
        for number in (signal.SIGSTOP, signal.SIGKILL):  # or one would see the other die, and tidy up
            for pid in theirs:
                os.kill(pid, number)
        with fails("network"):
            await task
        await gone(root)

    do(kill())
    assert list(part.iterdir()), "what was killed left its temporary file"
    push(transport, source, manifest)
    assert do(verify(transport, incoming("job"), manifest)).ok
    do(transport.publish("job", "t", manifest))
    assert not list((root / ".incoming").iterdir())


def test_a_full_disk_over_there_is_told_from_one_here(beyond: Beyond, source: Path, tmp_path: Path) -> None:
    manifest = large(source)
    with small_disk(tmp_path / "small disk", 4 << 20) as disk:
        transport = beyond.transport(path=str(disk))
        with fails("disk_full_remote", "No space left on device"):
            push(transport, source, manifest)
        do(transport.discard("job"))
        assert not list((disk / ".incoming").iterdir())


def test_a_source_that_may_not_be_read_is_not_an_authentication_failure(
    beyond: Beyond, root: Path, source: Path, tmp_path: Path
) -> None:
    manifest = scan(str(source))
    (source / "small").chmod(0)
    weak = beyond.transport(path=str(root), programs=without_power(tmp_path / "bin", "rsync"))
    with fails("local_permission", "Permission denied (13)"):
        push(weak, source, manifest)


def test_a_source_that_is_gone_has_vanished(beyond: Beyond, root: Path, source: Path) -> None:
    transport, manifest = beyond.transport(path=str(root)), scan(str(source))
    (source / "small").unlink()
    with fails("local_vanished"):
        push(transport, source, manifest)
    source.rmdir()
    with fails("local_vanished"):
        push(transport, source, manifest)


def test_a_folder_over_there_that_may_not_be_written_to_is_its_own_kind(
    beyond: Beyond, root: Path, source: Path, tmp_path: Path
) -> None:
    (root / ".incoming").write_text("a file in the way")
    with fails("conflict"):
        push(beyond.transport(path=str(root)), source, scan(str(source)))
    with small_disk(tmp_path / "disk", 1 << 20) as disk:
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        with fails("remote_permission"):
            do(beyond.transport(path=str(disk)).probe())
        with fails("remote_permission", "Read-only file system"):
            push(beyond.transport(path=str(disk)), source, scan(str(source)))


def test_who_is_not_let_in_who_is_not_who_they_were_and_who_is_not_there_differ(beyond: Beyond, tmp_path: Path) -> None:
    with fails("auth", "Permission denied"):
        do(beyond.transport(identity=str(new_key(tmp_path / "stranger"))).probe())
    (tmp_path / "known_hosts").write_text("")
    with fails("host_key", "Host key verification failed"):
        do(beyond.transport(known_hosts=str(tmp_path / "known_hosts")).probe())
    kind, key, *_ = new_key(tmp_path / "other").with_suffix(".pub").read_text().split()
    (tmp_path / "known_hosts").write_text(f"[127.0.0.1]:{beyond.machine.port} {kind} {key}\n")
    with fails("host_key"):
        do(beyond.transport(known_hosts=str(tmp_path / "known_hosts")).probe())
    with fails("network", "Connection refused"):
        do(beyond.transport(port=free_port()).probe())


def test_a_program_that_is_missing_over_there_is_told(beyond: Beyond, root: Path, source: Path) -> None:
    transport = beyond.transport(path=str(root), identity=beyond.poor("rsync"))
    with fails("missing_program"):
        push(transport, source, scan(str(source)))


def test_where_there_is_no_sha256sum_everything_is_read_back_within_a_limit(
    beyond: Beyond, root: Path, tmp_path: Path
) -> None:
    source = awkward(tmp_path / "awkward")
    manifest = scan(str(source))
    push(beyond.transport(path=str(root)), source, manifest)
    poor = beyond.transport(path=str(root), identity=beyond.poor("sha256sum"))
    found = do(verify(poor, incoming("job"), manifest))
    assert found.ok, str(found)
    assert found.strategy == "stream"
    (root / incoming("job") / "plain").write_text("changed")
    assert do(verify(poor, incoming("job"), manifest)).mismatched == (b"plain",)
    assert do(verify(poor, "nowhere", manifest)).missing
    with fails("usage", "verify.stream_limit"):
        do(
            verify(
                beyond.transport(path=str(root), identity=beyond.poor("sha256sum"), verify=Verify(10)),
                incoming("job"),
                manifest,
            )
        )


def test_setuid_does_not_travel_and_folders_can_be_finished(beyond: Beyond, root: Path, source: Path) -> None:
    (source / "small").chmod(0o4755)
    (source / "read only").mkdir()
    (source / "read only/x").write_text("x")
    (source / "read only").chmod(0o555)
    push(beyond.transport(path=str(root)), source, scan(str(source)))
    assert (root / incoming("job") / "small").stat().st_mode & 0o7777 == 0o755
    assert tree(root / incoming("job"))[b"read only"] == ("dir", 0o755)


@pytest.mark.parametrize("path", ['/a"b', "/a'b", "/a\\b", "/a%h", "/a$HOME", "/a\nb"])
def test_a_path_that_ssh_would_read_as_something_else_is_refused(beyond: Beyond, path: str) -> None:
    for field in ("identity", "known_hosts"):
        with pytest.raises(BadInput, match="cannot be given to ssh"):
            beyond.transport(**{field: path})
