"""A folder of another machine, written with rsync over ssh, and hashed there by its own sha256sum.

rsync is given exactly what the manifest names (`--files-from`), each as `./path`, since a name that begins with `#`
would be a comment; `-s` (secluded arguments) keeps the shell over there away from paths. Its temporary files lie
beside the data, so that what a killed rsync leaves is not taken for data; what it had of a file is gone on with.
"""

import os
import tempfile
from collections.abc import Callable, Mapping
from functools import partial

from requisition.services.delivery import far, progress
from requisition.services.delivery.config import Destination
from requisition.services.delivery.diagnosis import of_rsync, of_ssh
from requisition.services.delivery.manifest import Manifest
from requisition.services.delivery.ssh import QUICK, Ssh, patience
from requisition.services.delivery.transport import (
    INCOMING,
    Found,
    Progress,
    TransportFailure,
    checked_target,
    incoming,
)
from requisition.services.delivery.verify import compare, found_in
from requisition.services.processes import Ended, Limits, run

_MOVE = (
    "rsync", "--links", "--dirs", "--perms", "--times", "--chmod=Du+rwx,ug-s", "-s", "--no-human-readable",
    "--timeout=300", "--outbuf=L",
)  # fmt: skip


class Rsync:
    """`destination.path` of `destination.host`, which must be there: an unmounted disk is not a place to write to."""

    def __init__(self, destination: Destination, environ: Mapping[str, str]) -> None:
        self._at = destination
        self._environ = dict(environ)
        self._ssh = Ssh(destination.host, destination.port, destination.identity, destination.known_hosts, environ)

    async def probe(self) -> None:
        """See `Transport`."""
        await self._do("probe", far.PROBE)

    async def stage(
        self, source: str, manifest: Manifest, job: str, limit: int | None, on_progress: Callable[[Progress], None]
    ) -> None:
        """See `Transport`."""
        place = incoming(job)
        part = await self._do("prepare", far.PREPARE, f"./{INCOMING}/{job}")
        pace = [f"--bwlimit={max(1, limit // 1024)}"] if limit else []  # in KiB
        argv = [
            *_MOVE, *pace, "--files-from=-", "--from0", "--info=progress2,flist0", f"--partial-dir=.partial-{job}",
            "--temp-dir=" + os.fsdecode(part.removesuffix(b"\n")),
            f"--rsh={self._shell()}", "--", os.path.join(source, ""), self._address(place),
        ]  # fmt: skip
        names = b"".join(b"./" + one.path + b"\0" for one in manifest.entries)
        hear = progress.Lines(partial(_told, on_progress, manifest.size))
        ended = await run(argv, env=self._environ, stdin=names, limits=patience(manifest.largest), on_out=hear)
        if not ended.good:
            raise of_rsync(ended, f"push to {self._at.name}")

    async def digests(self, place: str, manifest: Manifest) -> Found:
        """See `Transport`."""
        reading = far.Listing()
        ended = await self._run(far.DIGESTS, f"./{place}", limits=patience(manifest.largest), on_out=reading)
        if ended.status == far.NO_TOOLS:
            return await self._read_back(place, manifest)
        if not ended.good:
            raise of_ssh(ended, f"look at {self._at.name}")
        return reading.found()

    async def publish(self, job: str, target: str, manifest: Manifest) -> None:
        """See `Transport`."""
        checked_target(target)
        flushing = patience(manifest.size)
        ended = await self._run(far.PUBLISH, f"./{INCOMING}/{job}", f"./{target}", limits=flushing)
        if ended.status == far.EXISTS:
            if not compare(await self.digests(target, manifest), manifest).ok:
                raise TransportFailure("conflict", f"something else is at {target!r} of {self._at.name}")
            await self.discard(job)
        elif not ended.good:
            raise of_ssh(ended, f"publish at {self._at.name}")

    async def put(self, target: str, name: str, content: bytes) -> None:
        """See `Transport`."""
        await self._do("note", far.PUT, f"./{checked_target(target)}", name, stdin=content)

    async def discard(self, job: str) -> None:
        """See `Transport`."""
        incoming(job)
        ended = await self._run(far.DISCARD, f"./{INCOMING}/{job}", limits=patience(0))
        if not ended.good:
            raise of_ssh(ended, f"discard at {self._at.name}")

    async def _read_back(self, place: str, manifest: Manifest) -> Found:
        """For a far end without GNU tools: fetch all of it, and hash it here."""
        limit = self._at.verify.stream_limit
        if manifest.size > limit:
            why = f"has no sha256sum, and {manifest.size} bytes are more than verify.stream_limit, {limit}"
            raise TransportFailure("usage", f"{self._at.name} {why}")
        with tempfile.TemporaryDirectory(prefix="delivery-") as scratch:
            options = ["--recursive", f"--rsh={self._shell()}", f"--max-size={limit}"]
            argv = [*_MOVE, *options, "--", self._address(place), scratch]
            ended = await run(argv, env=self._environ, limits=patience(manifest.size))
            if not ended.good:
                raise of_rsync(ended, f"read back from {self._at.name}", near="receiver")
            return await found_in(scratch, "stream")

    async def _do(self, what: str, script: str, *arguments: str, stdin: bytes = b"") -> bytes:
        ended = await self._run(script, *arguments, stdin=stdin)
        if not ended.good:
            raise of_ssh(ended, f"{what} at {self._at.name}")
        return ended.out

    async def _run(
        self,
        script: str,
        *arguments: str,
        stdin: bytes = b"",
        limits: Limits = QUICK,
        on_out: Callable[[bytes], None] | None = None,
    ) -> Ended:
        ended = await self._ssh.run(script, self._at.path, *arguments, stdin=stdin, limits=limits, on_out=on_out)
        if ended.status == far.NO_FOLDER:
            raise TransportFailure("usage", f"{self._at.name}: {ended.err.decode(errors='replace').strip()}")
        return ended

    def _address(self, place: str) -> str:
        return f"{self._at.host}:{self._at.path}/{place}/"

    def _shell(self) -> str:
        """ssh as one argument: rsync(1) splits it at spaces, knows both quotes, and doubles them to write them."""
        return " ".join("'" + word.replace("'", "''") + "'" for word in self._ssh.program())


def _told(on_progress: Callable[[Progress], None], total: int, line: bytes) -> None:
    if (said := progress.of_rsync(line, total)) is not None:
        on_progress(said)
