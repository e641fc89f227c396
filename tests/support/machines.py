"""Machines of the tests' own: Linux namespaces with another first process and some folders of their own, on the files
of this machine. What is done inside is gone when the machine ends, and so is every process."""

import os
import select
import shutil
import socket
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.process import Answer, request, run_runtime

SYSTEMD = "/usr/lib/systemd/systemd"
_UNSHARE = ["unshare", "--fork", "--pid", "--mount", "--uts", "--ipc", "--cgroup", "--kill-child"]
_QUIET = "[Unit]\nDescription=Nothing but what a test starts\nDefaultDependencies=no\n"
_STARTS = "sysinit.target systemd-tmpfiles-setup.service systemd-machine-id-commit.service systemd-sysusers.service"
"""What a machine does at its start would be done to the files of this one: units under test have DefaultDependencies=no,
and one that has not is refused instead of starting all that."""
_COMMON = """
set -e
echo $$ > {cgroup}/cgroup.procs
exec unshare --cgroup sh -e -c '
mount --make-rprivate /
mount -t proc proc /proc
mount -o bind,ro /proc/sys /proc/sys
mount -t tmpfs -o mode=755 tmpfs /run
{mounts}
exec env -i PATH="$PATH" {init}'
"""
_OWN = "mount -t tmpfs -o mode=755 tmpfs {0}\n"
_LAID_OVER = (
    "mkdir -p /run/own{0}/upper /run/own{0}/work\n"
    "mount -t overlay -o lowerdir={0},upperdir=/run/own{0}/upper,workdir=/run/own{0}/work overlay {0}\n"
)


class Machine:
    """A machine that runs. `wrapper` is what goes before a command that is to run in it."""

    def __init__(self, pid: int):
        self.wrapper = ["nsenter", f"--target={pid}", "--mount", "--pid", "--uts", "--ipc", "--cgroup", "--wd=/"]

    def run(self, *argv: str) -> str:
        """What a command in it prints; it must succeed."""
        done = subprocess.run([*self.wrapper, *argv], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def says(self, *argv: str) -> str:
        """The same, whatever its status."""
        return subprocess.run([*self.wrapper, *argv], capture_output=True, text=True, check=False).stdout.strip()

    def write(self, path: str, text: str, mode: str = "644") -> None:
        """A file in it."""
        argv = [*self.wrapper, "sh", "-c", 'cat > "$1" && chmod "$2" "$1"', "sh", path, mode]
        subprocess.run(argv, input=text, text=True, check=True)

    def plan(self, verb: str, state: Path, order: Path | str = "", **fields) -> Answer:
        """The runtime, in it."""
        return run_runtime(request(verb, state, order, **fields), *self.wrapper)


@contextmanager
def systemd_machine(folder: Path) -> Iterator[Machine]:
    """A machine whose first process is systemd, and whose /etc/systemd is empty. Nothing is started by itself."""
    ready = folder / "notify"
    if not os.path.exists(SYSTEMD):
        pytest.skip("systemd is not installed")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as said:
        said.bind(str(ready))
        said.settimeout(30)
        mounts = _OWN.format("/etc/systemd") + (
            "mount -t cgroup2 cgroup2 /sys/fs/cgroup\n"
            "mkdir -p /run/lock /run/systemd/system /etc/systemd/system\n"
            f"for unit in {_STARTS}; do ln -s /dev/null /run/systemd/system/$unit; done\n"
            "tr -d - < /proc/sys/kernel/random/uuid > /run/id\n"
            "if [ -e /etc/machine-id ]; then mount --bind /run/id /etc/machine-id; fi\n"
            f'printf "{_QUIET}" > /run/systemd/system/quiet.target'
        ).replace("\n[", "\\n[")
        init = f"container=test NOTIFY_SOCKET={ready} {SYSTEMD} --unit=quiet.target --log-target=null"
        with _machine(mounts, init) as (process, machine):
            while b"READY=1" not in said.recv(4096):
                assert process.poll() is None
            yield machine


@contextmanager
def plain_machine(*own: str) -> Iterator[Machine]:
    """A machine whose first process does nothing but bury the dead. What is written to these folders is only seen in it."""
    mounts = "".join(_LAID_OVER.format(path) for path in own)
    with _machine(mounts, 'sh -c "echo ready; sleep infinity & wait"') as (process, machine):
        assert process.stdout.readline() == "ready\n"
        yield machine


@contextmanager
def _machine(mounts: str, init: str) -> Iterator[tuple[subprocess.Popen[str], Machine]]:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("a machine of its own needs root, and unshare")
    with _cgroup() as cgroup:
        script = _COMMON.format(cgroup=cgroup, mounts=mounts, init=init)
        argv = [*_UNSHARE, "sh", "-c", script]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            first = -1
            try:
                children = f"/proc/{process.pid}/task/{process.pid}/children"
                while not (found := Path(children).read_text().split()):
                    if process.poll() is not None:
                        pytest.skip(f"no machine of its own can be had here: {process.stderr.read()}")
                first = os.pidfd_open(int(found[0]))
                yield process, Machine(int(found[0]))
            finally:
                process.kill()
                _ended(first)


def _ended(first: int) -> None:
    """Wait for the first process of a machine, which is the last one to end."""
    if first >= 0:
        waiting = select.poll()
        waiting.register(first, select.POLLIN)
        waiting.poll(30_000)
        os.close(first)


@contextmanager
def _cgroup() -> Iterator[Path]:
    """A control group for the machine, so that nothing of it stays behind."""
    rows = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    place = next((row[1] for row in rows if row[2] == "cgroup2"), "")
    if not place or not os.access(place, os.W_OK):
        pytest.skip("there is no cgroup2 that can be written")
    own = next(line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))
    made = Path(f"{place}{own}") / f"test-{uuid.uuid4().hex[:12]}"
    made.mkdir()
    try:
        yield made
    finally:
        for folder, _, _ in os.walk(made, topdown=False):
            os.rmdir(folder)
