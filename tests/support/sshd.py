"""A real sshd on loopback, with keys and settings of its own, and a far machine behind it: another state
directory, another trust policy, another root. The near side is `plan` with an `ssh` that knows the way."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
BIN = Path(sys.executable).parent


def skip_without() -> pytest.MarkDecorator:
    missing = os.geteuid() != 0 or SSHD is None or shutil.which("ssh") is None
    return pytest.mark.skipif(missing, reason="needs root, sshd and ssh (Debian: openssh-server, openssh-client)")


def new_key(path: Path) -> Path:
    """An Ed25519 key without a passphrase; its public half lies beside it."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Far:
    """The far machine. `config` of ssh and `known_hosts` belong to the near side."""

    def __init__(self, folder: Path, *, forced: str = ""):
        self.folder = folder
        self.far, self.near = folder / "far", folder / "near"
        for made in (self.far, self.near, self.far / "config/requisition", self.near / "bin", self.near / "home"):
            made.mkdir(parents=True)
        self.state = self.far / "state"
        self.trust = self.far / "config/requisition/trust.yaml"
        self.port = free_port()
        host_key, person = new_key(self.far / "host_key"), new_key(self.near / "id")
        options = f'command="{forced}",restrict ' if forced else ""
        authorized = self.far / "authorized_keys"
        authorized.write_text(options + person.with_suffix(".pub").read_text())
        self.known_hosts = self.near / "known_hosts"
        kind, key, *_ = host_key.with_suffix(".pub").read_text().split()
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {kind} {key}\n")
        self.config = self.near / "ssh_config"
        self.config.write_text(
            f"Host *\n  IdentityFile {person}\n  IdentitiesOnly yes\n  UserKnownHostsFile {self.known_hosts}\n"
            "  GlobalKnownHostsFile /dev/null\n"
        )
        shim = self.near / "bin/ssh"
        shim.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {self.config} "$@"\n')
        shim.chmod(0o755)
        (self.far / "sshd_config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {host_key}\nPidFile none\nUsePAM no\n"
            f"AuthorizedKeysFile {authorized}\nStrictModes no\nPasswordAuthentication no\nLogLevel ERROR\n"
            f"PermitRootLogin prohibit-password\nSetEnv PATH={BIN}:{os.environ['PATH']}"
            f" REQUISITION_STATE={self.state} XDG_CONFIG_HOME={self.far / 'config'}\n"
        )
        Path("/run/sshd").mkdir(exist_ok=True)
        self._daemon = subprocess.Popen(
            [str(SSHD), "-D", "-e", "-f", str(self.far / "sshd_config")], stderr=subprocess.PIPE, start_new_session=True
        )
        self._wait_until_it_listens()

    def _wait_until_it_listens(self) -> None:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert self._daemon.poll() is None, self._daemon.stderr.read()
            time.sleep(0.02)
        raise AssertionError("sshd does not listen")

    @property
    def url(self) -> str:
        return f"ssh://root@127.0.0.1:{self.port}"

    def environment(self) -> dict[str, str]:
        """Of the near side."""
        return {
            "PATH": f"{self.near / 'bin'}:{BIN}:{os.environ['PATH']}",
            "HOME": str(self.near / "home"),
            "XDG_CONFIG_HOME": str(self.near / "config"),
            "REQUISITION_STATE": str(self.near / "state"),
            "LANG": "C.UTF-8",
        }

    def plan(self, *arguments: object, code: int | None = 0) -> str:
        """Run `plan` on the near side; what it prints."""
        done = subprocess.run(
            ["plan", *map(str, arguments)],
            env=self.environment(),
            cwd=self.near,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=120,
            check=False,
        )
        text = done.stdout.decode()
        assert code is None or done.returncode == code, f"exit {done.returncode}\n{text}"
        return text

    def start(self, *arguments: object) -> subprocess.Popen[bytes]:
        """`plan` on the near side, left running."""
        return subprocess.Popen(
            ["plan", *map(str, arguments)],
            env=self.environment(),
            cwd=self.near,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def hang_up(self) -> None:
        """End every connection, as a cable that is pulled would: kill what sshd started for them."""
        for child in children(self._daemon.pid):
            with contextlib.suppress(ProcessLookupError):  # it was just ending by itself
                os.kill(child, signal.SIGKILL)

    def runs(self) -> list[Path]:
        """Directories of the runs over there, oldest first."""
        return sorted((self.state / "runs").glob("2*")) if (self.state / "runs").exists() else []

    def close(self) -> None:
        self.hang_up()
        self._daemon.terminate()
        self._daemon.wait()


def children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]
