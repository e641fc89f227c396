"""Swaps names below a target root with links that lead out of it, as fast as it can.

    python -m support.racer ROOT OUTSIDE ROUNDS

Makes `go` beside ROOT when it starts, and ends after so many rounds by itself.
"""

import ctypes
import os
import sys
from pathlib import Path

_EXCHANGE = 2
_renameat2 = ctypes.CDLL(None).renameat2


def exchange(directory: int, one: bytes, other: bytes) -> None:
    """Both names are there all the time: an attacker's best case."""
    _renameat2(directory, one, directory, other, _EXCHANGE)


def main() -> None:
    root, outside, rounds = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    for name in ("swap", "deep"):
        (root / f"{name}-link").symlink_to(outside)
    (root / "deep" / "in-link").symlink_to(outside)
    (root / "file-link").symlink_to(f"{outside}/victim")
    here, deep = os.open(root, os.O_DIRECTORY), os.open(root / "deep", os.O_DIRECTORY)
    (root.parent / "go").touch()
    for number in range(rounds):
        exchange(here, b"swap", b"swap-link")
        exchange(here, b"file", b"file-link")
        exchange(deep, b"in", b"in-link")
        if number % 7 == 0:
            exchange(here, b"deep", b"deep-link")


if __name__ == "__main__":
    main()
