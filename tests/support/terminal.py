"""A command on a terminal of its own: what a person would see, and what they type."""

import os
import pty
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


def converse(argv: Sequence[str], answers: Mapping[str, str], env: Mapping[str, str], cwd: Path) -> tuple[str, int]:
    """Run on a pseudo-terminal; each time a key of `answers` is printed, type its value. Output and exit code."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs, env=env, cwd=cwd)
    os.close(theirs)
    seen = b""
    waiting = dict(answers)
    while piece := _read(ours):
        seen += piece
        for question in list(waiting):
            if question.encode() in seen:
                os.write(ours, waiting.pop(question).encode() + b"\n")
    os.close(ours)
    return seen.decode().replace("\r\n", "\n"), process.wait(timeout=60)


def _read(terminal: int) -> bytes:
    """The next piece; empty when the other side has closed (Linux says EIO)."""
    try:
        return os.read(terminal, 1 << 16)
    except OSError:
        return b""
