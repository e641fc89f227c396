"""Any remote of rclone. What it cannot hold is told: a remote has no modes, a bucket no empty folders, and a link
travels as a file `NAME.rclonelink` with the link's target in it, which rclone makes a link again (`--links`).

A bucket's folder cannot be renamed as one; publishing says what is done about it.
"""

import json
import tempfile
from collections.abc import Callable, Mapping
from functools import partial

from msgspec import Struct

from requisition.services.delivery import names, progress
from requisition.services.delivery.config import Destination
from requisition.services.delivery.diagnosis import is_rclone_error, of_rclone
from requisition.services.delivery.manifest import Manifest
from requisition.services.delivery.ssh import patience
from requisition.services.delivery.transport import (
    BESIDE,
    INCOMING,
    TWICE,
    Found,
    Progress,
    TransportFailure,
    checked_target,
    incoming,
)
from requisition.services.delivery.verify import compare
from requisition.services.processes import Ended, Limits, run

_NOT_THERE = (3, 4)
_QUICK = Limits(total=300, grace=0.5)
_ERRORS_KEPT = 20
_MOVE = ("--links", "--immutable", "--create-empty-src-dirs")


class _Features(Struct, frozen=True):
    """What `rclone backend features` says of a remote."""

    hashes: bool  # SHA-256, made by the far end itself
    buckets: bool
    empty_folders: bool
    renames_folders: bool


class Rclone:
    """`destination.remote`, "name:path"."""

    def __init__(self, destination: Destination, environ: Mapping[str, str]) -> None:
        self._at = destination
        self._environ = dict(environ)
        self._known: _Features | None = None

    async def probe(self) -> None:
        """See `Transport`."""
        ended, said = await self._run("lsf", "--max-depth", "1", self._there(""))
        if ended.status in _NOT_THERE and (await self._features()).buckets:
            return  # where there are no folders, one that is empty is not there
        self._check(ended, said, "probe")

    async def stage(
        self, source: str, manifest: Manifest, job: str, limit: int | None, on_progress: Callable[[Progress], None]
    ) -> None:
        """See `Transport`. For another limit, a file in transfer begins anew: rclone does not go on within a file."""
        names.check(manifest)
        await self.probe()
        pace = ["--bwlimit", f"{limit}B"] if limit else []
        stats = ["--stats", "1s", "--stats-log-level", "NOTICE", *pace]
        words = ["copy", "--links", "--create-empty-src-dirs", *stats, source, self._there(incoming(job))]
        ended, said = await self._run(*words, hear=partial(_told, on_progress, manifest.size), limits=patience(0))
        self._check(ended, said, "push")

    async def digests(self, place: str, manifest: Manifest) -> Found:
        """See `Transport`."""
        features = await self._features()
        listing = _Listing()

        hashes = ["--hash", "--hash-type", "sha256"] if features.hashes else []
        words = ["lsjson", "--recursive", "--links", *hashes, self._there(place)]
        ended, said = await self._run(*words, lines=listing, limits=patience(manifest.size))
        if ended.status not in _NOT_THERE:
            self._check(ended, said, "look")
        files = listing.files if features.hashes else await self._read_back(place, listing)
        kept = frozenset(listing.folders) if features.empty_folders else None
        return names.found(files, kept, "backend" if features.hashes else "stream", manifest)

    async def publish(self, job: str, target: str, manifest: Manifest) -> None:
        """See `Transport`. Where the remote cannot rename a folder, rclone moves file by file; a move that was cut off
        is ended by the next, and what lies there is looked at once more."""
        checked_target(target)
        await self._refuse_within(target)
        there = compare(await self.digests(target, manifest), manifest)
        if not there.ok:
            if there.mismatched or there.extra:
                raise TransportFailure("conflict", f"something else is at {target!r} of {self._at.name}")
            source = self._there(incoming(job))
            words = ["move", *_MOVE, source, self._there(target)]
            ended, said = await self._run(*words, limits=patience(manifest.size))
            self._check(ended, said, "publish")
            if not (await self._features()).renames_folders:
                there = compare(await self.digests(target, manifest), manifest)
                if not there.ok:
                    raise TransportFailure("hash_mismatch", f"after it was moved at {self._at.name}: {there}")
        elif not manifest.entries:  # nothing is what lies where there is no folder, too
            ended, said = await self._run("mkdir", self._there(target))
            self._check(ended, said, "publish")
        await self.discard(job)

    async def put(self, target: str, name: str, content: bytes) -> None:
        """See `Transport`. From a file: rclone would take the end of a pipe for the end of the content."""
        there = self._there(f"{checked_target(target)}{BESIDE}/{name}")
        with tempfile.NamedTemporaryFile(prefix="delivery-") as file:
            file.write(content)
            file.flush()
            ended, said = await self._run("copyto", "--ignore-times", file.name, there)
        self._check(ended, said, "note")

    async def discard(self, job: str) -> None:
        """See `Transport`."""
        incoming(job)
        ended, said = await self._run("purge", self._there(f"{INCOMING}/{job}"), limits=patience(0))
        if ended.status not in _NOT_THERE:
            self._check(ended, said, "discard")

    async def _features(self) -> _Features:
        if self._known is None:
            text = bytearray()
            ended, said = await self._run("backend", "features", self._there(""), out=text.extend)
            self._check(ended, said, "ask")
            told = json.loads(text)
            able = told["Features"]
            hasher = told["String"].startswith("hasher::")  # remembers what it once sent, and does not look
            self._known = _Features(
                hashes="sha256" in (told["Hashes"] or ()) and not hasher,
                buckets=able["BucketBased"],
                empty_folders=able["CanHaveEmptyDirectories"],
                renames_folders=able["DirMove"],
            )
        return self._known

    async def _read_back(self, place: str, listing: "_Listing") -> dict[bytes, str]:
        """Digests of what rclone fetches, without room for it on this disk. A file that cannot be read twice, while the
        remote answers, is damaged (crypt finds out when it opens a block): it has the digest ""."""
        if not listing.files:
            return {}
        limit = self._at.verify.stream_limit
        if sum(listing.sizes) > limit:
            why = (
                f"has no SHA-256 of its own, and {sum(listing.sizes)} bytes are more than verify.stream_limit, {limit}"
            )
            raise TransportFailure("usage", f"{self._at.name} {why}")
        found = listing.files

        def hashed(line: bytes) -> None:
            digest, _, name = line.decode().partition("  ")
            path = names.meant(name)
            found[path] = digest if found.get(path) == "" else TWICE

        words = ["hashsum", "sha256", "--download", "--links", self._there(place)]
        reading = partial(self._run, *words, lines=hashed, limits=patience(max(listing.sizes)))
        ended, said = await reading()
        if not ended.good and not ended.stopped:
            await self.probe()
            left = "".join(f"{names.shown(path)}\n" for path, digest in found.items() if not digest)
            ended, said = await reading("--files-from-raw", "-", stdin=left.encode())
        if ended.stopped:
            self._check(ended, said, "read back")
        if not ended.good:
            await self.probe()
        return found

    async def _refuse_within(self, target: str) -> None:
        """Nothing is put into what was delivered before."""
        parts = target.split("/")
        for count in range(1, len(parts)):
            beside = "/".join(parts[:count]) + BESIDE
            ended, said = await self._run("lsf", "--max-depth", "1", self._there(beside))
            if ended.good and ended.out:
                raise TransportFailure("conflict", f"{'/'.join(parts[:count])} was delivered: nothing is put into it")
            if ended.status not in _NOT_THERE:
                self._check(ended, said, "look")

    def _there(self, place: str) -> str:
        remote = self._at.remote
        if not place:
            return remote
        return remote + place if remote.endswith((":", "/")) else f"{remote}/{place}"

    async def _run(
        self,
        *words: str,
        limits: Limits = _QUICK,
        lines: Callable[[bytes], None] | None = None,
        out: Callable[[bytes], None] | None = None,
        hear: Callable[[bytes], None] = lambda _: None,
        stdin: bytes = b"",
    ) -> tuple[Ended, list[bytes]]:
        """How it ended, and the first errors it logged: an hour of statistics may follow them."""
        said: list[bytes] = []

        def logged(line: bytes) -> None:
            hear(line)
            if len(said) < _ERRORS_KEPT and is_rclone_error(line):
                said.append(line)

        config = ["--config", self._at.rclone_config] if self._at.rclone_config else []
        options = ["--use-json-log", "--ask-password=false", "--retries", "1", *config]
        reader = progress.Lines(lines) if lines else None
        argv = ["rclone", *options, *words]
        ended = await run(
            argv,
            env=self._environ,
            limits=limits,
            stdin=stdin,
            on_out=reader or out,
            on_err=progress.Lines(logged),
        )
        return ended, said

    def _check(self, ended: Ended, said: list[bytes], what: str) -> None:
        if not ended.good:
            raise of_rclone(ended, b"\n".join(said), f"{what} at {self._at.name}")


class _Listing:
    """What `rclone lsjson` says, line by line: an object a line. Some remotes have two files of one name."""

    def __init__(self) -> None:
        self.files: dict[bytes, str] = {}
        self.folders: set[bytes] = set()
        self.sizes: list[int] = []

    def __call__(self, line: bytes) -> None:
        if not line.startswith(b"{"):
            return
        entry = json.loads(line.rstrip(b","))
        path = names.meant(entry["Path"])
        if entry["IsDir"]:
            self.folders.add(path)
        else:
            self.files[path] = TWICE if path in self.files else entry.get("Hashes", {}).get("sha256", "")
            self.sizes.append(max(0, entry["Size"]))


def _told(on_progress: Callable[[Progress], None], total: int, line: bytes) -> None:
    if (said := progress.of_rclone(line, total)) is not None:
        on_progress(said)
