"""Tests that are coroutines."""

import asyncio
import functools


def story(test, seconds=120):
    """Run a coroutine as a test, within so many seconds."""

    @functools.wraps(test)
    def run(*args, **kwargs):
        return asyncio.run(asyncio.wait_for(test(*args, **kwargs), seconds))

    return run
