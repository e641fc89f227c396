"""Something asynchronous that runs in a thread while the test is its client."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any


class Background:
    """`with Background(lambda: Control(…)) as control:`, the context entered in a loop of its own; `call` runs a
    function in that loop. An error on entering is raised here."""

    def __init__(self, make: Callable[[], AbstractAsyncContextManager[Any]]):
        self._make = make
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()))

    async def _main(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        try:
            async with self._make() as self.inner:
                self._ready.set()
                await self._end.wait()
        except BaseException as error:
            self._error = error
        finally:
            self._ready.set()

    def __enter__(self) -> Any:
        self._thread.start()
        self._ready.wait()
        self._raise()
        return self.inner

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()
        self._raise()

    def _raise(self) -> None:
        if self._error is not None:
            self._thread.join()
            raise self._error
