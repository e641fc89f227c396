"""What a service says of itself: lines for its log, written by a thread. A terminal that somebody has stopped, or a
pipe that nobody reads, does not stop the service; what cannot be said is counted, and that is said later.
"""

import queue
import threading
from collections.abc import Callable

_WAITING = 10_000


class Voice:
    """`with Voice(write) as say:`, where `say` never waits. On leaving, what was said last is given a second."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._lines: queue.Queue[str | None] = queue.Queue(_WAITING)
        self._lost = 0
        self._thread = threading.Thread(target=self._work, name="voice", daemon=True)

    def __enter__(self) -> Callable[[str], None]:
        self._thread.start()
        return self.say

    def __exit__(self, *_: object) -> None:
        try:
            self._lines.put_nowait(None)
        except queue.Full:
            return  # nobody listens
        self._thread.join(1)

    def say(self, line: str) -> None:
        """Say a line as soon as it can be."""
        try:
            if self._lost:
                self._lines.put_nowait(f"({self._lost} lines could not be written)")
                self._lost = 0
            self._lines.put_nowait(line)
        except queue.Full:
            self._lost += 1

    def _work(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                self._write(line)
            except OSError:
                self._lost += 1  # the disk is full, or the reader gone: the service goes on
