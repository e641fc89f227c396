"""Renaming, and keeping a copy beside."""

import errno
from typing import Annotated

from msgspec import Struct

from requisition.schemas.receipt import Left
from requisition.stdlib.action import (
    ActionError,
    BaseAction,
    Change,
    Done,
    Raced,
    Satisfied,
    action,
)
from requisition.stdlib.host import ABSENT, FileChange, Host, Move
from requisition.stdlib.providers.file import PATH
from requisition.stdlib.spec import Output, slot


class RenameSlots(Struct, frozen=True):
    source: Annotated[str, slot("path", "what to move", writes=True)]
    path: Annotated[str, slot("path", "its new name, which must be free", writes=True)]


@action("file.rename", outputs=PATH)
class Rename(BaseAction[RenameSlots]):
    """Move a file, link or directory to a free name on the same file system."""

    slots = RenameSlots

    def observe(self, host: Host, slots: RenameSlots) -> Satisfied | Change:
        """Done when the source is gone and the new name is there."""
        source, target = host.stat(slots.source), host.stat(slots.path)
        outputs = {"path": slots.path}
        if slots.path.startswith(f"{slots.source}/"):
            raise ActionError(f"{slots.source} cannot be moved into itself", "choose another name")
        if source is None and target is not None:
            return Satisfied(outputs, (Left(slots.source, "absent"),))
        if source is None:
            raise ActionError(f"{slots.source} does not exist", "make it first, with after = […]")
        if target is not None:
            raise ActionError(f"{slots.path} exists already", "remove it first, or choose another name")
        return Change(
            f"was {slots.source}",
            moves=(Move(slots.source, slots.path, source.ino),),
            outputs=outputs,
        )

    def do(self, host: Host, slots: RenameSlots, change: Change) -> Done:
        """One atomic rename that never replaces."""
        try:
            host.rename(slots.source, slots.path)
        except OSError as error:
            if error.errno == errno.EXDEV:
                what = f"{slots.source} and {slots.path} are on different file systems"
                raise ActionError(what, "copy it, then remove the old one") from error
            raise
        return Done({"path": slots.path}, (Left(slots.source, "absent"),))


class BackupSlots(Struct, frozen=True):
    path: Annotated[str, slot("path", "the file to keep a copy of")]
    suffix: Annotated[str, slot("string", "what is added to the copy's name")] = ".bak"


@action("file.backup", outputs=(Output("backup", "path", "the copy's path"), *PATH))
class Backup(BaseAction[BackupSlots]):
    """Copy a file to the same name with a suffix. A copy that is there is left as it is: it is the older one."""

    slots = BackupSlots

    def observe(self, host: Host, slots: BackupSlots) -> Satisfied | Change:
        """Nothing to do when there is nothing to keep, or a copy is there."""
        found = host.stat(slots.path)
        copy = slots.path + slots.suffix
        if not slots.suffix or "/" in slots.suffix:
            raise ActionError(f"the suffix {slots.suffix!r} cannot be used", "give one without a slash, as .bak")
        outputs = {"backup": copy, "path": slots.path}
        if found is None or host.stat(copy) is not None:
            return Satisfied(outputs)
        if found.kind != "file":
            raise ActionError(f"{slots.path} is not a regular file", "only files are backed up")
        mode = found.mode & 0o777  # the copy is ours: it must not run as us for everyone
        sealed = host.holds_secret(slots.path)
        left = Left(copy, "file", mode, -1, -1, found.size, host.digest(slots.path), sealed=sealed)
        return Change("no copy yet", (FileChange(copy, ABSENT, left),), (None,), outputs=outputs)

    def do(self, host: Host, slots: BackupSlots, change: Change) -> Done:
        """Copy it, if it still is what was looked at."""
        file, content = change.files[0], host.read(slots.path)
        if host.digest(slots.path) != file.expect.sha256 or len(content) != file.expect.size:
            raise Raced(f"{slots.path} changed while it was copied")
        host.put_file(file, content)
        return Done({"backup": file.path, "path": slots.path}, (file.expect,))
