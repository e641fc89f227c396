"""Tests that are coroutines."""

import asyncio
import functools


def story(test):
    """Run a coroutine as a test, within two minutes."""

    @functools.wraps(test)
    def run(*args, **kwargs):
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), 120))

    return run
