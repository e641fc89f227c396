"""`plan-runtime` of this installation, as a process of its own that is spoken to in frames (`runtime/frames.py`).

When the agent is killed the kernel tells it to stop, and it takes back what it began; what is left of a machine that
lost power is in its journal. So no run goes on that nobody watches.
"""

import io
import os
import sys

from msgspec import Struct

from requisition.runtime.frames import Document, Event, Request, Result, read_reply, write_frame
from requisition.schemas.diagnostic import Failed
from requisition.services import processes
from requisition.services.processes import Ended, Limits

GRACE = 60.0
"""Seconds that a run has to take back what it began, before it is killed."""

_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SSL_CERT_FILE")
_SHOWN = 500


class Runtime(Struct, frozen=True):
    """`command`: how it is started; `state_dir`: where it keeps its receipts."""

    state_dir: str
    command: tuple[str, ...] = (sys.executable, "-P", "-m", "requisition.runtime")

    async def ask(self, request: Request) -> Result:
        """Its answer. Raises Failed when it ends without one; when cancelled, ends it first."""
        replies = _Replies()
        question = io.BytesIO()
        write_frame(question, request)
        env = {name: os.environ[name] for name in _KEPT if name in os.environ}
        ended = await processes.run(
            self.command, env=env, limits=Limits(grace=GRACE), stdin=question.getvalue(), on_out=replies.hear
        )
        if replies.result is None:
            raise Failed.of("the runtime ended before it answered", why=_why(ended), where=" ".join(self.command))
        return replies.result


class _Replies:
    """What a runtime says, piece by piece; its result is kept."""

    def __init__(self) -> None:
        self.result: Result | None = None
        self._rest = bytearray()

    def hear(self, piece: bytes) -> None:
        """Raises FrameError when it is no frame of ours."""
        self._rest += piece
        while len(self._rest) >= 4 and len(self._rest) >= 4 + int.from_bytes(self._rest[:4], "big"):
            end = 4 + int.from_bytes(self._rest[:4], "big")
            reply: Event | Document | Result | None = read_reply(io.BytesIO(bytes(self._rest[:end])))
            del self._rest[:end]
            if isinstance(reply, Result):
                self.result = reply


def _why(ended: Ended) -> str:
    last = ended.err.decode("utf-8", "replace").strip().rpartition("\n")[2][:_SHOWN]
    how = f"signal {-ended.status}" if ended.status < 0 else f"status {ended.status}"
    return ended.stopped or (f"{how}: {last}" if last else how)


def explained(result: Result) -> str:
    """Why a run did not succeed, in a line; "" when it did."""
    if result.status in ("done", "changes"):
        return ""
    found = [f"{one.where}: {one.what}" if one.where else one.what for one in result.diagnostics[:3]]
    return ("; ".join(found) or f"it ended as {result.status}")[:_SHOWN]
