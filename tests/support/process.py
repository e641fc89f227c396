"""The real `plan-runtime`, spoken to in frames."""

import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import msgspec

from requisition.runtime.frames import Event, Request, Result, read_reply, write_frame


class Answer:
    """What a runtime process said. `result` is None when it died without one."""

    def __init__(self, events: list[Event], result: Result | None, code: int, stderr: bytes):
        self.events = events
        self.result = result
        self.code = code
        self.stderr = stderr.decode("utf-8", "replace")

    @property
    def status(self) -> str:
        return self.result.status if self.result else f"died {self.code}"

    @property
    def text(self) -> str:
        found = [str(d) for d in (self.result.diagnostics if self.result else ())]
        return "\n".join([*found, *(event.text for event in self.events)])


def command(*wrapper: str) -> list[str]:
    return [*wrapper, sys.executable, "-m", "requisition.runtime"]


def encoded(request: Request) -> bytes:
    stream = BytesIO()
    write_frame(stream, request)
    return stream.getvalue()


def run_runtime(request: Request, *wrapper: str, env=None, timeout: float = 120) -> Answer:
    done = subprocess.run(
        command(*wrapper),
        input=encoded(request),
        capture_output=True,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **(env or {})},
        timeout=timeout,
        check=False,
    )
    return parse(done.stdout, done.returncode, done.stderr)


def parse(stdout: bytes, code: int, stderr: bytes) -> Answer:
    stream, events, result = BytesIO(stdout), [], None
    while (reply := read_reply(stream)) is not None:
        if isinstance(reply, Result):
            result = reply
        else:
            events.append(reply)
    return Answer(events, result, code, stderr)


def request(verb: str, state: Path, order: Path | str = "", **fields) -> Request:
    """A request that applies unsigned unless a trust policy is named."""
    fields.setdefault("allow_unsigned", "trust_path" not in fields)
    return Request(verb=verb, state_dir=str(state), order_path=str(order), **fields)


def change(request_: Request, **fields) -> Request:
    return msgspec.structs.replace(request_, **fields)
