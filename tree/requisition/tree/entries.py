"""The children that one manifest names: where they come from, and where they are to lie in the tree."""

import os
import stat

from msgspec import Struct

from requisition.compiler.manifest import MANIFEST, Child, Manifest, parse_manifest
from requisition.schemas import strictyaml
from requisition.schemas.diagnostic import BadInput, Diagnostic
from requisition.stdlib.action import ActionError
from requisition.stdlib.providers.git_repository import check_ref, remote
from requisition.tree.cache import Wanted, is_commit
from requisition.tree.member import Member
from requisition.tree.paths import path_fault
from requisition.tree.versions import check_range


class Entry(Struct, frozen=True):
    """One child: `path` relative to the root's folder; `where` is file:line:column of its entry."""

    path: str
    url: str
    wanted: Wanted
    optional: bool
    where: str
    parent: str


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
    return parse_manifest(text, path), text


def entries(parent: Member, text: bytes) -> tuple[list[Entry], list[Diagnostic]]:
    """The children of a package that can be had, and what is wrong with the others beyond what the manifest alone
    shows (`compiler/child_rules.py`). `text` is the manifest's."""
    found: list[Entry] = []
    wrong: list[Diagnostic] = []
    if not parent.manifest.children:
        return found, wrong
    file = f"{parent.folder}/{MANIFEST}"
    _, positions = strictyaml.load(text, file)
    for at, child in enumerate(parent.manifest.children):
        where = "{}:{}:{}".format(file, *positions.get(("children", at), (1, 1)))
        path = f"{parent.path}/{child.place}" if parent.path else child.place
        try:
            url = absolute(child.url, parent.url or parent.folder)
            _check(path, url, child)
        except (ActionError, ValueError) as error:
            hint = getattr(error, "hint", "") or "correct it"
            wrong.append(Diagnostic(what=f"the child {path}: {error}", where=where, next=hint))
        else:
            wanted = Wanted(child.ref, child.version)
            found.append(Entry(path, url, wanted, child.optional, where, parent.path))
    return found, wrong


def absolute(url: str, base: str) -> str:
    """An address that may be given from that of its package, as those of submodules are: `../other.git` lies beside
    it (gitmodules(5)). Raises ActionError when it leads above the other's host."""
    if not url.startswith(("./", "../")):
        return url
    at, rest = base.rstrip("/"), url
    while rest.startswith(("./", "../")):
        up, _, rest = rest.partition("/")
        if up == "..":
            cut = max(at.rfind("/"), at.rfind(":"))
            inside = cut > 0 and not at.endswith(":") and not at[: cut + 1].endswith("//")
            if not inside:
                raise ActionError(f"{url} leads above the host of {base}", "write the whole address")
            at = at[: cut + 1] if at[cut] == ":" else at[:cut]
    return f"{at}{rest}" if at.endswith(":") else f"{at}/{rest}"


def same_address(one: str, other: str) -> bool:
    """Whether two addresses are those of one repository, perhaps spelled differently."""
    return _plain(one) == _plain(other)


def address_fault(url: str, parent: Member) -> str:
    """Why a package may not name this address for a child, "" when it may: what came from far away does not reach
    for the repositories of this machine."""
    if _local(url) and parent.url and not _local(parent.url):
        return f"{parent.url} may not name an address of this machine, {url}"
    return ""


def _plain(url: str) -> str:
    return url.removeprefix("file://").rstrip("/").removesuffix(".git")


def _local(url: str) -> bool:
    return url.startswith(("/", "file:"))


def _check(path: str, url: str, child: Child) -> None:
    fault = path_fault(path)
    if fault:
        raise ActionError(fault)
    remote(url)
    if child.ref and not is_commit(child.ref):
        check_ref(child.ref)
    check_range(child.version)
