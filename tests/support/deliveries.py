"""Folders that are awkward to ship, far ends to ship them to, and programs with less power than root has."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from requisition.services.delivery.config import Destination
from requisition.services.delivery.rsync import Rsync
from requisition.services.delivery.transport import Kind, TransportFailure
from support.sshd import Far, new_key

T = TypeVar("T")
AWKWARD = (
    b"plain", b"with space", b" lead", b"trail ", b"new\nline", b"back\\slash", b"cr\rhere", b"tab\there", b"-n", b"--",
    b"-", b"#comment", b";comment", b"quote'\"", b"$(touch x)`id`", b"*", b"[a-z]?", b"~", b"\xc3\xa9", b"\xff\xfe",
    b"{a,b}", b"a:b", b".hidden", b"sub/-rf", b"sub/deep er/\nx",
)  # fmt: skip


def awkward(folder: Path, *, utf8_only: bool = False) -> Path:
    """A folder with every kind of name, links (two lead nowhere), empty folders, and modes."""
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


def tree(folder: Path, *, modes: bool = True) -> dict[bytes, tuple[object, ...]]:
    """What lies in a folder: content of files with time and mode, targets of links, folders. A folder's mode is as the
    policy of manifests has it: writable by its owner."""
    root, seen = os.fsencode(folder), {}
    for where, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = os.path.join(where, name)
            info = os.lstat(path)
            key, mode = os.path.relpath(path, root), info.st_mode & 0o777 if modes else 0
            if os.path.islink(path):
                seen[key] = ("link", os.readlink(path))
            elif name in folders:
                seen[key] = ("dir", mode | 0o700)
            else:
                seen[key] = ("file", Path(os.fsdecode(path)).read_bytes(), mode, info.st_mtime_ns)
    return seen


def do(work: Awaitable[T]) -> T:
    """The result of one piece of asynchronous work; it has a minute."""

    async def within() -> T:
        return await asyncio.wait_for(work, 60)

    return asyncio.run(within())


@contextmanager
def fails(kind: Kind, saying: str = "") -> Iterator[None]:
    """The block ends in a failure of this kind, which says so."""
    with pytest.raises(TransportFailure) as caught:
        yield
    assert caught.value.kind == kind, str(caught.value)
    assert saying in caught.value.message


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """A filesystem of so many bytes at a new folder; skips where nothing can be mounted."""
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("needs root, and to mount a tmpfs")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def without_power(folder: Path, program: str) -> str:
    """A PATH on which this program runs as a root who may not read what its mode forbids."""
    folder.mkdir()
    shim = folder / program
    caps = "-dac_override,-dac_read_search"
    shim.write_text(f'#!/bin/sh\nexec setpriv --bounding-set={caps} {shutil.which(program)} "$@"\n')
    shim.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


class Beyond:
    """The far end of an sshd on loopback. Paths on both sides need quoting."""

    def __init__(self, folder: Path) -> None:
        self.machine = Far(folder)
        self.root = folder / "far" / "it's $HOME; [x] *"
        self.root.mkdir()
        identity = folder / "near" / "an id"
        identity.write_bytes((folder / "near" / "id").read_bytes())
        identity.chmod(0o600)
        known_hosts = folder / "near" / "known hosts"
        known_hosts.write_bytes(self.machine.known_hosts.read_bytes())
        self.destination = Destination(
            "vault",
            "rsync",
            path=str(self.root),
            host="root@127.0.0.1",
            port=self.machine.port,
            identity=str(identity),
            known_hosts=str(known_hosts),
        )
        self.environ = {"PATH": os.environ["PATH"], "HOME": str(folder / "near/home"), "LC_ALL": "C"}

    def transport(self, *, programs: str = "", **changed: object) -> Rsync:
        """To this destination, with some fields changed; `programs`: the PATH of what it starts."""
        environ = self.environ | ({"PATH": programs} if programs else {})
        return Rsync(msgspec.structs.replace(self.destination, **changed), environ)

    def poor(self, program: str) -> str:
        """Who comes with this key finds a machine without that program."""
        folder = self.machine.far / f"without {program}"
        identity = self.machine.near / f"without-{program}"
        if not folder.exists():
            folder.mkdir()
            for place in ("/usr/bin", "/bin"):
                for name in set(os.listdir(place)) - {program, *os.listdir(folder)}:
                    (folder / name).symlink_to(f"{place}/{name}")
            login = self.machine.far / f"login-without-{program}"
            login.write_text(f"#!/bin/sh\nPATH='{folder}' exec /bin/sh -c \"$SSH_ORIGINAL_COMMAND\"\n")
            login.chmod(0o755)
            new_key(identity)
            with (self.machine.far / "authorized_keys").open("a") as keys:
                keys.write(f'command="{login}",restrict {identity.with_suffix(".pub").read_text()}')
        return str(identity)


def remotes(folder: Path) -> str:
    """A configuration of rclone: `plain:` hashes by itself, `sealed:` cannot (crypt), `memory:` says it can (hasher)."""
    for name in ("plain", "sealed"):
        (folder / name).mkdir(parents=True)
    secret = subprocess.run(["rclone", "obscure", "secret"], check=True, capture_output=True, text=True).stdout.strip()
    config = folder / "rclone conf"
    config.write_text(
        f"[plain]\ntype = alias\nremote = {folder}/plain\n\n"
        f"[sealed]\ntype = crypt\nremote = {folder}/sealed\npassword = {secret}\nfilename_encryption = off\n\n"
        "[memory]\ntype = hasher\nremote = sealed:\nhashes = sha256\n"
    )
    return str(config)
