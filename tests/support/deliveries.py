"""Folders that are awkward to ship, and an sshd whose far end they are shipped to."""

import asyncio
import os
from collections.abc import Awaitable
from pathlib import Path
from typing import TypeVar

from requisition.services.delivery.config import Destination, Verify
from requisition.services.delivery.rsync import Rsync
from support.sshd import Far

T = TypeVar("T")
AWKWARD = (
    b"plain", b"with space", b" lead", b"trail ", b"new\nline", b"back\\slash", b"cr\rhere", b"tab\there", b"-n", b"--",
    b"-", b"#comment", b";comment", b"quote'\"", b"$(touch x)`id`", b"*", b"[a-z]?", b"~", b"\xc3\xa9", b"\xff\xfe",
    b"{a,b}", b"a:b", b".hidden", b"sub/-rf", b"sub/deep er/\nx",
)  # fmt: skip


def awkward(folder: Path, *, utf8_only: bool = False) -> Path:
    """A folder with every kind of name, links (one to nowhere), empty folders, and modes."""
    root = os.fsencode(folder)
    for number, name in enumerate(AWKWARD):
        if utf8_only and b"\xff" in name:
            continue
        path = os.path.join(root, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        Path(os.fsdecode(path)).write_bytes(b"%d\n" % number * (number * 50))
    os.makedirs(root + b"/empty/inner empty")
    os.symlink(b"plain", root + b"/link")
    os.symlink(b"../no\nwhere \\", root + b"/broken -> link")
    os.symlink(b"sub", root + b"/link to folder")
    os.chmod(root + b"/plain", 0o750)
    os.chmod(root + b"/-n", 0o400)
    os.chmod(root + b"/empty", 0o555)
    os.utime(root + b"/plain", ns=(1, 1_500_000_000_123_456_789))
    return folder


def tree(folder: Path) -> dict[bytes, tuple[object, ...]]:
    """What lies in a folder: content of files with mode and time, targets of links, folders."""
    root, seen = os.fsencode(folder), {}
    for where, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = os.path.join(where, name)
            info = os.lstat(path)
            key = os.path.relpath(path, root)
            if os.path.islink(path):
                seen[key] = ("link", os.readlink(path))
            elif name in folders:
                seen[key] = ("dir", (info.st_mode | 0o700) & 0o777)
            else:
                seen[key] = ("file", Path(os.fsdecode(path)).read_bytes(), info.st_mode & 0o777, info.st_mtime_ns)
    return seen


def do(work: Awaitable[T]) -> T:
    """The result of one piece of asynchronous work; it has a minute."""

    async def within() -> T:
        return await asyncio.wait_for(work, 60)

    return asyncio.run(within())


class Beyond:
    """The far end of an sshd on loopback, as a destination whose path needs quoting."""

    def __init__(self, folder: Path) -> None:
        self.machine = Far(folder)
        self.root = folder / "far" / "it's $HOME; [x] *"
        self.root.mkdir()
        identity = folder / "near" / "an id"
        identity.write_bytes((folder / "near" / "id").read_bytes())
        identity.chmod(0o600)
        self.destination = Destination(
            "vault",
            "rsync",
            path=str(self.root),
            host="root@127.0.0.1",
            port=self.machine.port,
            identity=str(identity),
            known_hosts=str(self.machine.known_hosts),
            verify=Verify(1 << 30),
        )
        self.environ = {"PATH": os.environ["PATH"], "HOME": str(folder / "near/home"), "LC_ALL": "C"}

    def transport(self, **changed: object) -> Rsync:
        import msgspec

        return Rsync(msgspec.structs.replace(self.destination, **changed), self.environ)
