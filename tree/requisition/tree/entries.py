"""The children that one manifest names: their places and addresses, judged before anything is cloned."""

import os
import stat

from msgspec import Struct

from requisition.compiler.child_rules import bad_path
from requisition.compiler.manifest import MANIFEST, Child, Manifest, parse_manifest
from requisition.schemas import strictyaml
from requisition.schemas.diagnostic import BadInput, Diagnostic
from requisition.stdlib.action import ActionError
from requisition.stdlib.providers.git_repository import check_ref, remote
from requisition.tree.cache import Wanted, is_commit
from requisition.tree.paths import path_fault, same_name
from requisition.tree.versions import check_range


class Entry(Struct, frozen=True):
    """One child: `path` relative to the root's folder; `where` is file:line:column of its entry. `within` is the
    path of the sibling that it lies in: that one has to name it too."""

    path: str
    url: str
    wanted: Wanted
    optional: bool
    where: str
    parent: str
    within: str = ""


def read(folder: str) -> tuple[Manifest, bytes]:
    """The manifest of a package that came from outside, and its text: a file of its own, no link. Raises BadInput."""
    path = f"{folder}/{MANIFEST}"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        link = os.path.islink(path)
        raise BadInput.of(
            f"{MANIFEST} is a link" if link else f"the package has no readable {MANIFEST}: {error.strerror}",
            where=path,
            why="it could lead out of the package" if link else "",
            next="put the file itself there" if link else "plan init makes one",
        ) from error
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise BadInput.of(f"{MANIFEST} is no file", where=path, next="put a file there")
        text = file.read(strictyaml.MAX_BYTES + 1)
    return parse_manifest(text, path, children=False), text


def entries(manifest: Manifest, text: bytes, folder: str, parent: str) -> tuple[list[Entry], list[Diagnostic]]:
    """The children of a package that can be had, and everything that is wrong with the others."""
    if not manifest.children:
        return [], []
    file = f"{folder}/{MANIFEST}"
    _, positions = strictyaml.load(text, file)
    found: list[Entry] = []
    wrong: list[Diagnostic] = []
    taken: dict[str, Entry] = {}
    for at, child in enumerate(manifest.children):
        where = "{}:{}:{}".format(file, *positions.get(("children", at), (1, 1)))
        path = child.place
        fault = path_fault(path) or bad_path(path) or _fault(child)
        if fault:
            wrong.append(Diagnostic(what=f"the child {path or child.url!r}: {fault}", where=where, next="correct it"))
            continue
        full = f"{parent}/{path}" if parent else path
        entry = Entry(full, child.url, Wanted(child.ref, child.version), child.optional, where, parent)
        other = taken.setdefault(same_name(full), entry)
        if other is not entry:
            what = f"two children are to lie at {path}" if other.path == full else f"{path} and {other.path} are alike"
            wrong.append(Diagnostic(what=what, where=where, why=f"the other one: {other.where}", next="move one"))
        else:
            found.append(entry)
    return [_placed(entry, taken) for entry in found], wrong


def _placed(entry: Entry, taken: dict[str, Entry]) -> Entry:
    parts = same_name(entry.path).split("/")
    for end in range(len(parts) - 1, 0, -1):
        outer = taken.get("/".join(parts[:end]))
        if outer is not None:
            return Entry(
                entry.path, entry.url, entry.wanted, entry.optional, entry.where, entry.parent, within=outer.path
            )
    return entry


def _fault(child: Child) -> str:
    try:
        remote(child.url)
        if child.ref and child.version:
            return "`ref` and `version` cannot both be meant"
        if child.ref and not is_commit(child.ref):
            check_ref(child.ref)
        check_range(child.version)
    except (ActionError, ValueError) as error:
        return str(error)
    return ""
