"""Blocking work beside the loop, that ends when the task that waits for it is cancelled."""

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Stopped(Exception):
    """Raised by work that was told to stop."""


async def aside(work: Callable[[threading.Event], T]) -> T:
    """What the work returns, from a thread. It looks at the event every now and then and, when that is set, raises
    Stopped; a cancelled caller waits for it to have ended, so that nothing goes on behind its back."""
    stop = threading.Event()
    future = asyncio.ensure_future(asyncio.to_thread(work, stop))
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([future])
        if not future.cancelled():
            future.exception()  # looked at, so that nobody complains that it was not
        raise
