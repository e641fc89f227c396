"""Durations, sizes and rates as people write them in files and on the command line."""

import re

from requisition.schemas.diagnostic import BadInput

_NUMBER = r"([0-9]{1,9}(?:\.[0-9]{1,3})?)"
_DURATION = re.compile(_NUMBER + r"(ms|s|m|h|d)\Z")
_SIZE = re.compile(_NUMBER + r" ?(B|kB|KB|MB|GB|TB|KiB|MiB|GiB|TiB)\Z")
_RATE = re.compile(_NUMBER + r" ?(B|kB|KB|MB|GB|KiB|MiB|GiB|bit|kbit|Mbit|Gbit)/s\Z")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
    "TiB": 1 << 40,
}
_BITS = {"bit": 1, "kbit": 10**3, "Mbit": 10**6, "Gbit": 10**9}


def seconds(text: str) -> float:
    """`"200ms"`, `"30s"`, `"5m"`, `"2h"`, `"1d"` in seconds. Raises BadInput."""
    found = _DURATION.match(text)
    if found is None:
        raise BadInput.of(f"{text!r} is not a duration", next='write it as "30s", "5m", "2h" or "1d"')
    return float(found[1]) * _SECONDS[found[2]]


def size(text: str) -> int:
    """`"64KiB"`, `"10GB"` in bytes; kB is 1,000 bytes, KiB 1,024 (IEC 80000-13). Raises BadInput."""
    found = _SIZE.match(text)
    if found is None:
        raise BadInput.of(f"{text!r} is not a size", next='write it as "500MB" or "2GiB"')
    return int(float(found[1]) * _BYTES[found[2]])


def rate(text: str) -> int:
    """`"20MB/s"`, `"5MiB/s"`, `"100Mbit/s"` in bytes a second, 1 at least. Raises BadInput."""
    found = _RATE.match(text)
    if found is None:
        raise BadInput.of(f"{text!r} is not a rate", next='write it as "20MB/s" or "100Mbit/s"')
    bits = _BITS.get(found[2])
    return max(1, int(float(found[1]) * bits / 8 if bits else float(found[1]) * _BYTES[found[2]]))


def size_text(count: float) -> str:
    """A number of bytes for people: `1.5 GiB`, `640 B`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
