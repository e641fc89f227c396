"""Archives: extracted file by file through the host, so that each file is journaled and can be undone."""

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, BinaryIO

from msgspec import Struct

from requisition.schemas.receipt import Left
from requisition.stdlib.action import ActionError, BaseAction, Change, Done, Satisfied, action
from requisition.stdlib.host import ABSENT, FileChange, Host
from requisition.stdlib.providers.archive_members import Member, chunks, members
from requisition.stdlib.providers.file import missing_parents, verified
from requisition.stdlib.spec import Output, slot

MAX_ARCHIVE = 1 << 30


class ExtractSlots(Struct, frozen=True):
    path: Annotated[str, slot("path", "directory to extract into; made when missing", claims=True)]
    source: Annotated[str, slot("input", "the archive, a file of the package")] = ""
    archive: Annotated[str, slot("path", "the archive, a file of the target (as net.download leaves it)")] = ""
    strip: Annotated[int, slot("int", "leading parts of each name to drop")] = 0


@action(
    "archive.extract",
    outputs=(Output("path", "path", "the directory"), Output("count", "int", "how many members")),
    blocking=True,
)
class Extract(BaseAction[ExtractSlots]):
    """Extract a tar (plain, gz, bz2, xz, zst) or zip archive. Traversal, links out, devices and bombs are
    refused before anything is written."""

    slots = ExtractSlots

    def observe(self, host: Host, slots: ExtractSlots) -> Satisfied | Change:
        """Reads the whole archive and compares every member with what is there."""
        if bool(slots.source) == bool(slots.archive):
            raise ActionError("give either `source` or `archive`", "source is a file of the package")
        if slots.strip < 0:
            raise ActionError(f"strip = {slots.strip} drops nothing", "give the number of leading parts, or 0")
        lefts = [Left(slots.path, "dir", 0o755)]
        lefts += self._expected(host, slots)
        outputs = {"path": slots.path, "count": len(lefts) - 1}
        wanted = [left for left in lefts if not _there(host, left)]
        if not wanted:
            return Satisfied(outputs, tuple(lefts))
        above = [FileChange(p, ABSENT, Left(p, "dir", 0o755)) for p in missing_parents(host, slots.path)]
        files = (*above, *(FileChange(left.path, host.capture(left.path), left) for left in wanted))
        return Change(f"{len(wanted)} of {len(lefts)} members", files, outputs=outputs)

    def _expected(self, host: Host, slots: ExtractSlots) -> Iterator[Left]:
        digests: dict[str, tuple[str, int, int]] = {}
        directories: set[str] = set()
        with _opened(host, slots) as (file, label, packed):
            for member in members(file, label, packed, slots.strip):
                path = f"{slots.path.rstrip('/')}/{member.name}"
                parts = member.name.split("/")
                for depth in range(1, len(parts)):
                    parent = "/".join(parts[:depth])
                    if parent not in directories:
                        directories.add(parent)
                        yield Left(f"{slots.path.rstrip('/')}/{parent}", "dir", 0o755)
                if member.kind == "dir":
                    if member.name not in directories:
                        directories.add(member.name)
                        yield Left(path, "dir", member.mode)
                elif member.kind == "link":
                    yield Left(path, "link", target=member.target)
                else:
                    digests[member.name] = _digest(member, label, digests)
                    sha256, size, mode = digests[member.name]
                    yield Left(path, "file", mode, size=size, sha256=sha256)

    def do(self, host: Host, slots: ExtractSlots, change: Change) -> Done:
        """Second pass: write what differs, in the archive's order, as long as it is what was looked at."""
        files = {one.path: one for one in change.files}
        for one in change.files:
            if one.expect.kind == "dir":
                host.make_dir(one)
        count = 0
        with _opened(host, slots) as (file, label, packed):
            for member in members(file, label, packed, slots.strip):
                count += 1
                wanted = files.get(f"{slots.path.rstrip('/')}/{member.name}")
                if wanted is None or member.kind == "dir":
                    continue
                if member.kind == "link":
                    host.make_link(wanted)
                elif member.kind == "hard":
                    earlier = host.read(f"{slots.path.rstrip('/')}/{member.target}")
                    host.put_file(wanted, verified([earlier], wanted))
                else:
                    host.put_file(wanted, verified(chunks(member, label), wanted))
        return Done({"path": slots.path, "count": count}, tuple(one.expect for one in change.files))


def _there(host: Host, left: Left) -> bool:
    """As wanted already; a directory that exists keeps its mode."""
    if left.kind == "dir":
        found = host.stat(left.path)
        return found is not None and found.kind == "dir"
    return host.matches(left)


def _digest(member: Member, label: str, earlier: dict[str, tuple[str, int, int]]) -> tuple[str, int, int]:
    if member.kind == "hard":
        return earlier[member.target]
    digest = hashlib.sha256()
    for chunk in chunks(member, label):
        digest.update(chunk)
    return digest.hexdigest(), member.size, member.mode


@contextmanager
def _opened(host: Host, slots: ExtractSlots) -> Iterator[tuple[BinaryIO, str, int]]:
    """(file, its name for messages, its size)."""
    if slots.source:
        with host.open_input(slots.source) as file:
            yield file, slots.source, host.input_digest(slots.source)[1]
        return
    content = host.read(slots.archive, MAX_ARCHIVE)
    yield io.BytesIO(content), slots.archive, len(content)
