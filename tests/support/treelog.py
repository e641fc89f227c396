"""Event logs of trees: events as hypothesis makes them, and a program that appends until it is killed.

    python -m support.treelog ROOT NAME COUNT [BYTES]

appends COUNT starts of packages NAME/0, NAME/1, … and prints the number of each when it is durable. With BYTES it does so
in a process for each number of bytes below that, in ROOT/<number>, which is killed in the middle of a write, when so
many bytes of it are in the file; prints how many each had announced.
"""

import os
import signal
import sys
from datetime import UTC, datetime

from hypothesis import strategies as st

from requisition.schemas.treeevent import VERSION
from requisition.tree.events import (
    Added,
    Completed,
    EventLog,
    Halted,
    Later,
    Removed,
    Started,
    Sync,
    Updated,
)

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
AT = "2026-01-01T12:00:00Z"


def noon() -> datetime:
    return NOON


SHORT = st.text(max_size=30)


def known_events(text=SHORT):
    """Events of all kinds, of few packages, so that they meet."""
    path = st.sampled_from(["", "a", "a/b", "ä", "c"])
    commit = st.sampled_from(["", "0" * 40, "f" * 40])
    common = {"path": path, "commit": commit, "hash": text}
    return st.one_of(
        st.builds(Sync, step=st.sampled_from(["begin", "end"]), order=text, packages=st.integers(0, 9)),
        st.builds(Started, **common),
        st.builds(Completed, **common),
        st.builds(Halted, **common, action=text, why=text, next=text),
        st.builds(Added, path=path, url=text, ref=text),
        st.builds(Removed, path=path),
        st.builds(Updated, path=path, was=commit, to=commit),
    )


def later_events():
    """Lines of a newer version."""
    return st.integers(0, 9).map(lambda n: Later(b'{"kind":"moon","version":%d,"phase":%d}' % (VERSION + 1, n)))


class KilledWriting:
    """Stands in for os.write: so many bytes get into the file, then the process is gone."""

    def __init__(self, left: int):
        self.left = left

    def __call__(self, fd: int, data: bytes) -> int:
        if len(data) <= self.left:
            self.left -= len(data)
            return self.real(fd, data)
        self.real(fd, data[: self.left])
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    real = staticmethod(os.write)


def append(root: str, name: str, count: int, announce) -> None:
    with EventLog.open(root, noon) as log:
        for number in range(count):
            log.append(Started(path=f"{name}/{number}"))
            announce(b"%d\n" % number)


def killed_at(folder: str, name: str, count: int, at: int) -> int:
    """How many starts a process announced that was killed when so many bytes were in its log."""
    os.mkdir(folder)
    EventLog.open(folder, noon).close()
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        os.write = KilledWriting(at)
        append(folder, name, count, lambda text: KilledWriting.real(into, text))
        os._exit(0)
    os.close(into)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    with open(out, "rb") as announced:
        return len(announced.readlines())


def main() -> None:
    root, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if not sys.argv[4:]:
        append(root, name, count, lambda text: os.write(1, text))
        return
    for at in range(int(sys.argv[4])):
        print(killed_at(f"{root}/{at}", name, count, at))


if __name__ == "__main__":
    main()
