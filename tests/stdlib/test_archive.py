"""Archives: what is sound is extracted exactly, what is not is refused with nothing written."""

import bz2
import gzip
import lzma
import os
import random
import stat
import tarfile
import zipfile
from functools import cache

import pytest
import zstandard

from requisition.stdlib.action import ActionError, Raced, Satisfied
from requisition.stdlib.providers.archive import Extract
from support.archives import directory, hard, header, link, tar, zipped
from support.hosts import Bench
from support.trees import build, snapshot

GOOD = (
    directory("top/", 0o750),
    ("top/a", b"A"),
    ("top/b/c", b"C" * 5000),
    ("top/./b//d", b""),
    directory("top/empty", 0o700),
    link("top/l", "b/c"),
    link("top/b/up", "../a"),
    link("top/lib", "b"),
    link("top/by", "lib/c"),
    hard("top/h", "top/a"),
)
PLAIN = tar(*GOOD, mode="w")
PACKED = {
    "tar": PLAIN,
    "tar.gz": gzip.compress(PLAIN),
    "tar.bz2": bz2.compress(PLAIN),
    "tar.xz": lzma.compress(PLAIN),
    "tar.zst": zstandard.ZstdCompressor().compress(PLAIN),
    "two gzip members": gzip.compress(PLAIN[:1000]) + gzip.compress(PLAIN[1000:]),
    "two zstd frames": b"".join(zstandard.ZstdCompressor().compress(part) for part in (PLAIN[:1000], PLAIN[1000:])),
}


def extracting(tmp_path, content):
    return Bench(tmp_path, {"a": content})


@pytest.mark.parametrize("form", PACKED)
def test_a_tar_is_extracted_once_and_undone_exactly(tmp_path, form):
    bench = extracting(tmp_path, PACKED[form])
    before = snapshot(bench.root)
    change = bench.do(Extract(), source="a", path="/out", strip=1)
    out = bench.root / "out"
    assert {path: (out / path).read_bytes() for path in ("a", "h", "b/c", "b/d", "l", "b/up", "by")} == {
        "a": b"A", "h": b"A", "b/c": b"C" * 5000, "b/d": b"", "l": b"C" * 5000, "b/up": b"A", "by": b"C" * 5000,
    }  # fmt: skip
    assert os.readlink(out / "l") == "b/c"
    assert stat.S_IMODE((out / "empty").stat().st_mode) == 0o700
    assert stat.S_IMODE((out / "a").stat().st_mode) == 0o755
    again = bench.observe(Extract(), source="a", path="/out", strip=1)
    assert isinstance(again, Satisfied)
    assert again.outputs["path"] == "/out"
    bench.undo(Extract(), change)
    assert snapshot(bench.root) == before


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_is_extracted_with_its_modes_and_links(tmp_path, compression):
    members = (
        ("d/", b""),
        ("d/x", b"X" * 3000, stat.S_IFREG | 0o755),
        ("d/l", b"x", stat.S_IFLNK | 0o777),
        ("y", b"", 0),
    )
    bench = extracting(tmp_path, zipped(*members, compression=compression))
    bench.do(Extract(), source="a", path="/out")
    assert (bench.root / "out/d/l").read_bytes() == b"X" * 3000
    assert stat.S_IMODE((bench.root / "out/d/x").stat().st_mode) == 0o755
    assert stat.S_IMODE((bench.root / "out/y").stat().st_mode) == 0o644


def test_what_is_there_already_is_left_and_only_the_rest_is_written(tmp_path):
    bench = extracting(tmp_path, PLAIN)
    bench.do(Extract(), source="a", path="/out")
    (bench.root / "out/top/a").write_bytes(b"other")
    os.unlink(bench.root / "out/top/l")
    (bench.root / "out/mine").write_bytes(b"mine")
    before = snapshot(bench.root)
    change = bench.do(Extract(), source="a", path="/out")
    assert {one.path: one.prior.kind for one in change.files} == {"/out/top/a": "file", "/out/top/l": "absent"}
    assert (bench.root / "out/mine").read_bytes() == b"mine"
    bench.undo(Extract(), change)
    assert snapshot(bench.root) == before


def test_a_directory_that_is_there_keeps_its_mode(tmp_path):
    bench = extracting(tmp_path, PLAIN)
    (bench.root / "out").mkdir(mode=0o700)
    (bench.root / "out").chmod(0o711)
    bench.do(Extract(), source="a", path="/out")
    assert stat.S_IMODE((bench.root / "out").stat().st_mode) == 0o711


def test_an_archive_of_the_target_is_extracted(tmp_path):
    bench = extracting(tmp_path, b"")
    (bench.root / "a.tgz").write_bytes(PACKED["tar.gz"])
    bench.do(Extract(), archive="/a.tgz", path="/deep/out")
    assert (bench.root / "deep/out/top/a").read_bytes() == b"A"


def test_an_archive_that_changes_after_it_was_looked_at_is_not_taken_for_it(tmp_path):
    bench = extracting(tmp_path, b"")
    (bench.root / "a.tar").write_bytes(tar(("x", b"seen")))
    slots = Extract.slots(archive="/a.tar", path="/out")
    change = Extract().observe(bench.host, slots)
    (bench.root / "a.tar").write_bytes(tar(("x", b"swap")))
    with pytest.raises(Raced, match="/out/x"):
        Extract().do(bench.host, slots, change)


def test_an_extracted_file_that_someone_changed_is_left_by_undo(tmp_path):
    bench = extracting(tmp_path, PLAIN)
    change = bench.do(Extract(), source="a", path="/out")
    (bench.root / "out/top/a").write_bytes(b"theirs")
    with pytest.raises(Exception, match="changed since|not empty"):
        bench.undo(Extract(), change)
    assert (bench.root / "out/top/a").read_bytes() == b"theirs"
    assert not (bench.root / "out/top/b").exists()


def test_a_link_of_the_target_is_not_followed_out_of_it(tmp_path):
    bench = extracting(tmp_path, tar(("sub/x", b"X")))
    outside = tmp_path / "outside"
    outside.mkdir()
    build(bench.root, {"out": {"sub": ("link", str(outside))}})
    with pytest.raises((ActionError, Raced)):
        bench.do(Extract(), source="a", path="/out")
    assert not list(outside.iterdir())


def encrypted() -> bytes:
    packed = bytearray(zipped(("x", b"X")))
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        packed[packed.index(mark) + place] |= 1
    return bytes(packed)


def corrupted(packed: bytes, wanted: bytes) -> bytes:
    return packed.replace(wanted, bytes([wanted[0] ^ 1]) + wanted[1:], 1)


NOISE = random.Random(1).randbytes(5000)
SOUND = tar(("x", NOISE), ("y", NOISE), mode="w")
END = b"\0" * 1024
HOSTILE = {
    "parent": lambda: tar(("../x", b"")),
    "inner parent": lambda: tar(("a/../../x", b"")),
    "parent that stays": lambda: tar(("a/../x", b"")),
    "absolute": lambda: tar(("/x", b"")),
    "backslash": lambda: tar(("..\\x", b"")),
    "link out": lambda: tar(link("l", "../x")),
    "link out from below": lambda: tar(link("a/b/l", "../../../x")),
    "absolute link": lambda: tar(link("l", "/etc")),
    "empty link": lambda: tar(link("l", "")),
    "link out by way of another": lambda: tar(link("d/up", ".."), link("m", "d/up/../x")),
    "link out by way of a later one": lambda: tar(link("m", "d/up/../x"), link("d/up", "..")),
    "link out by way of itself": lambda: tar(link("m", "m/../../x")),
    "behind a link": lambda: tar(link("l", "d"), ("l/x", b"")),
    "behind a later link": lambda: tar(("l/x", b""), link("l", "d")),
    "deep behind a link": lambda: tar(link("l", "d"), ("l/a/b/c", b"")),
    "directory behind a link": lambda: tar(link("l", "d"), directory("l/x")),
    "behind a file": lambda: tar(("f", b""), ("f/x", b"")),
    "over a link": lambda: tar(link("l", "d"), ("l", b"x")),
    "directory over a link": lambda: tar(link("l", "d"), directory("l")),
    "link over a file": lambda: tar(("l", b""), link("l", "d")),
    "link over a directory": lambda: tar(directory("l"), link("l", "d")),
    "the same name twice": lambda: tar(("x", b"1"), ("x", b"2")),
    "the same name by another way": lambda: tar(("x", b"1"), (".//x", b"2")),
    "hard link out": lambda: tar(hard("h", "../x")),
    "hard link to an absolute name": lambda: tar(hard("h", "/etc/passwd")),
    "hard link to nothing": lambda: tar(hard("h", "x")),
    "hard link to a later file": lambda: tar(hard("h", "x"), ("x", b"")),
    "hard link to itself": lambda: tar(hard("h", "h")),
    "hard link to a link": lambda: tar(link("l", "x"), hard("h", "l")),
    "hard link to a directory": lambda: tar(directory("d"), hard("h", "d")),
    "device": lambda: tar(("d", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 5})),
    "block device": lambda: tar(("d", {"type": tarfile.BLKTYPE})),
    "pipe": lambda: tar(("p", {"type": tarfile.FIFOTYPE})),
    "negative size": lambda: header("x", size=-512) + END,
    "negative size that goes back": lambda: tar(("w", b""), mode="w")[:512] + header("x", size=-1024) + END,
    "size without end": lambda: header("x", size=1 << 62) + END,
    "negative size of a long name": lambda: header("x", kind=tarfile.GNUTYPE_LONGNAME, size=-512) + END,
    "long name of a megabyte": lambda: gzip.compress(
        header("x", kind=tarfile.GNUTYPE_LONGNAME, size=1 << 20) + b"a" * (1 << 20) + END
    ),
    "attributes of a megabyte": lambda: gzip.compress(
        header("x", kind=tarfile.XHDTYPE, size=1 << 20) + b"1" * (1 << 20) + header("x") + END
    ),
    "long name": lambda: tar(("a" * 300, b"")),
    "long name in bytes": lambda: tar(("é" * 200, b"")),
    "deep name": lambda: tar(("a/" * 2500 + "x", b"")),
    "bomb": lambda: bomb(header("x", size=65 << 20)),
    "bomb of many files": lambda: bomb(header("x", size=40 << 20), header("y", size=40 << 20)),
    "bomb behind the last member": lambda: bomb(header("x", kind=b"\xff", size=80 << 20)),
    "cut short": lambda: tar(("x", NOISE))[:-2000],
    "cut short in a file": lambda: SOUND[:3000],
    "cut short between files": lambda: SOUND[: 512 + 5120],
    "cut short in a header": lambda: SOUND[: 512 + 5120 + 100],
    "damaged second header": lambda: SOUND[: 512 + 5120] + b"\1" * 512 + SOUND[1024 + 5120 :],
    "cut short zstd": lambda: zstandard.ZstdCompressor().compress(SOUND)[:-3000],
    "damaged zstd": lambda: PACKED["tar.zst"][:30] + b"\xff" * 20 + PACKED["tar.zst"][50:],
    "cut short xz": lambda: lzma.compress(SOUND)[:-3000],
    "cut short bz2": lambda: bz2.compress(SOUND)[:-3000],
    "not an archive": lambda: b"hello" * 200,
    "empty": lambda: b"",
    "zip parent": lambda: zipped(("../x", b"")),
    "zip absolute": lambda: zipped(("/x", b"")),
    "zip backslash": lambda: zipped(("a\\..\\x", b"")),
    "zip link out": lambda: zipped(("l", b"../../etc", stat.S_IFLNK)),
    "zip behind a link": lambda: zipped(("l", b"d", stat.S_IFLNK), ("l/x", b"")),
    "zip link of a megabyte": lambda: zipped(("l", b"a" * (1 << 20), stat.S_IFLNK)),
    "zip link that is no text": lambda: zipped(("l", b"\xff", stat.S_IFLNK)),
    "zip device": lambda: zipped(("d", b"", stat.S_IFCHR)),
    "zip pipe": lambda: zipped(("d", b"", stat.S_IFIFO)),
    "zip bomb": lambda: zipped(("x", b"\0" * (65 << 20))),
    "zip twice": lambda: zipped(("x", b"1"), ("./x", b"2")),
    "zip encrypted": encrypted,
    "zip damaged": lambda: corrupted(zipped(("x", NOISE), compression=zipfile.ZIP_STORED), NOISE),
    "zip cut short": lambda: zipped(("x", NOISE))[:-30],
    "zip without a directory": lambda: b"PK\x03\x04" + NOISE,
}  # fmt: skip


@cache
def _zeros(size: int) -> bytes:
    return b"\0" * size


def bomb(*headers: bytes) -> bytes:
    """Each header followed by the zeros that it announces."""
    out = zstandard.ZstdCompressor().compressobj()
    packed = b""
    for one in headers:
        packed += out.compress(one) + out.compress(_zeros(int.from_bytes(one[125:136], "big")))
    return packed + out.compress(END) + out.flush()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_is_refused_before_anything_is_written(tmp_path, name):
    bench = extracting(tmp_path, HOSTILE[name]())
    with pytest.raises(ActionError, match="^a") as refused:
        bench.observe(Extract(), source="a", path="/out")
    assert refused.value.hint
    assert not list(bench.root.iterdir())
    assert not (tmp_path / "x").exists()


def test_more_members_than_anyone_needs_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("requisition.stdlib.providers.archive_members.MAX_MEMBERS", 10)
    bench = extracting(tmp_path, tar(*((f"f{n}", b"") for n in range(11))))
    with pytest.raises(ActionError, match="more than 10 members"):
        bench.observe(Extract(), source="a", path="/out")


@pytest.mark.parametrize(
    ("slots", "words"),
    [
        ({}, "either"),
        ({"source": "a", "archive": "/a"}, "either"),
        ({"source": "a", "strip": -1}, "strip"),
        ({"archive": "/nothing"}, "/nothing cannot be read"),
    ],
)
def test_what_cannot_be_extracted_says_why(tmp_path, slots, words):
    bench = extracting(tmp_path, PLAIN)
    with pytest.raises(ActionError, match=words):
        bench.observe(Extract(), path="/out", **slots)
