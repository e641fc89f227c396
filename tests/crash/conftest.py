"""Scratch folders in memory, where the machine has room for that: a killed process promises nothing about the disk, and
waiting for one is half of these tests' time. Power cuts, which are about the disk, mount their own."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

MEMORY = Path("/dev/shm")
ROOM = 1 << 30


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    if not MEMORY.is_mount() or shutil.disk_usage(MEMORY).free < ROOM:
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="requisition-", dir=MEMORY) as folder:
        yield Path(folder)
