"""A folder is read whole, in parallel, and no file twice that did not change."""

import asyncio
import hashlib
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from requisition.services.clock import Clock
from requisition.services.delivery.aside import Stopped
from requisition.services.delivery.hashing import Cache, scan, scanned
from requisition.services.delivery.manifest import Entry
from support.deliveries import AWKWARD, awkward, do, fails, without_power

LATER = Clock(now=lambda: 4e9)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(str(tmp_path / "state" / "hashes.db"))


def digest(manifest_of: Path, cache: Cache | None = None, clock: Clock = LATER) -> str:
    return scan(str(manifest_of), cache, clock=clock).files[b"file"].sha256


def plant(cache: Cache, folder: Path, planted: str) -> None:
    """Have the cache say something else of the file, so that it shows whether it is believed."""
    (one,) = scan(str(folder)).entries
    cache.remember(os.fsencode(folder), [Entry(*(getattr(one, f) for f in one.__struct_fields__[:7]), planted)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "folder"
    made.mkdir()
    (made / "file").write_text("content")
    return made


def test_all_of_a_folder_is_in_its_manifest_sorted(tmp_path: Path) -> None:
    found = scan(str(awkward(tmp_path / "source")), jobs=3)
    assert [one.path for one in found.entries] == sorted(one.path for one in found.entries)
    assert set(found.files) == set(AWKWARD)
    for path, one in found.files.items():
        content = Path(os.fsdecode(os.fsencode(tmp_path / "source") + b"/" + path)).read_bytes()
        assert (one.size, one.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    links = {one.path: one.link for one in found.entries if one.kind == "link"}
    assert links[b"link to folder"] == b"sub", "a link is not followed"
    assert b"empty/inner empty" in {one.path for one in found.entries if one.kind == "dir"}


def test_a_file_that_did_not_change_is_not_read_again(folder: Path, cache: Cache) -> None:
    plant(cache, folder, "f" * 64)
    assert digest(folder, cache) == "f" * 64
    assert digest(folder) == hashlib.sha256(b"content").hexdigest(), "without a cache every byte is read"


def test_a_file_whose_size_time_or_inode_changed_is_read_again(folder: Path, cache: Cache, tmp_path: Path) -> None:
    file, true = folder / "file", hashlib.sha256(b"content").hexdigest()
    plant(cache, folder, "f" * 64)
    os.utime(file, ns=(1, 1))
    assert digest(folder, cache) == true
    plant(cache, folder, "f" * 64)
    file.write_text("more content")
    assert digest(folder, cache) == hashlib.sha256(b"more content").hexdigest()
    plant(cache, folder, "f" * 64)
    info = file.stat()
    (tmp_path / "new").write_text("more content")
    os.utime(tmp_path / "new", ns=(info.st_atime_ns, info.st_mtime_ns))
    os.replace(tmp_path / "new", file)
    assert digest(folder, cache) == hashlib.sha256(b"more content").hexdigest()


def test_a_file_that_changed_a_moment_ago_is_not_remembered(folder: Path, cache: Cache) -> None:
    written = (folder / "file").stat().st_mtime
    scan(str(folder), cache, clock=Clock(now=lambda: written + 1))
    assert not cache.below(os.fsencode(folder))
    scan(str(folder), cache, clock=Clock(now=lambda: written + 60))
    assert list(cache.below(os.fsencode(folder))) == [os.fsencode(folder / "file")]


def test_a_file_that_is_gone_is_forgotten(folder: Path, cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "folder beside").mkdir()
    (tmp_path / "folder beside/other").write_text("other")
    for one in (folder, tmp_path / "folder beside"):
        scan(str(one), cache, clock=LATER)
    (folder / "file").unlink()
    scan(str(folder), cache, clock=LATER)
    assert not cache.below(os.fsencode(folder))
    assert cache.below(os.fsencode(tmp_path / "folder beside")), "only of this folder"


def test_a_socket_a_pipe_or_a_file_for_a_folder_is_refused(folder: Path) -> None:
    with fails("usage"):
        scan(str(folder / "file"))
    os.mkfifo(folder / "pipe")
    with fails("usage", "'pipe' is a socket, a pipe or a device"):
        scan(str(folder))


def test_what_is_not_there_has_vanished(tmp_path: Path) -> None:
    with fails("local_vanished", "nowhere"):
        scan(str(tmp_path / "nowhere"))


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="needs root and setpriv")
def test_a_file_that_may_not_be_read_is_no_other_failure(folder: Path, tmp_path: Path) -> None:
    (folder / "file").chmod(0)
    code = (
        "import sys; from requisition.services.delivery.hashing import scan\n"
        "try: scan(sys.argv[1])\nexcept Exception as error: print(error.kind)"
    )
    environ = {**os.environ, "PATH": without_power(tmp_path / "bin", sys.executable.rpartition("/")[2])}
    shim = tmp_path / "bin" / Path(sys.executable).name
    shim.write_text(shim.read_text().replace(str(shutil.which(Path(sys.executable).name)), sys.executable))
    done = subprocess.run([shim, "-c", code, folder], env=environ, capture_output=True, text=True)
    assert done.stdout == "local_permission\n", done.stderr


def test_a_file_that_changes_while_it_is_read_is_told(folder: Path) -> None:
    large = folder / "large"
    large.write_bytes(b"x" * (1 << 20))

    def grow() -> bool:
        with large.open("ab") as file:
            file.write(b"y")
        return False

    with fails("local_changed", "large"):
        scan(str(folder), stopped=grow)


def test_being_stopped_ends_it(folder: Path) -> None:
    with pytest.raises(Stopped):
        scan(str(folder), stopped=lambda: True)


def test_being_cancelled_leaves_no_thread_behind(folder: Path, tmp_path: Path) -> None:
    with (folder / "file").open("wb") as file:
        file.truncate(64 << 30)  # sparse: an hour of zeros

    async def begin_and_cancel() -> None:
        task = asyncio.ensure_future(scanned(str(folder)))
        while not [one for one in threading.enumerate() if one.name.startswith("hash")]:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not [one for one in threading.enumerate() if one.name.startswith("hash")]

    do(begin_and_cancel())
