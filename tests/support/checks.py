"""Checks of tests: time that passes at will, and what is told of a check that is not met."""

import socket
from pathlib import Path

import pytest

from requisition.stdlib.action import ActionError, Change, Satisfied
from support.hosts import Bench
from support.trees import snapshot


class Clock:
    """Time that passes only in pauses, at which `meanwhile` may happen."""

    def __init__(self):
        self.now = 0
        self.pauses = []
        self.meanwhile = lambda: None

    def sleep(self, duration):
        self.pauses.append(duration)
        self.now += duration
        self.meanwhile()

    def bench(self, folder: Path) -> Bench:
        """A bench in this time."""
        made = Bench(folder)
        made.host.now_ms = lambda: self.now
        made.host.sleep_ms = self.sleep
        return made


def fails(bench: Bench, action, words: str, **slots) -> str:
    """The message of a check that is not met."""
    before = snapshot(bench.root)
    found = bench.observe(action(), **slots)
    assert isinstance(found, Change)
    assert (found.undo, found.files, found.moves) == ({}, (), ())
    with pytest.raises(ActionError, match=words) as failure:
        action().do(bench.host, action.slots(**slots), found)
    assert failure.value.hint
    assert snapshot(bench.root) == before
    return str(failure.value)


def met(bench: Bench, action, **slots) -> bool:
    """Whether a look finds a check met."""
    return isinstance(bench.observe(action(), **slots), Satisfied)


def closed_port() -> int:
    """A port of 127.0.0.1 on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]
