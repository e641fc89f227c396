"""The scripts for the far end, run here by sh, and the reader of what they say."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from requisition.services.delivery import far
from requisition.services.delivery.hashing import scan
from requisition.services.delivery.transport import Found
from requisition.services.delivery.verify import compare
from support.deliveries import awkward, small_disk

WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)


def run(script: str, *arguments: object, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["sh", "-c", script, "far", *map(str, arguments)], input=stdin, capture_output=True)


def staged(root: Path, content: str = "x") -> None:
    assert run(far.PREPARE, root, "./.incoming/j").returncode == 0
    (root / ".incoming/j/data/file").write_text(content)


def read(answer: bytes, size: int) -> Found:
    listing = far.Listing()
    for begin in range(0, len(answer), size):
        listing(answer[begin : begin + size])
    return listing.found()


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs sha256sum and find of GNU")
def test_everything_at_a_place_is_listed_however_the_answer_comes(tmp_path: Path) -> None:
    manifest = scan(str(awkward(tmp_path / "place")))
    answer = run(far.DIGESTS, tmp_path, "./place").stdout
    whole = read(answer, len(answer))
    assert compare(whole, manifest).ok
    for size in (1, 2, 3, 7, 64, 4096):
        assert read(answer, size) == whole


@given(st.binary(max_size=200), st.integers(1, 9))
def test_an_answer_that_was_cut_or_garbled_lists_nothing_that_was_not_said(answer: bytes, size: int) -> None:
    assert all(path in answer for path in read(answer, size).files)


def test_a_digest_that_is_said_twice_is_none() -> None:
    line = b"0" * 64 + b"  ./a\n"
    assert read(b"fa\0\0\0" + line, 99).files == {b"a": "0" * 64}
    assert read(b"fa\0\0\0" + line * 2, 99).files == {b"a": "said twice"}


def test_a_file_without_a_digest_and_what_is_no_file_match_nothing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert read(run(far.DIGESTS, tmp_path.parent, f"./{tmp_path.name}").stdout, 99).files == {b"pipe": ""}


def test_a_place_that_is_not_there_holds_nothing_and_one_that_is_no_folder_is_told(tmp_path: Path) -> None:
    nothing = run(far.DIGESTS, tmp_path, "./nowhere")
    assert (nothing.returncode, nothing.stdout) == (0, b"")
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("/etc")
    for name in ("file", "link"):
        assert b"Not a directory" in run(far.DIGESTS, tmp_path, f"./{name}").stderr
    assert run(far.DIGESTS, tmp_path / "nowhere", "./x").returncode == far.NO_FOLDER


def test_publishing_overwrites_nothing_and_copies_nothing(tmp_path: Path) -> None:
    staged(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("someone's")
    (tmp_path / "nowhere").symlink_to("/nonexistent")
    for target in ("./folder", "./file", "./nowhere"):
        assert run(far.PUBLISH, tmp_path, "./.incoming/j", target).returncode == far.EXISTS
    assert b"File exists" in run(far.PUBLISH, tmp_path, "./.incoming/j", "./file/below").stderr
    with small_disk(tmp_path / "mounted", 1 << 20):
        assert b"another filesystem" in run(far.PUBLISH, tmp_path, "./.incoming/j", "./mounted/t").stderr
    assert (tmp_path / ".incoming/j/data/file").read_text() == "x"
    assert run(far.PUBLISH, tmp_path, "./.incoming/j", "./a/b/c").returncode == 0
    assert (tmp_path / "a/b/c/file").read_text() == "x"
    assert not (tmp_path / ".incoming/j").exists()


def test_a_note_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    assert run(far.PUT, tmp_path, "./-t", "note", stdin=b"first").returncode == 0
    assert run(far.PUT, tmp_path, "./-t", "note", stdin=b"second").returncode == 0
    assert {one.name: one.read_bytes() for one in (tmp_path / "-t.delivery").iterdir()} == {"note": b"second"}


@given(st.lists(WORDS, max_size=4))
def test_words_come_through_a_shell_as_they_were(words: list[str]) -> None:
    """As `ssh.Ssh.run` sends them."""
    command = " ".join(shlex.quote(word) for word in ["exec", "sh", "-c", 'printf "%s\\0" "$@"', "far", *words])
    said = subprocess.run(["sh", "-c", command], capture_output=True, check=True).stdout
    assert said == b"".join(word.encode() + b"\0" for word in words) or not words
