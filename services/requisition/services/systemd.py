"""What a service tells systemd that it was started by: that it is ready, that it ends, that its loop goes round."""

import asyncio
import os
from socket import AF_UNIX, SOCK_DGRAM, socket


async def show_life(seconds: float) -> None:
    """Tell systemd now and then that the loop goes round, so that it starts a daemon anew whose loop does not."""
    while True:
        tell("WATCHDOG=1")
        await asyncio.sleep(seconds)


def patience() -> float:
    """Seconds after which systemd takes this process for dead (sd_watchdog_enabled(3)), 0 for never."""
    asked, whom = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", str(os.getpid()))
    return int(asked) / 1e6 if asked.isdigit() and whom == str(os.getpid()) else 0


def tell(message: str) -> None:
    """Say how far we are, if we were started by systemd and it listens (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return
    with socket(AF_UNIX, SOCK_DGRAM) as channel:
        try:
            channel.connect(address.replace("@", "\0", 1) if address[0] == "@" else address)
            channel.sendall(message.encode())
        except OSError:
            pass  # nobody listens: it is not our work that fails
