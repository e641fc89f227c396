"""`plan delivery` as people use it: roots, destinations, the service as a process, and its clients."""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from requisition.stdlib.control import ask
from support.script import environment

DEADLINE = 60.0
QUICK = {"enabled": True, "passes": 2, "min_age": "100ms", "interval": "100ms"}


class Shipper:
    """A person with a state directory, a root of folders, a delivery.yaml, and at most one service."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.root = folder / "runs"
        self.disk = folder / "disk"
        for made in (self.root, self.disk):
            made.mkdir()
        self.socket = folder / "run/delivery.sock"
        self.config = folder / "delivery.yaml"
        self.log = folder / "service.log"
        self.service: subprocess.Popen[bytes] | None = None
        self.environment = environment(folder)
        self.configure()

    def configure(self, destinations: dict[str, Any] | None = None, **more: object) -> None:
        """Write delivery.yaml; by default with one local destination, `disk`."""
        found = destinations or {"disk": {"kind": "local", "path": str(self.disk)}}
        text = {"version": "1", "roots": [str(self.root)], "socket": str(self.socket), "destinations": found, **more}
        self.config.write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in text.items()))

    def made(self, name: str, files: dict[str, str]) -> Path:
        """A folder to ship."""
        for path, content in files.items():
            place = self.root / name / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(content)
        return self.root / name

    def plan(self, *words: object, code: int = 0) -> str:
        """`plan delivery …`; what it prints, errors too."""
        done = self.done(words)
        text = (done.stdout + done.stderr).decode()
        assert done.returncode == code, f"exit {done.returncode}\n{text}"
        return text

    def json(self, *words: object, code: int = 0) -> list[Any]:
        """The same, as the objects that it prints."""
        done = self.done((*words, "--json"))
        assert (done.returncode, done.stderr) == (code, b""), done
        return [json.loads(line) for line in done.stdout.splitlines()]

    def done(self, words: tuple[object, ...]) -> "subprocess.CompletedProcess[bytes]":
        command = ["plan", "delivery", *map(str, words), "--config", str(self.config)]
        return subprocess.run(command, env=self.environment, cwd=self.folder, capture_output=True, check=False)

    def enqueued(self, name: str, files: dict[str, str], *words: str, to: str = "disk") -> str:
        """Make a folder and enqueue it; the job's id."""
        return str(self.json("enqueue", self.made(name, files), "--to", to, *words)[0]["id"])

    def state(self, job: str) -> str:
        """The job's state."""
        return str(self.json("show", job)[0]["shown"]["job"]["state"])

    def start(self) -> None:
        """Start the service, and wait until it answers."""
        with self.log.open("ab") as log:
            self.service = subprocess.Popen(
                ["plan", "delivery", "serve", "--config", str(self.config)],
                env=self.environment, cwd=self.folder, stdout=log, stderr=log,
            )  # fmt: skip
        self.until(self._answers)

    def _answers(self) -> bool:
        assert self.service is not None
        assert self.service.poll() is None, self.log.read_text()
        try:
            ask(str(self.socket), "status", {})
        except Exception:
            return False
        return True

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait for it; fails with the service's log when it takes too long."""
        deadline = time.monotonic() + DEADLINE
        while not holds():
            assert time.monotonic() < deadline, self.log.read_text() if self.log.exists() else "it never was so"
            time.sleep(0.05)

    def close(self) -> None:
        """Leave nothing running."""
        if self.service is not None and self.service.poll() is None:
            self.service.terminate()
            self.service.wait(DEADLINE)
