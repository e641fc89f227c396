"""Where grex kept the packages of a tree, and where they belong now. Looks, changes nothing.

    grex 1.0   every child of the whole tree at <root>/.grex/workspace/<name>
    grex 1.1   the same at <root>/<name>
    now        each child at its path below the package whose manifest names it

What lies in the old workspace is grex's own. In the root's folder a repository is only taken for a child when its
remote is the one that a manifest names for it.
"""

import os
import re
import stat
from collections import Counter, deque
from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from requisition.compiler.manifest import MANIFEST
from requisition.schemas import strictyaml
from requisition.schemas.diagnostic import BadInput

WORKSPACE = ".grex/workspace"
PACK = ".grex/pack.yaml"
_MAX_PACKAGES = 20_000
_MAX_DEPTH = 32
_CONFIG_BYTES = 1 << 20
_ORIGIN = re.compile(r'^\s*\[remote "origin"\]\s*$(?P<body>(?:\n(?!\s*\[).*)*)', re.MULTILINE)
_URL = re.compile(r"^\s*url\s*=\s*\"?(?P<url>[^\"\n]*?)\"?\s*$", re.MULTILINE)


class Place(Struct, frozen=True):
    """A package that a manifest names: its path now, its address, the name that it had when all lay flat."""

    path: str
    url: str
    name: str


class Moving(Struct, frozen=True):
    """A repository that lies at an old place (relative to the root's folder). `target` is empty when no manifest
    names it."""

    source: str
    target: str


class Found(Struct, frozen=True):
    """What is there: the root and all packages that manifests name, parents first; repositories to move, parents
    first; manifests that could not be read, and why."""

    places: tuple[Place, ...]
    moving: tuple[Moving, ...]
    unread: tuple[tuple[str, str], ...]

    @property
    def paths(self) -> dict[str, str]:
        """By name, the path of the only package that has it."""
        count = Counter(place.name for place in self.places)
        return {place.name: place.path for place in self.places if count[place.name] == 1}


def look(root: str) -> Found:
    """All of it."""
    old = {name: f"{WORKSPACE}/{name}" for name in _repositories(os.path.join(root, WORKSPACE))}
    flat = {name: name for name in _repositories(root)}
    places: list[Place] = []
    moving: list[Moving] = []
    unread: list[tuple[str, str]] = []
    seen: set[str] = set()
    pending = deque([("", root, 0)])
    while pending and len(places) < _MAX_PACKAGES:
        parent, folder, depth = pending.popleft()
        try:
            manifest = _manifest(folder)
        except BadInput as error:
            unread.append((parent, str(error)))
            continue
        if not parent:
            places.append(Place("", "", str(manifest.get("name", ""))))
        children = list(_children(manifest, parent))
        flat = {name: source for name, source in flat.items() if name not in {child.path for child in children}}
        for child in children:
            if child.path in seen:
                continue
            seen.add(child.path)
            places.append(child)
            here = os.path.join(root, child.path)
            source = _old_place(root, child, old, flat)
            if source:
                moving.append(Moving(source, child.path))
            if source and not os.path.lexists(here):
                here = os.path.join(root, source)
            if depth < _MAX_DEPTH:
                pending.append((child.path, here, depth + 1))
    moving += [Moving(source, "") for _, source in sorted(old.items())]
    return Found(tuple(places), tuple(moving), tuple(unread))


def _old_place(root: str, child: Place, old: dict[str, str], flat: dict[str, str]) -> str:
    """Where the child lies, each old place for one child only; empty when at none."""
    if child.name in old and _may_be(os.path.join(root, old[child.name]), child.url, sure=False):
        return old.pop(child.name)
    if child.name in flat and _may_be(os.path.join(root, flat[child.name]), child.url, sure=True):
        return flat.pop(child.name)
    return ""


def _may_be(folder: str, url: str, *, sure: bool) -> bool:
    """Whether the remote of a repository is the address; one without a remote may be, unless it has to be sure."""
    origin = origin_of(folder)
    return _plain(origin) == _plain(url) if origin else not sure


def origin_of(folder: str) -> str:
    """The address that a repository was cloned from; empty when it does not say. Starts no git."""
    try:
        fd = os.open(os.path.join(folder, ".git/config"), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(fd, encoding="utf-8", errors="replace") as file:
            section = _ORIGIN.search(file.read(_CONFIG_BYTES))
    except OSError:
        return ""
    found = _URL.search(section["body"]) if section else None
    return found["url"] if found else ""


def _plain(url: str) -> str:
    return url.removeprefix("file://").rstrip("/").removesuffix(".git")


def _repositories(folder: str) -> list[str]:
    """Names of the folders there that are repositories of their own."""
    try:
        names = sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [
        name
        for name in names
        if _is_folder(os.path.join(folder, name)) and os.path.lexists(os.path.join(folder, name, ".git"))
    ]


def _is_folder(path: str) -> bool:
    return stat.S_ISDIR(os.lstat(path).st_mode)


def _children(manifest: dict[str, Any], parent: str) -> Iterator[Place]:
    """The children that a manifest names, by full path. Only what is needed to find them is read: the walk judges the
    rest."""
    children = manifest.get("children")
    for child in children if isinstance(children, list) else ():
        url, path = (child.get("url"), child.get("path")) if isinstance(child, dict) else (None, None)
        if isinstance(url, str):
            last = url.rstrip("/").replace(":", "/").rpartition("/")[2].removesuffix(".git")
            place = path if isinstance(path, str) else last
            yield Place(f"{parent}/{place}" if parent else place, url, place.rpartition("/")[2])


def _manifest(folder: str) -> dict[str, Any]:
    """The manifest of a folder, empty when it has none. Raises BadInput."""
    for name in (MANIFEST, PACK):
        path = os.path.join(folder, name)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise BadInput.of(
                f"the manifest cannot be read: {error.strerror}", where=path, next="look at it"
            ) from error
        with open(fd, "rb") as file:
            found, _ = strictyaml.load(file.read(strictyaml.MAX_BYTES + 1), path)
        return found if isinstance(found, dict) else {}
    return {}
