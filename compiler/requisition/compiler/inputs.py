"""Inputs of an order: the files that its nodes read, pinned by digest."""

import difflib
import hashlib
import os
import stat

from requisition.compiler.variants import PackageFiles
from requisition.schemas.diagnostic import BadInput, Diagnostic
from requisition.schemas.document import Input

MAX_INPUT = 4 << 30
_CHUNK = 1 << 20


class InputTable:
    """Collects what is read; each file once."""

    def __init__(self, files: PackageFiles, prefix: str = "") -> None:
        self._files = files
        self._prefix = prefix
        self._names: dict[str, str] = {}
        self._pinned: dict[str, Input] = {}
        self._places: dict[str, str] = {}

    def pin(self, path: str, location: str) -> str:
        """Pin the variant of a path that the target gets; returns the path in the order."""
        name = self._names.get(path)
        if name is None:
            found = self._files.find(path)
            if found is None and _is_relative(path):
                found = self._files.find(os.path.normpath(path))
            if found is None:
                raise BadInput(self._missing(path, location))
            name = self._names[path] = self._prefix + found
            if name not in self._pinned:
                place = f"{self._files.folder}/{found}"
                one = self._pinned[name] = _pin(name, place, location)
                self._places[one.sha256] = place
        return name

    def inputs(self) -> dict[str, Input]:
        """All pins by path."""
        return self._pinned

    def places(self) -> dict[str, str]:
        """Where each content lies, by digest."""
        return self._places

    def _missing(self, path: str, location: str) -> Diagnostic:
        if not _is_relative(path):
            return Diagnostic(
                what=f"{path!r} lies outside of the package",
                where=location,
                next="copy the file into the package: only its own files can be read",
            )
        near = difflib.get_close_matches(path, self._files.names(), 1)
        advice = f"did you mean {near[0]!r}?" if near else "add the file, or correct the path"
        return Diagnostic(what=f"the package has no file {path!r} for this target", where=location, next=advice)


def _is_relative(path: str) -> bool:
    return bool(path) and not path.startswith("/") and ".." not in path.split("/") and "\0" not in path


def _pin(name: str, place: str, location: str) -> Input:
    try:
        fd = os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise BadInput.of(f"{name} cannot be read: {error.strerror}", where=location) from error
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode) or info.st_size > MAX_INPUT:
            raise BadInput.of(f"{name} is not a regular file of at most {MAX_INPUT >> 30} GiB", where=location)
        data = os.read(fd, min(info.st_size + 1, _CHUNK))  # one more than there is: the end is seen at once
        digest, size = hashlib.sha256(data), len(data)
        while len(data) == _CHUNK or size < info.st_size:
            data = os.read(fd, _CHUNK)
            if not data:
                break
            digest.update(data)
            size += len(data)
    finally:
        os.close(fd)
    mode = 0o755 if info.st_mode & 0o111 else 0o644
    return Input(name, digest.hexdigest(), size, mode)
