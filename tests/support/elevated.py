"""A user who may elevate, on a machine of their own: a mount namespace with copies of /etc and an empty
/var/lib, in which `useradd` and a line for real sudo change nothing outside.

The test's folder is seen at /mnt/w there, because the way to it may be closed to others.
"""

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
from support.process import Answer, run_runtime
from support.sealed import public, sign

UID = 6107
SEEN = "/mnt/w"
BIN = Path(sys.executable).parent
_ENTER = f"""set -e
mount --make-rprivate /
mount -t tmpfs none /mnt
mkdir {SEEN}
mount --bind "$1" {SEEN}
mount --bind {SEEN}/etc /etc
mount --bind {SEEN}/varlib /var/lib
shift
exec "$@"
"""
_AS_USER = ("setpriv", "--reuid", str(UID), "--regid", str(UID), "--clear-groups")


def _can() -> bool:
    if os.geteuid() != 0 or not all(map(shutil.which, ("sudo", "unshare", "setpriv"))):
        return False
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        return False
    probe = [
        "setpriv",
        "--reuid",
        str(UID),
        "--regid",
        str(UID),
        "--clear-groups",
        sys.executable,
        "-c",
        "import requisition.runtime.frames",
    ]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


def skip_without() -> pytest.MarkDecorator:
    why = "needs root, sudo, mount namespaces, and a checkout that other users can read"
    return pytest.mark.skipif(not _can(), reason=why)


class World:
    """`root` is the target root, owned by root; `root/home` belongs to the user."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.root = folder / "root"
        self.home = self.root / "home"
        self.rootstate = folder / "varlib/requisition"
        folder.chmod(0o755)
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
        return ["unshare", "--mount", "--", "sh", "-c", _ENTER, "sh", str(self.folder), *argv]

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
        state = f"{SEEN}/user/state" if user else "/var/lib/requisition"
        trust = f"{SEEN}/user/trust.yaml" if user else "/etc/requisition/trust.yaml"
        fields.setdefault("elevate", "sudo" if user else "")
        request = Request(verb=verb, state_dir=state, order_path=order, trust_path=trust, **fields)
        return run_runtime(request, *self.command(*(_AS_USER if user else ()), *wrapper))
