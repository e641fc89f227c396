"""What is done to files that are there: read, change mode and owner, remove."""

from typing import Annotated

from msgspec import Struct

from requisition.schemas.receipt import Left, LeftKind
from requisition.stdlib.action import ActionError, BaseAction, Change, Done, Satisfied, action
from requisition.stdlib.host import FileChange, Host, Move
from requisition.stdlib.providers.accounts import gid_of, uid_of
from requisition.stdlib.providers.file import PATH, Group, Owner
from requisition.stdlib.spec import Output, slot

READ_LIMIT = 16 << 20
Existing = Annotated[str, slot("path", "the path", writes=True)]


class ReadSlots(Struct, frozen=True):
    path: Annotated[str, slot("path", "the file to read")]


@action(
    "file.read",
    outputs=(Output("content", "content", "what the file holds"), *PATH),
    effect="outside",
    repeatable=True,
    looks=True,
)
class Read(BaseAction[ReadSlots]):
    """Read a file of the target, of up to 16 MiB, for other nodes to use."""

    slots = ReadSlots

    def observe(self, host: Host, slots: ReadSlots) -> Satisfied | Change:
        """Reading is all there is to do."""
        if host.holds_secret(slots.path) and not host.sealed:
            raise ActionError(
                f"{slots.path} holds a secret of an earlier order", "give it where it is needed with plan.secret"
            )
        return Satisfied({"content": host.read(slots.path, READ_LIMIT), "path": slots.path})


class ChmodSlots(Struct, frozen=True):
    path: Existing
    mode: Annotated[int | None, slot("mode", "permission bits; unset: leave them")] = None
    owner: Owner = ""
    group: Group = ""


@action("file.chmod", outputs=PATH)
class Chmod(BaseAction[ChmodSlots]):
    """Set mode and owner of a file or directory that exists."""

    slots = ChmodSlots

    def observe(self, host: Host, slots: ChmodSlots) -> Satisfied | Change:
        """Compares mode and owner only."""
        path = slots.path
        found = host.stat(path)
        if found is None or found.kind not in ("file", "dir"):
            raise ActionError(f"{path} is not a file or directory", "make it first, with after = […]")
        mode = found.mode if slots.mode is None else slots.mode
        uid, gid = uid_of(host, slots.owner), gid_of(host, slots.group)
        same = mode == found.mode and uid in (-1, found.uid) and gid in (-1, found.gid)
        kind: LeftKind = "file" if found.kind == "file" else "dir"
        if kind == "file":
            digest = host.digest(path)
            left = Left(path, kind, mode, uid, gid, found.size, digest, sealed=host.holds_secret(path))
        else:
            left = Left(path, kind, mode, uid, gid)
        if same:
            return Satisfied({"path": path}, (left,))
        change = FileChange(path, host.capture(path, content=False), left)
        return Change(f"mode {found.mode:04o}", (change,), outputs={"path": path})

    def do(self, host: Host, slots: ChmodSlots, change: Change) -> Done:
        """Set them through a descriptor of the very file that was looked at."""
        host.set_meta(change.files[0])
        return Done({"path": slots.path}, (change.files[0].expect,))


class RemoveSlots(Struct, frozen=True):
    path: Existing
    recursive: Annotated[bool, slot("bool", "also remove what is in a directory")] = False
    kind: Annotated[str, slot("string", "remove it only if it is a file, dir or link; empty: any")] = ""
    aside: Annotated[str, slot("string", "move it aside instead: what is added to its name, as .bak")] = ""


@action("file.remove", outputs=PATH)
class Remove(BaseAction[RemoveSlots]):
    """Remove a file, link or directory; its content is kept for undo. Or move it aside."""

    slots = RemoveSlots

    def observe(self, host: Host, slots: RemoveSlots) -> Satisfied | Change:
        """One change for each entry, children first."""
        path = slots.path
        gone = Left(path, "absent")
        found = host.stat(path)
        if found is None:
            return Satisfied({"path": path}, (gone,))
        if path == "/":
            raise ActionError("the target root itself is not removed", "name what is to go below it")
        if slots.kind and found.kind != slots.kind:
            raise ActionError(f"{path} is a {found.kind}, not a {slots.kind}", "look at it, and remove it by hand")
        if slots.aside:
            return _moved(host, slots, found.ino)
        if found.kind == "dir" and not slots.recursive and host.listdir(path):
            raise ActionError(f"{path} is a directory that is not empty", "set recursive = True")
        below = [entry for entry, _ in host.walk(path)]
        files = tuple(FileChange(p, host.capture(p), Left(p, "absent")) for p in reversed(below))
        return Change("present", files, outputs={"path": path})

    def do(self, host: Host, slots: RemoveSlots, change: Change) -> Done:
        """Remove each entry that is still as it was."""
        for one in change.files:
            host.delete(one)
        for move in change.moves:
            host.rename(move.source, move.path)
        gone = tuple(one.expect for one in change.files)
        return Done({"path": slots.path}, gone or (Left(slots.path, "absent"),))


def _moved(host: Host, slots: RemoveSlots, ino: int) -> Change:
    aside = slots.path + slots.aside
    if "/" in slots.aside:
        raise ActionError(f"{slots.aside!r} cannot be added to a name", "give it without a slash, as .bak")
    if host.stat(aside) is not None:
        raise ActionError(f"{aside} exists already", "move it away: what was kept before is not replaced")
    return Change(f"moved to {aside}", moves=(Move(slots.path, aside, ino),), outputs={"path": slots.path})


class UnlinkSlots(Struct, frozen=True):
    path: Existing


@action("file.unlink", outputs=PATH)
class Unlink(BaseAction[UnlinkSlots]):
    """Remove a link or file, never a directory."""

    slots = UnlinkSlots

    def observe(self, host: Host, slots: UnlinkSlots) -> Satisfied | Change:
        """Refuses a directory."""
        path = slots.path
        gone = Left(path, "absent")
        found = host.stat(path)
        if found is None:
            return Satisfied({"path": path}, (gone,))
        if found.kind == "dir":
            raise ActionError(f"{path} is a directory", "use plan.file.remove")
        return Change("present", (FileChange(path, host.capture(path), gone),), outputs={"path": path})

    def do(self, host: Host, slots: UnlinkSlots, change: Change) -> Done:
        """Remove it if it is still as it was."""
        host.delete(change.files[0])
        return Done({"path": slots.path}, (change.files[0].expect,))
