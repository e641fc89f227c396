"""Git repositories of tests, and keys to sign with that last no longer than the test."""

import os
import subprocess
from pathlib import Path

_ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_AUTHOR_NAME": "Author",
    "GIT_AUTHOR_EMAIL": "author@example.org",
    "GIT_COMMITTER_NAME": "Author",
    "GIT_COMMITTER_EMAIL": "author@example.org",
}


class Repo:
    """A repository that tests write to."""

    def __init__(self, folder: Path, env: dict[str, str] | None = None):
        self.folder = folder
        self.env = _ENVIRONMENT | (env or {})
        if not folder.exists():
            folder.mkdir(parents=True)
            self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *words: str) -> str:
        command = ["git", "-c", "protocol.file.allow=always", *words]
        done = subprocess.run(command, cwd=self.folder, env=self.env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(self, name: str, text: str, *words: str) -> str:
        """Write a file and commit it; the commit."""
        (self.folder / name).write_text(text)
        self.git("add", "--", name)
        self.git(*words, "commit", "--quiet", "-m", f"{name}: {text}")
        return self.git("rev-parse", "HEAD")


class SshKey:
    """An Ed25519 key, and the settings by which git signs with it."""

    def __init__(self, folder: Path, name: str):
        path = folder / name
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", path], check=True)
        self.public = path.with_suffix(".pub").read_text()
        self.allowed = f"{name}@example.org {self.public}".encode()
        self.settings = ("-c", "gpg.format=ssh", "-c", f"user.signingKey={path}")


class GpgKey:
    """An OpenPGP key in a home of its own; close it, so that its agent ends."""

    def __init__(self, home: Path, name: str):
        home.mkdir(mode=0o700)
        self.env = {"GNUPGHOME": str(home)}
        self._run("--quick-generate-key", f"{name} <{name}@example.org>", "ed25519", "sign", "never")
        self.public = self._run("--export", "--armor")
        self.settings = ("-c", f"user.signingKey={name}@example.org")

    def _run(self, *words: str) -> bytes:
        command = ["gpg", "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", "", *words]
        return subprocess.run(command, env=_ENVIRONMENT | self.env, check=True, capture_output=True).stdout

    def close(self) -> None:
        subprocess.run(["gpgconf", "--kill", "all"], env=_ENVIRONMENT | self.env, check=False)
