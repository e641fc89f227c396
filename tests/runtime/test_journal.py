import os
import zlib

import msgspec
import pytest

from requisition.runtime.journal import (
    HEADER,
    Begun,
    Finished,
    Intent,
    Journal,
    JournalError,
    PhaseEnded,
    read_journal,
    sum_of_whole_frames,
)
from requisition.schemas.receipt import Left
from requisition.stdlib.host import ABSENT, FileChange, Move

BEGUN = Begun("run-1", "sha256:00", "/", "", "boot", "2026-01-01T00:00:00Z", "stop", False)


def intent(node):
    return Intent(node, (), (FileChange(f"/f{node}", ABSENT, Left(f"/f{node}", "file", 0o644, size=3)),))


def write(path, groups):
    journal = Journal(str(path))
    for group in groups:
        journal.commit(group)
    journal.close()


GROUPS = [
    [BEGUN],
    [intent(0), intent(1)],
    [Finished(0, (), "done"), intent(2)],
    [PhaseEnded("p/install", ())],
]


def test_what_was_committed_is_read_back_in_order(tmp_path):
    write(tmp_path / "j", GROUPS)
    assert read_journal(str(tmp_path / "j")) == [record for group in GROUPS for record in group]


def test_noted_records_travel_with_the_next_commit(tmp_path):
    journal = Journal(str(tmp_path / "j"))
    journal.note(Finished(7, (), "done"))
    assert read_journal(str(tmp_path / "j")) == []
    journal.commit([PhaseEnded("p/install", ())])
    assert read_journal(str(tmp_path / "j")) == [Finished(7, (), "done"), PhaseEnded("p/install", ())]


def test_cut_at_every_byte_only_whole_commits_are_read(tmp_path):
    path = tmp_path / "j"
    ends = [len(HEADER)]
    journal = Journal(str(path))
    for group in GROUPS:
        journal.commit(group)
        ends.append(path.stat().st_size)
    journal.close()
    whole = path.read_bytes()
    for size in range(len(whole), -1, -1):
        path.write_bytes(whole[:size])
        count = sum(1 for end in ends[1:] if end <= size)
        assert read_journal(str(path)) == [record for group in GROUPS[:count] for record in group]


def test_after_a_torn_commit_a_journal_can_be_continued(tmp_path):
    path = tmp_path / "j"
    write(path, GROUPS[:2])
    path.write_bytes(path.read_bytes()[:-1])
    write(path, [[PhaseEnded("p/x", ())]])
    assert read_journal(str(path)) == [BEGUN, PhaseEnded("p/x", ())]


def test_every_flipped_bit_is_noticed(tmp_path):
    path = tmp_path / "j"
    write(path, GROUPS)
    whole = path.read_bytes()
    for at in range(len(HEADER), len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 1
        path.write_bytes(damaged)
        assert len(read_journal(str(path))) < sum(map(len, GROUPS))


def test_a_commit_that_fails_leaves_room_for_the_next(tmp_path):
    path, fail = tmp_path / "j", [False]

    def sync(fd):
        if fail[0]:
            raise OSError(28, os.strerror(28))
        os.fdatasync(fd)

    journal = Journal(str(path), sync=sync)
    journal.commit([BEGUN])
    fail[0] = True
    with pytest.raises(OSError, match="No space"):
        journal.commit([intent(0)])
    fail[0] = False
    journal.commit([PhaseEnded("p/x", ())])
    assert read_journal(str(path)) == [BEGUN, intent(0), PhaseEnded("p/x", ())]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"RQJRNL\x00\x02", "unsupported journal version 2"),
        (b"#!/bin/sh\n", "not a journal"),
    ],
)
def test_a_foreign_file_or_newer_version_is_named_as_such(tmp_path, data, words):
    (tmp_path / "j").write_bytes(data)
    with pytest.raises(JournalError, match=words):
        read_journal(str(tmp_path / "j"))


def test_a_journal_is_not_followed_through_a_link(tmp_path):
    (tmp_path / "real").write_bytes(HEADER)
    (tmp_path / "j").symlink_to(tmp_path / "real")
    with pytest.raises(JournalError, match="cannot be opened"):
        read_journal(str(tmp_path / "j"))


def test_an_intent_names_all_its_paths():
    change = FileChange("/f", ABSENT, Left("/f", "file", 0o644))
    assert list(Intent(0, (), (change,), None, (Move("/a", "/b", 7),)).paths()) == ["/f", "/a", "/b"]


def test_a_journal_is_for_its_owner_alone(tmp_path):
    before = os.umask(0)
    try:
        Journal(str(tmp_path / "j")).close()
    finally:
        os.umask(before)
    assert (tmp_path / "j").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "j").read_bytes() == HEADER


@pytest.mark.parametrize("size", range(len(HEADER)))
def test_a_header_that_was_cut_off_is_written_again(tmp_path, size):
    (tmp_path / "j").write_bytes(HEADER[:size])
    write(tmp_path / "j", [[BEGUN]])
    assert read_journal(str(tmp_path / "j")) == [BEGUN]
    assert (tmp_path / "j").read_bytes().startswith(HEADER)


def test_a_journal_of_a_header_alone_is_continued_and_not_written_again(tmp_path):
    (tmp_path / "j").write_bytes(HEADER)
    write(tmp_path / "j", [])
    assert (tmp_path / "j").read_bytes() == HEADER


def test_a_commit_of_nothing_writes_nothing(tmp_path):
    write(tmp_path / "j", [[BEGUN], [], [intent(0)]])
    assert read_journal(str(tmp_path / "j")) == [BEGUN, intent(0)]
    size = (tmp_path / "j").stat().st_size
    write(tmp_path / "j", [[]])
    assert (tmp_path / "j").stat().st_size == size


def test_what_is_left_of_a_longer_frame_is_not_read_after_a_shorter_one(tmp_path):
    path = tmp_path / "j"
    write(path, [[BEGUN], [intent(number) for number in range(50)]])
    torn = bytearray(path.read_bytes())
    torn[-1] ^= 1
    path.write_bytes(torn)
    write(path, [[PhaseEnded("p/x", ())], [intent(1)]])
    assert read_journal(str(path)) == [BEGUN, PhaseEnded("p/x", ()), intent(1)]


def test_an_unknown_record_in_a_whole_frame_is_told_not_passed_over(tmp_path):
    body = msgspec.msgpack.encode([["dreamt", 1]])
    frame = len(body).to_bytes(4, "big") + zlib.crc32(body).to_bytes(4, "big") + body
    (tmp_path / "j").write_bytes(HEADER + frame)
    with pytest.raises(JournalError, match="unknown record"):
        read_journal(str(tmp_path / "j"))


def test_a_frame_of_nothing_ends_the_journal(tmp_path):
    (tmp_path / "j").write_bytes(HEADER + b"\0" * 64)
    assert read_journal(str(tmp_path / "j")) == []
    write(tmp_path / "j", [[BEGUN]])
    assert read_journal(str(tmp_path / "j")) == [BEGUN]


def test_a_frame_of_one_byte_counts(tmp_path):
    body = b"\x90"
    frame = len(body).to_bytes(4, "big") + zlib.crc32(body).to_bytes(4, "big") + body
    assert sum_of_whole_frames(HEADER + frame, "") == len(HEADER) + 9
    assert sum_of_whole_frames(HEADER + frame + b"\0" * 7, "") == len(HEADER) + 9


def test_writing_goes_on_where_the_kernel_took_only_a_part(tmp_path, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data[:3])))
    write(tmp_path / "j", GROUPS)
    assert read_journal(str(tmp_path / "j")) == [record for group in GROUPS for record in group]
