"""What every transport promises, kept by each with its real program."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from requisition.services.delivery.choose import transport_for
from requisition.services.delivery.config import Destination
from requisition.services.delivery.hashing import scan
from requisition.services.delivery.manifest import Manifest
from requisition.services.delivery.transport import Progress, Transport, incoming
from requisition.services.delivery.verify import verify
from support.deliveries import Beyond, awkward, do, fails, remotes, tree
from support.sshd import skip_without

needs_rclone = pytest.mark.skipif(shutil.which("rclone") is None, reason="needs rclone (Debian: rclone)")
needs_rsync = pytest.mark.skipif(shutil.which("rsync") is None, reason="needs rsync (Debian: rsync)")


class End(NamedTuple):
    """A destination: how to reach it, its folder on this disk where that shows names as they are, and the folder that
    must be there for it to be reachable."""

    transport: Transport
    root: Path | None
    whole: bool  # modes and any name
    strategy: str
    base: Path


@pytest.fixture(scope="module")
def beyond(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Beyond]:
    made = Beyond(tmp_path_factory.mktemp("beyond") / "machine")
    yield made
    made.machine.close()


KINDS = [
    "local",
    pytest.param("rsync", marks=[skip_without(), needs_rsync]),
    pytest.param("plain", marks=needs_rclone),
]
SEALED = pytest.param("sealed", marks=needs_rclone)


@pytest.fixture(params=KINDS)
def end(request: pytest.FixtureRequest, tmp_path: Path) -> End:
    kind = request.param
    if kind == "local":
        root = tmp_path / "a disk"
        root.mkdir()
        return End(transport_for(Destination("disk", "local", path=str(root))), root, True, "read", root)
    if kind == "rsync":
        machine: Beyond = request.getfixturevalue("beyond")
        root = machine.root / request.node.name
        root.mkdir()
        destination = msgspec.structs.replace(machine.destination, path=str(root))
        return End(transport_for(destination), root, True, "ssh", root)
    config = remotes(tmp_path / "remotes")
    destination = Destination(kind, "rclone", remote=f"{kind}:", rclone_config=config)
    folder = tmp_path / "remotes" / ("plain" if kind == "plain" else "sealed")
    if kind == "plain":
        return End(transport_for(destination), folder, False, "backend", folder)
    return End(transport_for(destination), None, False, "stream", folder)


Source = tuple[Path, Manifest]


@pytest.fixture
def source(end: End, tmp_path: Path) -> Source:
    folder = awkward(tmp_path / "the source", utf8_only=not end.whole)
    return folder, scan(str(folder))


def ship(end: End, source: Source, target: str, job: str = "job-1") -> list[Progress]:
    heard: list[Progress] = []
    folder, manifest = source
    do(end.transport.stage(str(folder), manifest, job, None, heard.append))
    do(end.transport.publish(job, target, manifest))
    return heard


def other(folder: Path, files: dict[str, str]) -> Source:
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder, scan(str(folder))


@pytest.mark.parametrize("end", [*KINDS, SEALED], indirect=True)
def test_every_name_link_and_empty_folder_arrives_as_it_was(end: End, source: Source) -> None:
    folder, manifest = source
    heard: list[Progress] = []
    do(end.transport.probe())
    do(end.transport.stage(str(folder), manifest, "job-1", None, heard.append))
    staged = do(verify(end.transport, incoming("job-1"), manifest))
    assert staged.ok, str(staged)
    assert staged.strategy == end.strategy
    assert do(verify(end.transport, "a b/c", manifest)).missing, "it lies at its target before it was published"
    do(end.transport.publish("job-1", "a b/c", manifest))
    published = do(verify(end.transport, "a b/c", manifest))
    assert published.ok, str(published)
    assert not published.unproved
    assert heard[-1].sent == heard[-1].total == manifest.size
    if end.root:
        assert tree(end.root / "a b/c", modes=end.whole) == tree(folder, modes=end.whole)
        assert not list((end.root / ".incoming").iterdir()), "something of the job was left behind"


def test_an_empty_folder_arrives_too(end: End, tmp_path: Path) -> None:
    empty = other(tmp_path / "empty", {})
    ship(end, empty, "t")
    assert do(verify(end.transport, "t", empty[1])).ok
    if end.root:
        assert (end.root / "t").is_dir()


def test_what_is_there_is_published_once_or_is_a_conflict_and_stays(end: End, tmp_path: Path) -> None:
    first = other(tmp_path / "first", {"data.bin": "the first"})
    second = other(tmp_path / "second", {"data.bin": "another"})
    ship(end, first, "lab/run")
    do(end.transport.publish("job-1", "lab/run", first[1]))  # as one does whose first word of it was lost
    with fails("conflict", "something else is at 'lab/run'"):
        ship(end, second, "lab/run", "job-2")
    assert do(verify(end.transport, "lab/run", first[1])).ok
    assert do(verify(end.transport, incoming("job-2"), second[1])).ok, "what was staged is still there"
    do(end.transport.discard("job-2"))
    do(end.transport.discard("job-2"))
    assert do(verify(end.transport, incoming("job-2"), second[1])).missing


def test_nothing_is_put_into_what_was_delivered(end: End, tmp_path: Path) -> None:
    outer, inner = other(tmp_path / "outer", {"a": "a"}), other(tmp_path / "inner", {"b": "b"})
    ship(end, outer, "lab/run")
    do(end.transport.put("lab/run", "receipt.json", b"{}"))
    with fails("conflict", "lab/run was delivered"):
        ship(end, inner, "lab/run/inner", "job-2")
    assert do(verify(end.transport, "lab/run", outer[1])).ok


def test_what_is_known_lies_beside_the_target_and_is_replaced_whole(end: End, source: Source) -> None:
    ship(end, source, "lab/run one")
    for text in (b"first\n" * 1000, source[1].text()):
        do(end.transport.put("lab/run one", "manifest.sha256", text))
    if end.root:
        beside = end.root / "lab/run one.delivery"
        assert {one.name: one.read_bytes() for one in beside.iterdir()} == {"manifest.sha256": source[1].text()}


def test_a_staged_folder_that_is_damaged_is_found_out_and_pushed_anew(end: End, source: Source) -> None:
    folder, manifest = source
    assert end.root
    do(end.transport.stage(str(folder), manifest, "job-1", None, lambda _: None))
    data = end.root / incoming("job-1")
    _flip_a_byte(data / "back\\slash")
    (data / "with space").unlink()
    (data / "stranger\n").write_text("not in the manifest")
    (data / "empty/inner empty").rmdir()
    (data / "link").unlink()
    (data / "link").symlink_to("elsewhere")
    found = do(verify(end.transport, incoming("job-1"), manifest))
    assert found.mismatched == (b"back\\slash", b"link")
    assert found.missing == (b"empty/inner empty", b"with space")
    assert found.extra == (b"stranger\n",)
    do(end.transport.discard("job-1"))
    do(end.transport.stage(str(folder), manifest, "job-1", None, lambda _: None))
    assert do(verify(end.transport, incoming("job-1"), manifest)).ok


def test_a_destination_whose_folder_is_not_there_is_not_made(end: End, source: Source) -> None:
    shutil.rmtree(end.base)
    folder, manifest = source
    steps: list[Callable[[], object]] = [
        lambda: do(end.transport.probe()),
        lambda: do(end.transport.stage(str(folder), manifest, "job-1", None, lambda _: None)),
    ]
    for step in steps:
        with fails("usage"):
            step()
    assert not end.base.exists()


def _flip_a_byte(path: Path) -> None:
    info = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))
