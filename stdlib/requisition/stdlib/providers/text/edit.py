"""One edit of one file: read, change the text, have it checked by its own program, put it in place."""

from collections.abc import Callable, Sequence
from typing import Annotated

from requisition.stdlib.action import ActionError, Change, Done, Satisfied
from requisition.stdlib.host import ABSENT, FileChange, Host
from requisition.stdlib.providers.accounts import gid_of, uid_of
from requisition.stdlib.spec import slot

LIMIT = 16 << 20

EditedPath = Annotated[str, slot("path", "the file", writes=True)]
Create = Annotated[bool, slot("bool", "make the file when it does not exist")]
NewMode = Annotated[int, slot("mode", "permission bits of a file that is made; others keep theirs")]
NewOwner = Annotated[str, slot("string", "owner of a file that is made")]
NewGroup = Annotated[str, slot("string", "group of a file that is made")]
Validate = Annotated[
    list[str],
    slot("strings", "command that must accept the new file before it is put in place; %s stands for its path"),
]

MISSING_HINT = "make it first, or set create = True"


class New:
    """How a file that does not exist yet is made; None where it must exist."""

    def __init__(self, create: bool, mode: int, owner: str, group: str) -> None:
        self.create = create
        self.mode = mode
        self.owner = owner
        self.group = group


def observe_edit(host: Host, path: str, new: New, edit: Callable[[str], str]) -> Satisfied | Change:
    """What it takes for `path` to be as `edit` would leave it. `edit` is idempotent, and raises ActionError."""
    found = host.stat(path)
    if found is None:
        if not new.create:
            raise ActionError(f"{path} does not exist", MISSING_HINT)
        content = _edited(path, edit, "")
        left = host.expect_file(path, content, new.mode, uid_of(host, new.owner), gid_of(host, new.group))
        return Change("absent", (FileChange(path, ABSENT, left),), (content,), None, {"path": path}, left.sealed)
    if found.kind != "file":
        raise ActionError(f"{path} is a {found.kind}, not a file", "name the file itself")
    before = host.read(path, LIMIT)
    content = _edited(path, edit, _decoded(path, before))
    sealed = host.holds_secret(path)
    left = host.expect_file(path, content, found.mode, found.uid, found.gid, sealed=sealed)
    if content == before:
        return Satisfied({"path": path}, (left,))
    return Change("differs", (FileChange(path, host.capture(path), left),), (content,), None, {"path": path}, sealed)


def put_edit(host: Host, change: Change, validate: Sequence[str]) -> Done:
    """Make the change of `observe_edit`, once its own program accepts it."""
    file, content = change.files[0], change.contents[0]
    if content is None:
        raise ActionError(f"{file.path} has no new content")
    if validate:
        _validate(host, file.path, content, validate)
    host.put_file(file, content)
    return Done({"path": file.path}, (file.expect,))


def _edited(path: str, edit: Callable[[str], str], text: str) -> bytes:
    try:
        return edit(text).encode()
    except ActionError as error:
        raise ActionError(f"{path}: {error}", error.hint) from error


def _decoded(path: str, content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ActionError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}") from error


def _validate(host: Host, path: str, content: bytes, command: Sequence[str]) -> None:
    if not any("%s" in word for word in command):
        raise ActionError("validate names no %s, where the new file's path goes")
    place = host.scratch_file(path.rpartition("/")[2], content)
    done = host.run([word.replace("%s", place) for word in command], timeout_ms=60_000)
    if done.status != 0:
        said = (done.stderr.strip() or done.stdout.strip()).decode("utf-8", "replace")
        shown = "its words may hold a secret" if host.holds_secret(path) else said.replace(place, path)[-400:]
        raise ActionError(f"{command[0]} refuses the new {path}: {shown}", "nothing was changed; correct the package")


def line_end(text: str) -> str:
    """The line end that a text uses."""
    return "\r\n" if "\r\n" in text else "\n"
