"""What is kept of a job for ever, in files: what exactly was delivered, and the receipt of it."""

import hashlib
import os

import msgspec
from msgspec import Struct

from requisition.schemas.diagnostic import Failed
from requisition.services.clock import timestamp
from requisition.services.delivery.job import Job
from requisition.services.delivery.manifest import Manifest, parse

MANIFEST = "SHA256SUMS"
RECEIPT = "receipt.json"


class Receipt(Struct, frozen=True, kw_only=True):
    """What was delivered, and that it was compared. `manifest`: SHA-256 of the file SHA256SUMS beside this one;
    `passes`: how often all of it was found to be there, the last time at `verified_at`, by `strategy`."""

    version: str = "1"
    job: str
    destination: str
    target: str
    manifest: str
    files: int
    bytes: int
    passes: int
    verified_at: str
    strategy: str


def receipt(job: Job, passes: int, now: float, strategy: str) -> bytes:
    """The receipt's text."""
    made = Receipt(
        job=job.id,
        destination=job.destination,
        target=job.target,
        manifest=job.manifest,
        files=job.files,
        bytes=job.bytes,
        passes=passes,
        verified_at=timestamp(now),
        strategy=strategy,
    )
    return msgspec.json.format(msgspec.json.encode(made), indent=2) + b"\n"


class Records:
    """The folder `manifests/` of the queue's state."""

    def __init__(self, folder: str) -> None:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        self._folder = folder

    def save(self, job: str, name: str, content: bytes) -> None:
        """Keep a file about a job, durably, in the place of an older one."""
        below = os.path.join(self._folder, job)
        os.makedirs(below, mode=0o700, exist_ok=True)
        path = os.path.join(below, name)
        with open(os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(f"{path}.new", path)
        for one in (below, self._folder):
            fd = os.open(one, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def manifest(self, job: Job) -> Manifest:
        """What the job delivers, as it was hashed. Raises Failed when that file is not what the queue remembers."""
        path = os.path.join(self._folder, job.id, MANIFEST)
        try:
            with open(path, "rb") as file:
                text = file.read()
        except OSError as error:
            raise _lost(job, path, error.strerror or str(error)) from error
        if hashlib.sha256(text).hexdigest() != job.manifest:
            raise _lost(job, path, "it was changed")
        return parse(text, path)


def _lost(job: Job, path: str, why: str) -> Failed:
    return Failed.of(f"the manifest of job {job.id} cannot be read", where=path, why=why, next="deliver it again")
