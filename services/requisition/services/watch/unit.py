"""The systemd unit of the daemon.

A watch that names its target root needs to write there only. One that does not may be about the whole machine, and
then nothing of the machine can be closed to the daemon, or what a package is for would fail.
"""

from collections.abc import Iterable

from requisition.services.unit import Service
from requisition.services.watch.config import Watch

_OPEN = "A watch names no target root but the machine itself: nothing of it is closed to the daemon."


def service(command: tuple[str, ...], own: tuple[str, ...], watches: Iterable[Watch], *, user: bool = False) -> Service:
    """The daemon's, which writes to its own folders and to the roots of its watches."""
    return Service(
        name="watch",
        description="Keeps this machine at the newest commits that may be trusted",
        command=command,
        own=own,
        writable=roots_of(watches),
        open=_OPEN,
        reload=True,
        user=user,
    )


def roots_of(watches: Iterable[Watch]) -> tuple[str, ...] | None:
    """Target roots of watches, if each names one and none is the machine itself. Without a watch any may come."""
    roots = {watch.root for watch in watches}
    return None if not roots or roots & {"", "/"} else tuple(sorted(roots))
