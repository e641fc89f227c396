"""What pipelines say, one file a run: written as it comes, bounded, followed by any number of readers."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress

import msgspec

MAX_LOG = 8 << 20
MAX_LINE = 64 << 10
_CHUNK = 64 << 10
_NAME = re.compile(r"[A-Za-z0-9TZ.-]+\.log\Z")


class RunLog:
    """The log of a run that works; what is beyond its limit is dropped, and that is said once."""

    def __init__(self, path: str, limit: int = MAX_LOG) -> None:
        """Open it, after what a run that was cut off has said already."""
        self.path = path
        self.changed = asyncio.Event()
        self.ended = False
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self._room = max(limit - os.fstat(self._fd).st_size, 0)

    def write(self, chunk: bytes) -> None:
        """Add bytes."""
        if self._room <= 0:
            return
        if len(chunk) > self._room:
            chunk = chunk[: self._room] + b"\n(the rest is not kept: the log is full)\n"
            self._room = 0
        self._room -= len(chunk)
        os.write(self._fd, chunk)
        self._wake()

    def line(self, text: str) -> None:
        """Add a line of our own."""
        self.write(text.encode("utf-8", "replace") + b"\n")

    def close(self) -> None:
        """Say no more."""
        if not self.ended:
            self.ended = True
            os.close(self._fd)
            self._wake()

    def _wake(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()


class RunLogs:
    """The folder of them all."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._open: dict[str, RunLog] = {}
        os.makedirs(folder, mode=0o700, exist_ok=True)

    def path(self, run: str) -> str:
        """Where the log of a run is."""
        return f"{self.folder}/{run}.log"

    def open(self, run: str) -> RunLog:
        """The log of a run that begins or goes on."""
        log = self._open[run] = RunLog(self.path(run))
        return log

    def close(self, run: str) -> None:
        """The run has ended."""
        if (log := self._open.pop(run, None)) is not None:
            log.close()

    async def follow(self, run: str, *, on: bool) -> AsyncIterator[str]:
        """Lines that are there, and with `on` those to come until the run has ended; none when its log was dropped."""
        try:
            fd = os.open(self.path(run), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return
        rest = b""
        try:
            while True:
                log = self._open.get(run)
                changed = log.changed if log is not None else None
                chunk = await asyncio.to_thread(os.read, fd, _CHUNK)
                *lines, rest = (rest + chunk).split(b"\n")
                for line in [*lines, *([rest] if len(rest) > MAX_LINE else [])]:
                    yield line.decode("utf-8", "replace")
                rest = b"" if len(rest) > MAX_LINE else rest
                if not chunk:
                    if not on or changed is None:
                        break
                    await changed.wait()
            if rest:
                yield rest.decode("utf-8", "replace")
        finally:
            os.close(fd)

    def keep_only(self, runs: Iterable[str]) -> None:
        """Remove the logs of all other runs."""
        known = {os.path.basename(self.path(run)) for run in runs}
        for name in os.listdir(self.folder):
            if name not in known and name.removesuffix(".log") not in self._open and _NAME.match(name):
                with suppress(FileNotFoundError):  # somebody tidied up
                    os.unlink(f"{self.folder}/{name}")


def readable(line: bytes) -> bytes:
    """A line of `plan … --json` as a person reads it; any other line as it is."""
    try:
        said = msgspec.json.decode(line)
        kind = said.get("type")
    except (msgspec.DecodeError, AttributeError, UnicodeDecodeError):
        return line
    if kind == "event":
        words = [
            said.get("kind", ""),
            said.get("status", ""),
            said.get("node") or said.get("phase", ""),
            said.get("text", ""),
        ]
        return "  ".join(str(word) for word in words if word).encode()
    if kind == "diagnostic":
        return "\n".join(_finding(said)).encode()
    if kind == "result":
        found = [line for one in said.get("diagnostics", ()) for line in _finding({"severity": "error", **one})]
        return "\n".join([*found, f"result  {said.get('status', '')}  {said.get('run_id', '')}".rstrip()]).encode()
    return line


def _finding(said: dict[str, str]) -> list[str]:
    parts = [f"{said.get('severity', 'error')}: {said.get('what', '')}"]
    return parts + [f"  {key} {said[key]}" for key in ("where", "why", "next") if said.get(key)]
