"""`plan`, killed after a number of events: python -m support.sync_killer EVENTS WORDS…

The log is patched to write that many events in all, the last ones of a batch left out, and to die; nothing else is.
"""

import os
import signal
import sys

from requisition.cli.main import main
from requisition.tree.events import EventLog


def arm(left: int) -> None:
    real = EventLog.append_many

    def append_many(log, events):
        nonlocal left
        events = list(events)
        if len(events) < left:
            left -= len(events)
            return real(log, events)
        if left:
            real(log, events[:left])
        os.kill(os.getpid(), signal.SIGKILL)
        return []

    EventLog.append_many = append_many


if __name__ == "__main__":
    arm(int(sys.argv[1]))
    sys.argv = ["plan", *sys.argv[2:]]
    raise SystemExit(main())
