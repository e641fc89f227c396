"""The manifest: one text for what a folder holds, which sha256sum can check, and which cannot be changed unnoticed."""

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from requisition.schemas.diagnostic import BadInput
from requisition.services.delivery.hashing import scan
from requisition.services.delivery.manifest import Entry, Manifest, escape, parse, parse_sum
from support.deliveries import awkward

PARTS = st.binary(min_size=1, max_size=12).filter(lambda part: part not in (b".", b"..") and not set(part) & {0, 47})
PATHS = st.lists(PARTS, min_size=1, max_size=3).map(b"/".join)
NUMBERS = st.integers(0, 2**63 - 1)


@st.composite
def entries(draw: st.DrawFn, path: bytes) -> Entry:
    mode, mtime, inode, ctime = draw(st.integers(0, 0o7777)), *(draw(NUMBERS) for _ in range(3))
    kind = draw(st.sampled_from(["file", "link", "dir"]))
    if kind == "file":
        digest = draw(st.binary(min_size=32, max_size=32)).hex()
        return Entry(path, "file", draw(NUMBERS), mode, mtime, inode, ctime, digest)
    if kind == "link":
        return Entry(path, "link", 0, mode, mtime, inode, ctime, "", draw(PATHS))
    return Entry(path, "dir", 0, mode, mtime, inode, ctime)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    return Manifest(tuple(draw(entries(path)) for path in sorted(draw(st.sets(PATHS, max_size=6)))))


@given(manifests())
def test_what_is_written_is_read_again(manifest: Manifest) -> None:
    assert parse(manifest.text()) == manifest


@given(manifests(), st.data())
def test_a_text_in_which_a_byte_was_changed_is_refused_or_says_something_else(
    manifest: Manifest, data: st.DataObject
) -> None:
    text = bytearray(manifest.text())
    text[data.draw(st.integers(0, len(text) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        assert parse(bytes(text)) != manifest
    except BadInput:
        pass


@given(PATHS)
def test_an_escaped_path_is_one_line(path: bytes) -> None:
    line = b"\\" + b"0" * 64 + b"  " + escape(path)
    assert not set(line) & {10, 13}
    assert parse_sum(line) == (path, "0" * 64)


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs sha256sum (Debian: coreutils)")
def test_sha256sum_checks_it_and_finds_what_changed(tmp_path: Path) -> None:
    folder = awkward(tmp_path / "folder")
    (tmp_path / "manifest").write_bytes(scan(str(folder)).text())
    check = ["sha256sum", "--check", "--strict", "--quiet", "../manifest"]
    assert subprocess.run(check, cwd=folder, capture_output=True).stderr == b""
    (folder / "new\nline").write_text("changed")
    done = subprocess.run(check, cwd=folder, capture_output=True)
    assert done.returncode == 1
    assert done.stdout == b"\\./new\\nline: FAILED\n"


@pytest.mark.parametrize("path", [b"../x", b"/etc/passwd", b"a//b", b"a/./b", b"a/.."])
def test_a_path_that_leads_out_of_the_folder_is_refused(path: bytes) -> None:
    with pytest.raises(BadInput, match="this is no manifest"):
        parse(Manifest((Entry(path, "dir"),)).text())


def test_entries_twice_or_in_another_order_are_refused() -> None:
    one, two = Entry(b"a", "dir"), Entry(b"b", "dir")
    for wrong in ((two, one), (one, one)):
        with pytest.raises(BadInput, match="this is no manifest"):
            parse(Manifest(wrong).text())


def test_its_digest_names_exactly_this_content() -> None:
    one = Manifest((Entry(b"a", "file", 1, sha256="0" * 64),))
    assert one.digest == Manifest(one.entries).digest
    assert one.digest != Manifest((Entry(b"a", "file", 1, sha256="1" * 64),)).digest
    assert one.digest != Manifest((*one.entries, Entry(b"b", "dir"))).digest
