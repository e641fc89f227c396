"""How far a program is, from what it prints; what is not about progress is not taken for it."""

from hypothesis import given
from hypothesis import strategies as st

from requisition.services.delivery.progress import Lines, of_rclone, of_rsync
from requisition.services.delivery.transport import Progress

RCLONE = (
    b'{"level":"warning","msg":"\\nTransferred: ...","source":"accounting/stats.go:482","stats":{"bytes":524293,'
    b'"checks":0,"eta":3,"speed":525661.9,"totalBytes":1000005,"transfers":3},"time":"2026-11-21T11:33:10+00:00"}'
)


def test_a_line_of_rsync_says_bytes_rate_and_what_is_left() -> None:
    line = b"     1,048,576  25%    2.50MB/s    0:01:15 (xfr#3, to-chk=8/12)"
    assert of_rsync(line, 4 << 20) == Progress(1 << 20, 4 << 20, 2.5 * (1 << 20), 75)
    assert of_rsync(b"        1048576 100%  512.00kB/s   10:00:01  ", 1 << 20) == Progress(
        1 << 20, 1 << 20, 1 << 19, 36001
    )
    assert of_rsync(b"              0   0%    0.00kB/s    0:00:00  ", 7) == Progress(0, 7, 0, None)


def test_a_line_of_rclone_says_bytes_rate_and_what_is_left() -> None:
    assert of_rclone(RCLONE, 1000005) == Progress(524293, 1000005, 525661.9, 3)
    assert of_rclone(RCLONE.replace(b'"eta":3', b'"eta":null'), 1000005) == Progress(524293, 1000005, 525661.9, None)


def test_more_than_all_is_all() -> None:
    """A file that is sent a second time counts twice for both programs."""
    assert of_rclone(RCLONE, 1000) == Progress(1000, 1000, 525661.9, 3)


@given(st.binary(max_size=200))
def test_any_other_line_says_nothing(line: bytes) -> None:
    assert of_rsync(b"rsync: " + line, 10) is None
    assert of_rclone(line, 10) is None or line.lstrip().startswith(b"{")


@given(st.lists(st.binary(max_size=20)), st.integers(1, 7))
def test_lines_are_heard_whole_however_they_come(pieces: list[bytes], size: int) -> None:
    whole, heard = b"".join(pieces) + b"\nend\r", []
    lines = Lines(heard.append)
    for begin in range(0, len(whole), size):
        lines(whole[begin : begin + size])
    assert heard == whole.replace(b"\r", b"\n").split(b"\n")[:-1]


def test_a_line_without_end_costs_no_memory() -> None:
    heard: list[bytes] = []
    lines = Lines(heard.append)
    for _ in range(100):
        lines(b"x" * 10_000)
    lines(b"\nafter\n")
    assert heard[-1] == b"after"
    assert len(heard[0]) < 100_000
