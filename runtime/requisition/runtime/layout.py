"""Where the runtime keeps its state, and how it writes files that must survive a crash.

runs/<run id>/order.plan     what was run, as it was admitted
runs/<run id>/journal        the write-ahead log
runs/<run id>/receipt.plan   the receipt
runs/<run id>/rollback.plan  the receipt of its rollback, if any
runs/<run id>/run.json       one line about it, for lists
store/                       undo contents by digest
roots/<digest>/              what the receipts together say of one target root: head.json, entries
host.key                     signs receipts
index.db                     where to look in the receipts (requisition.review.history)
"""

import hashlib
import os
import secrets
from datetime import UTC, datetime

from requisition.schemas.diagnostic import BadInput


class StateDir:
    """Paths below one state directory, which belongs to one user alone (0700)."""

    def __init__(self, path: str) -> None:
        """Make the directory when missing. Raises BadInput when others may write to it."""
        self.path = path
        try:
            os.makedirs(path, mode=0o700, exist_ok=True)
            info = os.stat(path)
        except OSError as error:
            raise BadInput.of(
                f"the state directory cannot be used: {error.strerror}",
                where=path,
                next="choose another with --state, or set REQUISITION_STATE",
            ) from error
        if info.st_uid != os.geteuid() or info.st_mode & 0o022:
            raise BadInput.of(
                "the state directory must belong to you alone",
                where=path,
                why="whoever can write there could change what a rollback restores",
                next=f"chown it to yourself and run: chmod 700 {path}",
            )
        for name in ("runs", "store", "roots"):
            os.makedirs(f"{path}/{name}", mode=0o700, exist_ok=True)

    @property
    def store(self) -> str:
        """The undo store."""
        return f"{self.path}/store"

    @property
    def host_key(self) -> str:
        """The key that signs receipts."""
        return f"{self.path}/host.key"

    def run(self, run_id: str) -> str:
        """Directory of a run."""
        return f"{self.path}/runs/{run_id}"

    def run_ids(self) -> list[str]:
        """All runs, oldest first: ids begin with the time."""
        return sorted(name for name in os.listdir(f"{self.path}/runs") if not name.startswith("."))

    def root(self, target_root: str) -> str:
        """Directory of what is known of a target root, made when missing."""
        path = root_directory(self.path, target_root)
        os.makedirs(path, mode=0o700, exist_ok=True)
        return path


def root_directory(state_dir: str, target_root: str) -> str:
    """Where in a state directory it lies; it may not be there."""
    digest = hashlib.sha256(os.fsencode(os.path.realpath(target_root))).hexdigest()[:16]
    return f"{state_dir}/roots/{digest}"


def new_run_id(now: datetime) -> str:
    """Sortable by time to the microsecond, unique by chance: `20261120T153000.123456Z-1f2e`."""
    return f"{now.astimezone(UTC):%Y%m%dT%H%M%S.%fZ}-{secrets.token_hex(2)}"


def write_durably(path: str, data: bytes, mode: int = 0o600) -> None:
    """Replace a file so that a crash leaves the old or the new one: fsync, rename, fsync of the directory."""
    directory, name = os.path.split(path)
    temporary = f"{directory}/.{name}.{secrets.token_hex(4)}"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with open(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    sync_directory(directory)


def sync_directory(path: str) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
