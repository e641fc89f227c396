"""Where the packages below a package may lie and come from: judged before anything is fetched.

A path is made of bare names, so that it means the same on every system and leads nowhere else; a url can be no
option and start no program (git-clone(1), gitremote-helpers(7)).
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from requisition.schemas.findings import Path, Problem

if TYPE_CHECKING:
    from requisition.compiler.manifest import Child, Manifest

_STEMS = {"con", "prn", "aux", "nul", *(f"com{n}" for n in range(1, 10)), *(f"lpt{n}" for n in range(1, 10))}
_SHORT = re.compile(r"~[0-9]")
_SCHEME = re.compile(r"(https?|ssh|git|file)://(?P<rest>[^\s]+)\Z")
_SCP = re.compile(r"(?:[A-Za-z0-9_][\w.-]*@)?[A-Za-z0-9][A-Za-z0-9.-]*:(?!:)[^\s-][^\s]*\Z")
_LOCAL = re.compile(r"\.{0,2}/[^\0\n]*\Z")
_REF = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/@+-]{0,254}\Z")
_RANGE = re.compile(r"\s*(?:[<>=!~^]=?|===?)?\s*v?\d[\w.+-]*\s*\Z")


def child_problems(found: "Manifest") -> Iterator[Problem]:
    """Everything about `children` and `depends_on`."""
    for at, child in enumerate(found.children):
        yield from _child(child, ("children", at))
    yield from _together(found.children)
    seen: set[str] = set()
    for at, name in enumerate(found.depends_on):
        path = ("depends_on", at)
        if name == found.name:
            yield Problem(path, "a package cannot depend on itself", "remove it")
        elif name in seen:
            yield Problem(path, f"{name!r} stands here twice", "remove one")
        elif bad_path(name) and bad_url(name):
            yield Problem(path, f"{name!r} names no package", "give a package's name, its path in the tree, or its url")
        seen.add(name)


def _child(child: "Child", path: Path) -> Iterator[Problem]:
    wrong = bad_url(child.url)
    if wrong:
        yield Problem((*path, "url"), f"{child.url!r} is no url of a repository: {wrong}", _URL)
    wrong = bad_path(child.place)
    if wrong and (child.path or not bad_url(child.url)):
        where = (*path, "path") if child.path else (*path, "url")
        yield Problem(where, f"{child.place!r} cannot be where a child lies: {wrong}", "write it as libs/name")
    if child.ref and child.version:
        what = "a child is at a `ref` or in a range of `version`, not both"
        yield Problem((*path, "version"), what, "remove one")
    if child.ref and (not _REF.match(child.ref) or ".." in child.ref or "@{" in child.ref):
        what = f"{child.ref!r} is no branch, tag or commit"
        yield Problem((*path, "ref"), what, "write it as main, v1.2 or 40 hex digits")
    if child.version and not all(_RANGE.match(part) for part in child.version.split(",")):
        what = f"{child.version!r} is no range of versions"
        yield Problem((*path, "version"), what, 'write it as ">=1.2, <2"')


_URL = "write it as https://host/name.git, git@host:name.git, or ../name"


def _together(children: Sequence["Child"]) -> Iterator[Problem]:
    """Two children at one path, however it is written, or one inside of the other."""
    taken: dict[str, int] = {}
    for at, child in enumerate(children):
        key = _folded(child.place)
        where: Path = ("children", at, "path" if child.path else "url")
        if key in taken:
            what = f"two children lie at {child.place!r}"
            why = f"the other one is {children[taken[key]].url}"
            yield Problem(where, what, "give one of them another `path`", why)
        taken.setdefault(key, at)
    for at, child in enumerate(children):
        parts = _folded(child.place).split("/")
        outer = next((o for n in range(1, len(parts)) if (o := "/".join(parts[:n])) in taken), None)
        if outer is not None:
            what = f"{child.place!r} lies inside of another child, {children[taken[outer]].place!r}"
            where = ("children", at, "path" if child.path else "url")
            yield Problem(where, what, "give it a place of its own, or let that child name it")


def _folded(path: str) -> str:
    """As file systems that ignore case and composition see it."""
    return unicodedata.normalize("NFC", path).casefold()


def bad_path(path: str) -> str:
    """Why this cannot be a path of bare names; empty when it can."""
    if not path:
        return "it is empty"
    if path.startswith("/"):
        return "it is absolute"
    for part in path.split("/"):
        if not part:
            return "it has an empty part"
        if part in (".", "..") or part.startswith("-"):
            return f"{part!r} is no bare name"
        if part.casefold() in (".git", ".plan"):
            return f"{part!r} is taken"
        bad = next((letter for letter in part if letter in '\\:$<>"|?*' or not letter.isprintable()), "")
        if bad:
            return f"{bad!r} is not allowed in it"
        if _SHORT.search(part):
            return f"{part!r} looks like a short name of Windows"
        if part.split(".")[0].casefold() in _STEMS or part.endswith((".", " ")):
            return f"{part!r} cannot be a name on Windows"
    return ""


def bad_url(url: str) -> str:
    """Why this cannot be cloned safely; empty when it can."""
    if not url or url.startswith("-"):
        return "it reads as an option" if url else "it is empty"
    if "::" in url.partition("/")[0]:
        return "it would start a program"
    if not url.isprintable():
        return "it has a character that cannot be shown"
    found = _SCHEME.match(url)
    if found:
        host = found["rest"].partition("/")[0].rpartition("@")[2]
        if host.startswith("-") or found["rest"].startswith("-"):
            return "its host reads as an option"
        if ":" in found["rest"].partition("/")[0].rpartition("@")[0]:
            return "it holds a password, and whoever reads the manifest would have it"
        return ""
    if _SCP.match(url) or _LOCAL.match(url):
        return ""
    return "it is neither https, ssh, git, file, host:path nor a folder"
