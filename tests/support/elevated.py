"""A user who may elevate, on a machine of their own: a mount namespace with copies of /etc and an empty
/var/lib, in which `useradd` and a line for real sudo change nothing outside.

The test's folder is seen at /mnt/w there, because the way to it may be closed to others.
"""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from requisition.runtime.frames import Request
from requisition.schemas import orderfile
from support.orders import OrderBuilder
from support.process import Answer, command, encoded, run_runtime
from support.sealed import public, sign
from support.sshd import children

UID = 6107
SEEN = "/mnt/w"
BIN = Path(sys.executable).parent
_ENTER = f"""set -e
mount --make-rprivate /
mount -t tmpfs none /mnt
mkdir {SEEN}
mount --bind "$1" {SEEN}
WAYS
mount --bind {SEEN}/etc /etc
mount --bind {SEEN}/varlib /var/lib
shift
exec "$@"
"""
AS_USER = ("setpriv", "--reuid", str(UID), "--regid", str(UID), "--clear-groups")


def _closed(path: Path) -> Path | None:
    """The first folder on the way to a path that is closed to others."""
    return next((above for above in reversed(path.parents) if not above.stat().st_mode & 0o001), None)


def _opened_ways() -> str:
    """Commands that make the interpreter and this checkout reachable for everyone over there, wherever they lie."""
    ways = {Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve(), Path(__file__).parents[2]}
    closed = {way: top for way in sorted(ways) if (top := _closed(way)) is not None}
    lines = []
    for number, way in enumerate(closed):
        lines += [f"mkdir /mnt/{number}", f"mount --bind {way} /mnt/{number}"]
    lines += [f"mount -t tmpfs -o mode=755 none {top}" for top in sorted(set(closed.values()))]
    for number, way in enumerate(closed):
        lines += [f"mkdir -p {way}", f"mount --bind /mnt/{number} {way}"]
    return "\n".join(lines)


def _can() -> bool:
    if os.geteuid() != 0 or not all(map(shutil.which, ("sudo", "unshare", "setpriv"))):
        return False
    return subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode == 0


def skip_without() -> pytest.MarkDecorator:
    why = "needs root, mount namespaces, and sudo (Debian: sudo)"
    return pytest.mark.skipif(not _can(), reason=why)


class World:
    """`root` is the target root, owned by root; `root/home` belongs to the user."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.root = folder / "root"
        self.home = self.root / "home"
        self.rootstate = folder / "varlib/requisition"
        folder.chmod(0o755)
        self._enter = _ENTER.replace("WAYS", _opened_ways())
        for made in (self.root, self.home, folder / "varlib", folder / "user", folder / "package"):
            made.mkdir()
        for mine in (self.home, folder / "user"):
            os.chown(mine, UID, UID)
        subprocess.run(["cp", "-a", "/etc", str(folder / "etc")], check=True)
        self.enter("useradd", "-M", "-u", str(UID), "-U", "-s", "/bin/sh", "-d", f"{SEEN}/user", "elevator")
        sudoers = folder / "etc/sudoers.d/requisition"
        sudoers.write_text(
            f"Defaults:elevator secure_path={BIN}:/usr/sbin:/usr/bin:/sbin:/bin\n"
            f"elevator ALL=(root) NOPASSWD: {BIN}/plan-runtime elevated\n"
        )
        sudoers.chmod(0o440)
        (folder / "etc/requisition").mkdir(exist_ok=True)
        self.trust_of("alice", folder / "etc/requisition/trust.yaml")
        self.trust_of("alice", folder / "user/trust.yaml")

    def trust_of(self, name: str, path: Path) -> None:
        path.write_text(f"keys:\n  {name}:\n    key: {public(name).openssh()}\n")
        path.chmod(0o644)

    def command(self, *argv: str) -> list[str]:
        return ["unshare", "--mount", "--", "sh", "-c", self._enter, "sh", str(self.folder), *argv]

    def enter(self, *argv: str) -> str:
        """Run something as root on that machine."""
        return subprocess.run(self.command(*argv), check=True, capture_output=True, text=True).stdout

    def order(self, **fields) -> OrderBuilder:
        order = OrderBuilder(self.folder / "package", self.root, **fields)
        order.target_root = Path(f"{SEEN}/root")
        return order

    def signed(self, order: OrderBuilder, name: str = "alice", **fields) -> str:
        """Write and sign; its path over there."""
        path = order.write(**fields)
        sealed = orderfile.read(str(path))
        orderfile.write(str(path), msgspec.structs.replace(sealed, signatures=(sign(sealed, name),)))
        return f"{SEEN}/package/{path.name}"

    def ask(self, verb: str, order: str = "", *, user: bool = True, wrapper: tuple[str, ...] = (), **fields) -> Answer:
        """The runtime on that machine, as the user or as root."""
        asked = self.request(verb, order, **fields)
        if not user:
            fields = {"state_dir": "/var/lib/requisition", "trust_path": "/etc/requisition/trust.yaml", "elevate": ""}
            asked = msgspec.structs.replace(asked, **fields)
        return run_runtime(asked, *self.command(*(AS_USER if user else ()), *wrapper))

    def request(self, verb: str, order: str = "", **fields) -> Request:
        """Of the user."""
        state, trust = f"{SEEN}/user/state", f"{SEEN}/user/trust.yaml"
        return Request(verb=verb, state_dir=state, order_path=order, trust_path=trust, **{"elevate": "sudo", **fields})

    def start(self, request: Request) -> subprocess.Popen[bytes]:
        """The user's runtime, left running; its process id is that of the runtime itself."""
        near = subprocess.Popen(
            command(*self.command(*AS_USER)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"},
        )
        near.stdin.write(encoded(request))
        near.stdin.flush()
        return near

    def active(self) -> str:
        """The run that root's view of the target root calls unfinished; empty when there is none."""
        heads = self.rootstate.glob("roots/*/head.json")
        return "".join(json.loads(path.read_text()).get("active", "") for path in heads)

    def wait_until_ended(self) -> None:
        """Until neither half holds its lock of the target root."""
        for path in (*self.rootstate.glob("roots/*/lock"), *self.folder.glob("user/state/roots/*/lock")):
            with path.open() as file:
                fcntl.flock(file, fcntl.LOCK_EX)


def privileged_half(pid: int) -> int:
    """The process that sudo started for the runtime `pid`."""
    pending = children(pid)
    while pending:
        at = pending.pop()
        with open(f"/proc/{at}/cmdline", "rb") as file:
            words = file.read().split(b"\0")
        if b"elevated" in words and b"python" in words[0]:
            return at
        pending += children(at)
    raise AssertionError("there is no privileged half")
