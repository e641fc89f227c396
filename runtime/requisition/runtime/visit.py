"""Requests from outside of this machine or account: `plan-runtime remote`, at the far end of ssh.

A visitor brings an order as bytes and chooses nothing else: state, trust policy and files are this
machine's. What it brought is written into the state directory, read from there like any file, and removed.
While the run goes on a thread listens for the visitor's `Stop`, or for the end of the connection.
"""

import fcntl
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import msgspec

from requisition.runtime.frames import MAX_BUNDLE, MAX_FRAME, Document, FrameError, OnDisconnect, Request, read_frame
from requisition.runtime.layout import StateDir
from requisition.runtime.places import default_state, default_trust
from requisition.schemas.diagnostic import BadInput, Refused

_CHUNK = 1 << 20
_CHOSEN_HERE = ("state_dir", "order_path", "source_root", "trust_path", "allow_unsigned", "allow_downgrade")


class Visitor:
    """Whoever asked, at the other end of a stream: asked to stop, gone, or still there."""

    def __init__(self, stream: BinaryIO, policy: OnDisconnect) -> None:
        self._stream = stream
        self._policy = policy
        self._asked = False
        self._gone = False

    def listen(self) -> None:
        """Notice, from now on, what becomes of the visitor."""
        threading.Thread(target=self._wait, name="visitor", daemon=True).start()

    def _wait(self) -> None:
        try:
            self._asked = read_frame(self._stream) is not None
        except (FrameError, OSError):
            self._asked = False  # torn: the connection broke
        self._gone = not self._asked

    def stops(self) -> bool:
        """Whether the run is to be stopped."""
        return self._asked or (self._gone and self._policy != "finish")

    def leaves(self) -> bool:
        """Whether a stopped run is left as it stands."""
        return self._gone and self._policy == "keep"


def check(request: Request) -> None:
    """Raises Refused for a request that chooses what only this machine may."""
    if request.visit is None:
        raise Refused.of("this runtime only takes requests of visitors", next="use plan apply --host")
    chosen = [name for name in _CHOSEN_HERE if getattr(request, name)]
    if chosen:
        raise Refused.of(
            f"a visitor cannot choose {', '.join(chosen)}",
            why="state, files and trust are decided on this machine",
            next="leave it out, or run plan on the machine itself",
        )
    if request.verb in ("apply", "dry-run") and not request.visit.bundle:
        raise BadInput.of("the visitor brought no order", next="use plan apply FILE --host")


@contextmanager
def received(request: Request, stream: BinaryIO) -> Iterator[Request]:
    """The request as this machine would have made it, with what was brought in a file. Raises Refused or
    BadInput, and FrameError when the stream ends too early."""
    check(request)
    assert request.visit is not None
    state = StateDir(default_state())
    root = request.target_root
    with brought(state, request.visit.bundle, stream) as path:
        yield msgspec.structs.replace(
            request,
            state_dir=state.path,
            trust_path=default_trust() or _system_trust(),
            order_path=path,
            target_root=os.path.abspath(os.path.expanduser(root)) if root else "",
        )


def _system_trust() -> str:
    path = "/etc/requisition/trust.yaml"
    return path if os.path.exists(path) else ""


@contextmanager
def brought(state: StateDir, size: int, stream: BinaryIO) -> Iterator[str]:
    """Write `size` bytes of the stream into a file of our own; its path, empty when there are none."""
    if not size:
        yield ""
        return
    folder = f"{state.path}/incoming"
    os.makedirs(folder, mode=0o700, exist_ok=True)
    _check_room(folder, size)
    own, lock = _own_folder(folder)
    try:
        path = f"{own}/order.plan"
        _write(path, size, stream)
        yield path
    finally:
        shutil.rmtree(own, ignore_errors=True)
        os.close(lock)


def _check_room(folder: str, size: int) -> None:
    info = os.statvfs(folder)
    free = info.f_bavail * info.f_frsize
    if not 0 < size <= min(MAX_BUNDLE, free // 2):  # the run keeps a copy
        raise BadInput.of(
            f"the bundle has {size} bytes; there is room for {min(MAX_BUNDLE, free // 2)}",
            where=folder,
            next="free some space there, or send less",
        )


def _own_folder(folder: str) -> tuple[str, int]:
    """A new folder and the lock that says that somebody uses it; those that nobody uses are removed."""
    door = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(door, fcntl.LOCK_EX)
        _sweep(folder)
        own = tempfile.mkdtemp(dir=folder)
        lock = os.open(own, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(lock, fcntl.LOCK_EX)
        return own, lock
    finally:
        os.close(door)


def _sweep(folder: str) -> None:
    """Remove what visits left behind that were killed: nobody holds it any more."""
    for name in os.listdir(folder):
        path = f"{folder}/{name}"
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
        except BlockingIOError:
            continue
        finally:
            os.close(fd)


def _write(path: str, size: int, stream: BinaryIO) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as file:
        left = size
        while left:
            piece = stream.read(min(_CHUNK, left))
            if not piece:
                raise FrameError(f"the bundle ends {left} bytes too early")
            file.write(piece)
            left -= len(piece)


def document(path: str, run_id: str) -> Document | None:
    """A receipt file for the visitor to keep; None when it is too large to be sent in one piece."""
    with open(path, "rb") as file:
        content = file.read(MAX_FRAME)
    if len(content) > MAX_FRAME - 1024:
        return None
    return Document(kind="rollback" if path.endswith("/rollback.plan") else "receipt", run_id=run_id, content=content)
