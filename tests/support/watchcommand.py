"""`plan watch` as people use it: the daemon as a process, and its clients."""

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from requisition.stdlib.control import ask
from support.script import environment

DEADLINE = 60.0


class Command:
    """A person with a state directory, a watch.yaml and at most one daemon."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.socket = folder / "run/watch.sock"
        self.config = folder / "watch.yaml"
        self.log = folder / "daemon.log"
        self.daemon: subprocess.Popen[bytes] | None = None
        self.environment = environment(folder)

    def configure(self, *lines: str) -> None:
        """Write watch.yaml: the socket, and these lines."""
        self.config.write_text("\n".join(['version: "1"', f"socket: {self.socket}", *lines]) + "\n")

    def start(self, *wrapper: str, **variables: str) -> None:
        """Start the daemon, and wait until it answers."""
        with self.log.open("ab") as log:
            self.daemon = subprocess.Popen(
                [*wrapper, "plan", "watch", "run", "--config", str(self.config)],
                env=self.environment | variables, cwd=self.folder, stdout=log, stderr=log,
            )  # fmt: skip
        self.until(self._answers)

    def _answers(self) -> bool:
        assert self.daemon is not None
        assert self.daemon.poll() is None, self.log.read_text()
        try:
            ask(str(self.socket), "list", {})
        except Exception:
            return False
        return True

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End the daemon by a signal; how it ended."""
        assert self.daemon is not None
        self.daemon.send_signal(number)
        code = self.daemon.wait(DEADLINE)
        self.daemon = None
        return code

    def close(self) -> None:
        """Leave nothing running."""
        if self.daemon is not None:
            self.daemon.terminate()
            try:
                self.daemon.wait(DEADLINE)
            except subprocess.TimeoutExpired:
                self.daemon.kill()
                raise

    def plan(self, *words: object, code: int = 0) -> str:
        """`plan watch …`; what it prints, errors too."""
        done = self.done(words)
        text = (done.stdout + done.stderr).decode()
        assert done.returncode == code, f"exit {done.returncode}\n{text}\n{self.said}"
        return text

    def json(self, *words: object, code: int = 0) -> list[Any]:
        """The same, as the objects that it prints."""
        done = self.done((*words, "--json"))
        assert (done.returncode, done.stderr) == (code, b""), done
        return [json.loads(line) for line in done.stdout.splitlines()]

    def done(self, words: Iterable[object]) -> subprocess.CompletedProcess[bytes]:
        first, *others = map(str, words)
        place = (
            ["--config", str(self.config)] if first in ("check", "install", "run") else ["--socket", str(self.socket)]
        )
        return subprocess.run(
            ["plan", "watch", first, *place, *others],
            env=self.environment, cwd=self.folder, capture_output=True, timeout=DEADLINE, check=False,
        )  # fmt: skip

    def shown(self, name: str = "web") -> Any:
        """All about a watch, as the daemon answers."""
        return ask(str(self.socket), "show", {"name": name})

    def ref(self, name: str = "web", ref: str = "refs/heads/main") -> dict[str, Any]:
        """The row of a ref, {} before there is one."""
        return next((row for row in self.shown(name)["listed"]["refs"] if row["ref"] == ref), {})

    def good(self, commit: str, name: str = "web") -> None:
        """Wait until a commit is good."""
        self.until(lambda: self.ref(name).get("good") == commit)

    @property
    def said(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def until(self, condition: Callable[[], object]) -> None:
        """Wait until something holds; fails with what the daemon said."""
        end = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < end, self.said
            time.sleep(0.02)
