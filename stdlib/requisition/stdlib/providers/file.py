"""Files, directories and links that the package puts in place."""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

from msgspec import Struct

from requisition.schemas.receipt import Left
from requisition.stdlib.action import ActionError, BaseAction, Change, Done, Raced, Satisfied, action
from requisition.stdlib.host import ABSENT, FileChange, Host
from requisition.stdlib.providers.accounts import gid_of, uid_of
from requisition.stdlib.spec import Output, slot

PATH = (Output("path", "path", "the path, for nodes that use it"),)
KEEP_CONTENT = 1 << 20
"""Contents up to this size stay in memory between observation and effect, for diffs too."""

Target = Annotated[str, slot("path", "where it goes", claims=True)]
Mode = Annotated[int, slot("mode", "permission bits")]
Owner = Annotated[str, slot("string", "owning user, by name or number; empty: whoever applies")]
Group = Annotated[str, slot("string", "owning group, by name or number; empty: the user's")]


class MkdirSlots(Struct, frozen=True):
    path: Target
    mode: Mode = 0o755
    parents: Annotated[bool, slot("bool", "also make missing parents, with mode 0755")] = True
    owner: Owner = ""
    group: Group = ""
    keep: Annotated[bool, slot("bool", "leave mode and owner of a directory that is there as they are")] = False


@action("file.mkdir", outputs=PATH)
class Mkdir(BaseAction[MkdirSlots]):
    """Make a directory."""

    slots = MkdirSlots

    def observe(self, host: Host, slots: MkdirSlots) -> Satisfied | Change:
        """One change for the directory, one for each missing parent."""
        path = slots.path
        left = Left(path, "dir", slots.mode, uid_of(host, slots.owner), gid_of(host, slots.group))
        outputs = {"path": path}
        if slots.keep and (found := host.stat(path)) is not None and found.kind == "dir":
            return Satisfied(outputs, (Left(path, "dir", found.mode),))
        if host.matches(left):
            return Satisfied(outputs, (left,))
        prior = host.capture(path)
        files = [FileChange(path, prior, left)]
        if prior is ABSENT:
            files = [
                *(FileChange(p, ABSENT, Left(p, "dir", 0o755)) for p in missing_parents(host, path)),
                *files,
            ]
            if len(files) > 1 and not slots.parents:
                raise ActionError(f"{path}: its parent does not exist", "set parents = True, or make it first")
        return Change("absent" if prior is ABSENT else "differs", tuple(files), outputs=outputs)

    def do(self, host: Host, slots: MkdirSlots, change: Change) -> Done:
        """Make what is missing, outermost first; set mode and owner of what is there."""
        for one in change.files:
            if one.prior.kind == "dir":
                host.set_meta(one)
            else:
                host.make_dir(one)
        return Done({"path": slots.path}, tuple(one.expect for one in change.files))


def missing_parents(host: Host, path: str) -> list[str]:
    """Parents that do not exist, outermost first."""
    missing = []
    parent = path.rpartition("/")[0]
    while parent and host.stat(parent) is None:
        missing.append(parent)
        parent = parent.rpartition("/")[0]
    return missing[::-1]


class CopySlots(Struct, frozen=True):
    source: Annotated[str, slot("input", "a file of the package")]
    path: Target
    mode: Annotated[int | None, slot("mode", "permission bits; by default those of the file in the package")] = None
    owner: Owner = ""
    group: Group = ""


@action("file.copy", outputs=PATH)
class Copy(BaseAction[CopySlots]):
    """Copy a file of the package into place."""

    slots = CopySlots

    def observe(self, host: Host, slots: CopySlots) -> Satisfied | Change:
        """Compares with the pinned digest; the content is read only when it must change."""
        path, source = slots.path, slots.source
        digest, size, mode = host.input_digest(source)
        if slots.mode is not None:
            mode = slots.mode
        left = Left(path, "file", mode, uid_of(host, slots.owner), gid_of(host, slots.group), size, digest)
        outputs = {"path": path}
        if host.matches(left):
            return Satisfied(outputs, (left,))
        prior = host.capture(path)
        content = host.input(source) if size <= KEEP_CONTENT else None
        return Change(
            "absent" if prior is ABSENT else "differs",
            (FileChange(path, prior, left),),
            (content,),
            None,
            outputs,
        )

    def do(self, host: Host, slots: CopySlots, change: Change) -> Done:
        """Write it beside the target, then rename."""
        file, content = change.files[0], change.contents[0]
        if content is not None:
            host.put_file(file, content)
        else:
            with host.open_input(slots.source) as source:
                host.put_file(file, iter(lambda: source.read(KEEP_CONTENT), b""))
        return Done({"path": slots.path}, (file.expect,))


class LinkSlots(Struct, frozen=True):
    target: Annotated[str, slot("string", "what the link points to, as it will be written in it")]
    path: Target
    owner: Owner = ""
    group: Group = ""


@action("file.link", outputs=PATH)
class Link(BaseAction[LinkSlots]):
    """Make a symbolic link."""

    slots = LinkSlots

    def observe(self, host: Host, slots: LinkSlots) -> Satisfied | Change:
        """Compares the link's target, not what it points to."""
        path = slots.path
        left = Left(path, "link", 0, uid_of(host, slots.owner), gid_of(host, slots.group), -1, "", slots.target)
        outputs = {"path": path}
        if host.matches(left):
            return Satisfied(outputs, (left,))
        if not slots.target or "\0" in slots.target:
            raise ActionError(f"{path}: a link needs a target", "give `target`")
        prior = host.capture(path)
        reason = "absent" if prior is ABSENT else "differs"
        return Change(reason, (FileChange(path, prior, left),), outputs=outputs)

    def do(self, host: Host, slots: LinkSlots, change: Change) -> Done:
        """Make it, or replace the old one atomically."""
        host.make_link(change.files[0])
        return Done({"path": slots.path}, (change.files[0].expect,))


class WriteSlots(Struct, frozen=True):
    content: Annotated[Any, slot("content", "text, or the content that another node made", secret=True)]
    path: Target
    mode: Mode = 0o644
    owner: Owner = ""
    group: Group = ""


@action("file.write", outputs=PATH)
class Write(BaseAction[WriteSlots]):
    """Write text, or content made by another node, into a file."""

    slots = WriteSlots

    def observe(self, host: Host, slots: WriteSlots) -> Satisfied | Change:
        """Compares content, mode and owner."""
        return observe_content(host, slots.path, as_bytes(slots.content), slots.mode, slots.owner, slots.group)

    def do(self, host: Host, slots: WriteSlots, change: Change) -> Done:
        """Write it beside the target, then rename."""
        return put_content(host, change, as_bytes(slots.content))


def as_bytes(content: object) -> bytes:
    """Content of a slot as bytes; text is UTF-8."""
    if isinstance(content, bytes):
        return content
    if isinstance(content, str):
        return content.encode()
    raise ActionError(f"content must be text, found {type(content).__name__}", "use str(…) in the package")


def verified(chunks: Iterable[bytes], change: FileChange) -> Iterator[bytes]:
    """The chunks. Raises Raced behind the last one, and so before the name appears, when they are not the
    content that `change` promises."""
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
        yield chunk
    if digest.hexdigest() != change.expect.sha256:
        raise Raced(f"{change.path}: its source changed while it was read")


def observe_content(
    host: Host,
    path: str,
    content: bytes,
    mode: int,
    owner: str,
    group: str,
    outputs: dict[str, Any] | None = None,
) -> Satisfied | Change:
    """What it takes for `path` to hold `content`."""
    left = host.expect_file(path, content, mode, uid_of(host, owner), gid_of(host, group))
    outputs = {"path": path} if outputs is None else outputs
    if host.matches(left):
        return Satisfied(outputs, (left,))
    prior = host.capture(path)
    kept = content if len(content) <= KEEP_CONTENT else None
    reason = "absent" if prior is ABSENT else "differs"
    return Change(reason, (FileChange(path, prior, left),), (kept,), None, outputs, left.sealed)


def put_content(host: Host, change: Change, content: bytes, outputs: dict[str, Any] | None = None) -> Done:
    """Make the change of `observe_content`."""
    file = change.files[0]
    host.put_file(file, content)
    return Done({"path": file.path} if outputs is None else outputs, (file.expect,))
