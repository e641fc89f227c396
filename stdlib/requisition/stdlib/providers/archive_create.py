"""Archives made of a folder of the target: the same files give the same bytes."""

import hashlib
import shlex
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Annotated

from msgspec import Struct

from requisition.schemas.receipt import Left
from requisition.stdlib.action import ActionError, BaseAction, Change, Done, Satisfied, action
from requisition.stdlib.host import ABSENT, FileChange, Host, Stat
from requisition.stdlib.providers.accounts import gid_of, uid_of
from requisition.stdlib.providers.archive_packing import ZIP_TIMES, Packed, form_of
from requisition.stdlib.providers.file import Group, Mode, Owner, verified
from requisition.stdlib.spec import Output, slot

MAX_FILE = 1 << 30
"""One member is in memory at a time."""
_SHOWN = 16


class CreateSlots(Struct, frozen=True):
    tree: Annotated[str, slot("path", "the folder; all that calls before put below it goes in", writes=True)]
    path: Annotated[str, slot("path", "the archive: .tar, .tar.gz, .tgz, .tar.zst or .zip", claims=True)]
    prefix: Annotated[str, slot("string", "what the names in the archive begin with: app-1.0; empty: nothing")] = ""
    exclude: Annotated[
        list[str], slot("strings", "names to leave out, as *.pyc, or, with a / in them, paths below the folder")
    ] = []
    mtime: Annotated[int, slot("int", "time of all members in seconds since 1970; by default the start of 1980")] = (
        ZIP_TIMES.start
    )
    mode: Mode = 0o644
    owner: Owner = ""
    group: Group = ""


@action(
    "archive.create",
    outputs=(
        Output("path", "path", "the archive"),
        Output("count", "int", "how many members it took from the folder"),
    ),
    blocking=True,
)
class Create(BaseAction[CreateSlots]):
    """Pack a folder. Members are sorted, have the modes 0644 or 0755, no owner and one time, so that the same files
    give the same bytes; a second apply writes nothing. Hard links are packed as files of their own."""

    slots = CreateSlots

    def observe(self, host: Host, slots: CreateSlots) -> Satisfied | Change:
        """Packs it once, to know what comes out."""
        tree = _Tree(host, slots.path, slots.tree, slots.exclude)
        if f"{slots.path}/".startswith(f"{slots.tree.rstrip('/')}/"):
            raise ActionError(f"{slots.path} would hold itself", f"have it outside of {slots.tree}")
        digest, size = hashlib.sha256(), 0
        for chunk in _packed(tree, slots):
            digest.update(chunk)
            size += len(chunk)
        uid, gid = uid_of(host, slots.owner), gid_of(host, slots.group)
        left = Left(slots.path, "file", slots.mode, uid, gid, size, digest.hexdigest())
        outputs = {"path": slots.path, "count": tree.count}
        if host.matches(left):
            return Satisfied(outputs, (left, tree.left()))
        prior = host.capture(slots.path)
        reason = "absent" if prior is ABSENT else "differs"
        return Change(reason, (FileChange(slots.path, prior, left),), (None,), outputs=outputs)

    def do(self, host: Host, slots: CreateSlots, change: Change) -> Done:
        """Pack it again, into the file, as long as it is what was looked at."""
        tree, file = _Tree(host, slots.path, slots.tree, slots.exclude), change.files[0]
        host.put_file(file, verified(_packed(tree, slots), file))
        return Done({"path": slots.path, "count": tree.count}, (file.expect, tree.left()))

    def fingerprint(self, host: Host, left: tuple[Left, ...]) -> tuple[Left, ...]:
        """What the folders hold now: an archive that is behind its folder is drift."""
        return tuple(_now(host, one) for one in left)


def _packed(tree: "_Tree", slots: CreateSlots) -> Iterator[bytes]:
    prefix = slots.prefix.strip("/")
    if any(part in ("", ".", "..") for part in prefix.split("/")[bool(not prefix) :]):
        raise ActionError(f"prefix: {slots.prefix!r} cannot begin a name", "give a relative path without . and ..")
    return form_of(slots.path)(tree.members(prefix), slots.mtime)


class _Tree:
    """A folder as it is read: once `members` has come to its end, `count` and `left` tell what it held."""

    def __init__(self, host: Host, archive: str, path: str, exclude: list[str]) -> None:
        found = host.stat(path)
        if found is None or found.kind != "dir":
            raise ActionError(f"{path} is no folder" if found else f"{path} does not exist", "make it first")
        self._host = host
        self._archive = archive
        self._path = path.rstrip("/")
        self._exclude = exclude
        self._digest = hashlib.sha256()
        self.count = 0

    def members(self, prefix: str = "") -> Iterator[Packed]:
        """Everything below it, parents first, sorted in each folder."""
        if prefix:
            yield Packed(prefix, "dir")
        for name, found in self._below(""):
            member = self._member(name, found)
            self.count += 1
            self._digest.update(repr(member._replace(data=hashlib.sha256(member.data).digest())).encode())
            yield member._replace(name=f"{prefix}/{name}") if prefix else member

    def left(self) -> Left:
        """What it held, for the state view, under a name that says what was asked for."""
        asked = shlex.join([self._archive, self._path or "/", *self._exclude])
        return Left(f"archive:{asked}", "token", token=self._digest.hexdigest()[:_SHOWN])

    def _below(self, folder: str) -> Iterator[tuple[str, Stat]]:
        for base in self._host.listdir(f"{self._path}/{folder}".rstrip("/") or "/"):
            name = f"{folder}{base}"
            found = self._host.stat(f"{self._path}/{name}")
            if found is None or self._is_left_out(name, base):
                continue
            yield name, found
            if found.kind == "dir":
                yield from self._below(f"{name}/")

    def _is_left_out(self, name: str, base: str) -> bool:
        return any(fnmatchcase(name if "/" in pattern else base, pattern.strip("/")) for pattern in self._exclude)

    def _member(self, name: str, found: Stat) -> Packed:
        path = f"{self._path}/{name}"
        try:
            name.encode()
            if found.kind == "dir":
                return Packed(name, "dir")
            if found.kind == "link":
                return Packed(name, "link", self._host.readlink(path).encode())
        except UnicodeEncodeError as error:
            raise ActionError(
                f"{path!r} is not UTF-8 text, or points to what is not", "rename or exclude it"
            ) from error
        if found.kind == "other":
            raise ActionError(f"{path} is a device, socket or pipe", f"leave it out: exclude = [{name!r}]")
        if self._host.holds_secret(path):
            raise ActionError(f"{path} holds a secret, which an archive would give away", "exclude it")
        return Packed(name, "file", self._host.read(path, MAX_FILE), executable=bool(found.mode & 0o111))


def _now(host: Host, left: Left) -> Left:
    archive, path, *exclude = shlex.split(left.path.removeprefix("archive:"))
    try:
        tree = _Tree(host, archive, path, exclude)
    except ActionError:
        return Left(left.path, "absent")
    for _ in tree.members():
        continue
    return tree.left()
