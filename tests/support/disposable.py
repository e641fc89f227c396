"""A machine to spoil: the one that tests, under an overlay in memory, with processes and a network of its own.

Packages are installed, users made and services run for real, and nothing of it is left when it is closed.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MOUNT = """set -e
mount -t tmpfs -o size=6g tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
mount --rbind /dev "$1/root/dev"
mount -t proc proc "$1/root/proc"
mount -t tmpfs tmpfs "$1/root/run"
echo mounted
exec chroot "$1/root" sh -c "sleep infinity & wait"  # a first process buries the dead
"""
_INIT = "ip link set lo up; rm -rf /etc/service/* /var/lib/requisition; echo started; exec runsvdir -P /etc/service"
_ENV = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8",
        "DEBIAN_FRONTEND": "noninteractive"}  # fmt: skip


def missing() -> str:
    """Why there can be none here; empty when there can."""
    if os.geteuid() != 0:
        return "a machine to spoil needs root"
    for tool in ("unshare", "nsenter", "ip", "runsvdir", "apt-get"):
        if shutil.which(tool) is None:
            return f"a machine to spoil needs {tool}"
    with tempfile.TemporaryDirectory() as folder:
        tried = subprocess.run(
            ["unshare", "-mpf", "sh", "-c", _MOUNT.replace("exec", "true"), "sh", folder],
            capture_output=True,
            check=False,
        )
    return "" if tried.returncode == 0 else "a machine to spoil needs overlayfs"


class Disposable:
    """Commands run inside of it, as root."""

    def __init__(self, within: list[str]) -> None:
        self._within = within

    def run(self, *argv: str, status: int | None = 0, env: dict[str, str] | None = None) -> str:
        """What a command prints. It must end with `status`; None: with any."""
        done = subprocess.run(
            [*self._within, *argv], capture_output=True, text=True, check=False, cwd="/", env=_ENV | (env or {})
        )
        assert status in (None, done.returncode), f"{argv}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def packages(self) -> list[str]:
        """Packages that are there, with their versions."""
        return self.run("dpkg-query", "-W", "-f", "${Package} ${Version} ${db:Status-Abbrev}\n").splitlines()


@contextmanager
def machine(without: list[str], offered: list[str]) -> Iterator[Disposable]:
    """A machine that lacks some packages and has others at hand to install, though it has no network but itself."""
    with (
        tempfile.TemporaryDirectory(prefix="machine-") as folder,
        _started(
            ["unshare", "-mpf", "--kill-child", "--propagation", "private", "sh", "-c", _MOUNT, "sh", folder]
        ) as mounted,
    ):
        outer = Disposable(["nsenter", "-t", mounted, "-m", "-p", "-r", "-w"])
        outer.run("sh", "-c", 'printf "exit 101" > /usr/sbin/policy-rc.d; chmod +x /usr/sbin/policy-rc.d')
        outer.run("apt-get", "purge", "-y", "-q", "--allow-remove-essential", *without)
        outer.run("rm", "-f", "/usr/sbin/policy-rc.d")
        outer.run("apt-get", "update", "-q")
        outer.run("apt-get", "install", "-y", "-q", "--download-only", "--no-install-recommends", *offered)
        inside = ["nsenter", "-t", mounted, "-m", "-p", "-r", "-w"]
        with _started([*inside, "unshare", "-n", "sh", "-c", _INIT]) as init:
            yield Disposable(["nsenter", "-t", init, "-m", "-p", "-n", "-r", "-w"])


@contextmanager
def _started(argv: list[str]) -> Iterator[str]:
    """Start what says one line and stays; the process id of its child."""
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=_ENV, cwd="/")
    assert process.stdout is not None
    said = process.stdout.readline()
    assert said.strip() in ("mounted", "started"), said + process.stdout.read()
    try:
        yield Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0]
    finally:
        process.kill()
        process.wait()
