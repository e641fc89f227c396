"""Downloads of tests: what is got, got and refused."""

import hashlib
import os
from pathlib import Path

import pytest

from requisition.stdlib.action import ActionError
from requisition.stdlib.providers.net.download import Download
from support.hosts import Bench
from support.trees import snapshot

CONTENT = os.urandom(700_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
ANY = {"sha256": "", "insecure_no_digest": True}


def impatient(folder: Path) -> Bench:
    """A bench whose pauses take no time."""
    made = Bench(folder)
    made.host.sleep_ms = lambda duration: None
    return made


def download(bench, server, **slots):
    slots = {"url": server.url, "path": "/file", "sha256": DIGEST} | slots
    return bench.do(Download(), **slots)


def refused(bench, server, words, **slots):
    before = snapshot(bench.root)
    with pytest.raises(ActionError, match=words) as found:
        download(bench, server, **slots)
    assert snapshot(bench.root) == before
    return str(found.value)
