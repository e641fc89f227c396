"""How far a program is, from what it prints: pure readers of rsync's `--info=progress2` and rclone's JSON log."""

import json
import re
from collections.abc import Callable

from requisition.services.delivery.transport import Progress

_LINE = re.compile(rb"\s*([\d,.]+)\s+(\d{1,3})%\s+([\d.]+)([kMGT]?)B/s\s+(\d+):(\d\d):(\d\d)")
_SCALE = {b"": 1, b"k": 1 << 10, b"M": 1 << 20, b"G": 1 << 30, b"T": 1 << 40}
_MAX_LINE = 64 << 10


class Lines:
    """Bytes as they come, cut into lines: at newlines and carriage returns; a line too long to be one is dropped."""

    def __init__(self, hear: Callable[[bytes], None]) -> None:
        self._hear = hear
        self._rest = b""

    def __call__(self, chunk: bytes) -> None:
        """Take in what came; every line that is now whole is heard."""
        *whole, self._rest = re.split(rb"[\r\n]", self._rest + chunk)
        if len(self._rest) > _MAX_LINE:
            self._rest = b""
        for line in whole:
            self._hear(line)


def of_rsync(line: bytes, total: int) -> Progress | None:
    """What a line of `--info=progress2` says; None when it is another. rsync counts rates in steps of 1024."""
    found = _LINE.match(line)
    if not found:
        return None
    sent = int(re.sub(rb"[,.]", b"", found[1]))
    rate = float(found[3]) * _SCALE[found[4]]
    hours, minutes, seconds = map(int, found.group(5, 6, 7))
    eta = hours * 3600 + minutes * 60 + seconds
    return Progress(min(sent, total), total, rate, float(eta) if rate else None)


def of_rclone(line: bytes, total: int) -> Progress | None:
    """What a line of rclone's `--use-json-log` says in its `stats`; None when it is another."""
    try:
        stats = json.loads(line)["stats"]
        eta = stats.get("eta")
        sent, rate = int(stats["bytes"]), float(stats["speed"])
        return Progress(min(sent, total), total, rate, None if eta is None else float(eta))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
