"""Which files of a package are meant for the target: platform folders and suffixes.

Folders `Common/ Unix/ Linux/ Linux.Debian/ Darwin/` hold variants of the package's own paths: for the path
`x.conf` the most specific folder that has it wins, then the package itself. The *target* decides, never
the machine that builds. Nothing outside of the package is ever named: links that lead out are refused.
"""

import os
from collections.abc import Iterable

from requisition.compiler.request import ARCHITECTURES
from requisition.schemas.diagnostic import BadInput
from requisition.schemas.document import Platform

MAX_FILES = 200_000
MAX_DEPTH = 40
FOLDERS = ("Common", "Unix")
_OSES = {"linux": "Linux", "darwin": "Darwin", "freebsd": "FreeBSD"}
_SKIPPED = frozenset({".git", ".hg", ".svn", "__pycache__"})


def folder_names(target: Platform) -> list[str]:
    """Platform folders that apply, least specific first."""
    found = ["Common"]
    if target.os in _OSES:
        found.append("Unix")
        found.append(_OSES[target.os])
        if target.distro:
            found.append(f"{_OSES[target.os]}.{target.distro.capitalize()}")
    return found


def is_platform_folder(name: str) -> bool:
    """Whether a top-level folder is one of variants, for whatever platform."""
    head = name.partition(".")[0]
    return name in FOLDERS or head in _OSES.values()


class PackageFiles:
    """The files of a package as one target sees them: path in the package → path on disk, relative to it."""

    def __init__(self, folder: str, target: Platform, children: Iterable[str] = ()) -> None:
        """Walk the folder once, without the packages below it, whose files are their own. Raises BadInput for links
        that lead out, and for too many files."""
        self.folder = folder
        self._plain: set[str] = set()
        self._variants: dict[str, set[str]] = {}
        for path in _walk(folder, frozenset(children)):
            head, _, rest = path.partition("/")
            if rest and is_platform_folder(head):
                self._variants.setdefault(head, set()).add(rest)
            else:
                self._plain.add(path)
        self._order = [name for name in reversed(folder_names(target)) if name in self._variants]

    def find(self, path: str) -> str | None:
        """The most specific file for a path, None when there is none."""
        for name in self._order:
            if path in self._variants[name]:
                return f"{name}/{path}"
        return path if path in self._plain else None

    def scripts(self) -> dict[str, str]:
        """Every .star file for the target: its path in the package → on disk."""
        names = {path for path in self._plain if path.endswith(".star")}
        for name in self._order:
            names |= {path for path in self._variants[name] if path.endswith(".star")}
        return {path: found for path in sorted(names) if (found := self.find(path)) is not None}

    def below(self, folder: str) -> list[str]:
        """Plain files below a folder of the package, sorted."""
        prefix = folder.rstrip("/") + "/"
        return sorted(path for path in self._plain if path.startswith(prefix))

    def names(self) -> Iterable[str]:
        """Everything that `find` can find, for did-you-mean."""
        return sorted(self._plain.union(*(self._variants[name] for name in self._order)))


class FilesBeside(PackageFiles):
    """The files beside a lone script, looked for one by one."""

    def __init__(self, folder: str, target: Platform, script: str) -> None:
        """Reads nothing."""
        self.folder = folder
        self._script = script
        self._order = folder_names(target)[::-1]

    def find(self, path: str) -> str | None:
        """The most specific file for a path, None when there is none inside the folder."""
        for found in (*(f"{name}/{path}" for name in self._order), path):
            if _leads_to_file_inside(self.folder, found):
                return found
        return None

    def scripts(self) -> dict[str, str]:
        """The script itself."""
        return {self._script: self._script}

    def below(self, folder: str) -> list[str]:
        """Nothing: a lone script has no layers."""
        return []

    def names(self) -> Iterable[str]:
        """Nothing to suggest."""
        return ()


def _walk(folder: str, left_out: frozenset[str]) -> Iterable[str]:
    pending, count = [""], 0
    while pending:
        inner = pending.pop()
        if inner.count("/") > MAX_DEPTH:
            raise BadInput.of(f"folders are nested deeper than {MAX_DEPTH}", where=f"{folder}/{inner}")
        with os.scandir(f"{folder}/{inner}") as entries:
            for entry in entries:
                path = f"{inner}/{entry.name}" if inner else entry.name
                count += 1
                if count > MAX_FILES:
                    raise BadInput.of(f"the package has more than {MAX_FILES} files", where=folder)
                if entry.is_dir(follow_symlinks=False):
                    if entry.name not in _SKIPPED and path not in left_out:
                        pending.append(path)
                elif entry.is_symlink():
                    if _leads_to_file_inside(folder, path):
                        yield path
                elif entry.is_file(follow_symlinks=False):
                    yield path


def _leads_to_file_inside(folder: str, path: str) -> bool:
    """Whether a link of the package is a file of the package; one that leads out is as if it were absent."""
    real, root = os.path.realpath(f"{folder}/{path}"), os.path.realpath(folder)
    return real.startswith(root + os.sep) and os.path.isfile(real)


def specificity(suffixes: list[str], target: Platform, segments: tuple[str, ...]) -> int | None:
    """How specific a name's suffixes are to the target (0: none); None when they exclude it."""
    score = 0
    for suffix in suffixes:
        if suffix == "Unix":
            fits = target.os in _OSES
        elif suffix in _OSES.values():
            fits = _OSES.get(target.os) == suffix
        elif suffix in ARCHITECTURES:
            fits = target.arch == suffix
        elif suffix in segments:
            fits = True
        else:
            fits = suffix == target.distro.capitalize()
        if not fits:
            return None
        score += 1 if suffix == "Unix" else 2
    return score


def split_suffixes(name: str, segments: tuple[str, ...]) -> tuple[str, list[str]]:
    """`gitconfig.Linux.Debian` → (`gitconfig`, [`Linux`, `Debian`]). A distribution counts after an OS."""
    parts = name.split(".")
    known = {"Unix", *_OSES.values(), *ARCHITECTURES, *segments}
    for at in range(1, len(parts)):
        tail = parts[at:]
        head_ok = tail[0] in known
        rest_ok = all(
            part in known or (part[:1].isupper() and part.isalnum() and tail[0] in _OSES.values()) for part in tail
        )
        if head_ok and rest_ok and any(parts[:at]):
            return ".".join(parts[:at]), tail
    return name, []
