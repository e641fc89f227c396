"""The runtime in this process: the same code as behind the frames, without a process a question."""

import os
import time
from datetime import UTC, datetime

from requisition.runtime.__main__ import _answer
from requisition.runtime.frames import EXIT_CODES, Event, Request
from requisition.runtime.run import Watch
from support.process import Answer


def ask(asked: Request, *, cancelled=lambda: False) -> Answer:
    events: list[Event] = []
    started = time.monotonic_ns()
    watch = Watch(events.append, lambda: (time.monotonic_ns() - started) // 1000, lambda: datetime.now(UTC), cancelled)
    before = os.umask(0)
    try:
        result = _answer(asked, watch)
    finally:
        os.umask(before)
    return Answer(events, result, EXIT_CODES[result.status], b"")
