"""The built-in validators: names the far end cannot hold, placeholders left over, emptiness, sizes, secrets.

Each is a function of what is to be delivered, and tells where, but never repeats a secret it found.
"""

import re
from collections.abc import Callable, Iterable, Iterator

from msgspec import Struct

from requisition.services.delivery.aside import Stopped
from requisition.services.delivery.config import Destination, Gate
from requisition.services.delivery.folder import Folder
from requisition.services.delivery.job import Finding

_SNIFFED = 8 << 10
_READ = 1 << 20
_NAME_BYTES, _PATH_BYTES = 255, 4096  # NAME_MAX, PATH_MAX of Linux
_NOT_WINDOWS = re.compile(r'[<>:"\\|?*\x00-\x1f]|[. ]\Z')
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?\Z", re.IGNORECASE)
_PLACEHOLDER_NAME = re.compile(r"<[A-Za-z_][A-Za-z0-9_]*>|\{\{.*?\}\}|\{%.*?%\}|\$\{[A-Za-z_][A-Za-z0-9_]*\}")
_PLACEHOLDER_TEXT = re.compile(rb"\{\{[^{}\n]{1,200}\}\}|\{%[^{}\n]{1,200}%\}")
_SECRETS = {
    "a private key": rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----",
    "a secret key of age": rb"AGE-SECRET-KEY-1[0-9A-Z]{50}",
    "an access key of AWS": rb"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "a token of GitHub": rb"\bgh[pousr]_[A-Za-z0-9]{36}|\bgithub_pat_[A-Za-z0-9_]{60}",
    "a token of GitLab": rb"\bglpat-[A-Za-z0-9_-]{20}",
    "a token of Slack": rb"\bxox[abprs]-[A-Za-z0-9-]{20}",
    "an API key of Google": rb"\bAIza[0-9A-Za-z_-]{35}",
}
_SECRET = re.compile(b"|".join(b"(%s)" % pattern for pattern in _SECRETS.values()))


class Subject(Struct, frozen=True):
    """What is to be delivered where. `target`: relative path at the far end."""

    folder: Folder
    target: str
    destination: Destination
    gate: Gate
    stopped: Callable[[], bool]

    def texts(self) -> Iterator[tuple[bytes, bytes]]:
        """Path and content of each file that holds text; of long ones the first MiB. Raises Stopped."""
        for one in self.folder.items:
            if self.stopped():
                raise Stopped
            if one.kind == "file" and one.size and b"\0" not in self.folder.head(one.path, _SNIFFED):
                yield one.path, self.folder.head(one.path, _READ)


def names(subject: Subject) -> Iterator[Finding]:
    """Names and paths that the far end cannot hold, or would hold as something else. Windows: "Naming Files, Paths,
    and Namespaces" of its documentation."""
    seen: dict[str, bytes] = {}
    for place, path in enumerate((subject.target.encode(), *(one.path for one in subject.folder.items))):
        told = _printable(path)
        if len(path) > _PATH_BYTES or any(len(part) > _NAME_BYTES for part in path.split(b"/")):
            yield Finding("names", hard=True, path=told, detail="the name is too long")
        try:
            text = path.decode()
        except UnicodeDecodeError:
            strict = subject.destination.names == "windows" or subject.destination.kind == "rclone"
            yield Finding("names", hard=strict, path=told, detail="the name is not UTF-8")
            continue
        if subject.destination.names == "windows":
            for why in _not_windows(text):
                yield Finding("names", hard=True, path=told, detail=why)
            other = seen.setdefault(text.casefold(), path) if place else path
            if other != path:
                why = f"{_printable(other)} is the same name there: case does not count"
                yield Finding("names", hard=True, path=told, detail=why)
    for one in subject.folder.items:
        if one.kind == "other":
            yield Finding("names", hard=True, path=_printable(one.path), detail="neither file, link nor folder")


def _not_windows(path: str) -> Iterator[str]:
    for part in path.split("/"):
        if found := _NOT_WINDOWS.search(part):
            yield (
                f"{found[0]!r} may not be in a name there" if len(found[0].strip(". ")) else "ends with a dot or space"
            )
        if _RESERVED.match(part):
            yield f"{part} is a device there"


def placeholders(subject: Subject) -> Iterator[Finding]:
    """Templates that nobody filled in: hard in names, soft in texts, where they may be meant."""
    for path in (subject.target.encode(), *(one.path for one in subject.folder.items)):
        if found := _PLACEHOLDER_NAME.search(path.decode(errors="replace")):
            yield Finding("placeholders", hard=True, path=_printable(path), detail=f"{found[0]} was never filled in")
    for path, text in subject.texts():
        if place := _PLACEHOLDER_TEXT.search(text):
            where = f"{_printable(path)}:{_line(text, place.start())}"
            yield Finding("placeholders", hard=False, path=where, detail="a template that was never filled in")


def empty(subject: Subject) -> Iterator[Finding]:
    """Files without a byte: often a copy that did not finish. A folder without any file is no delivery at all."""
    files = [one for one in subject.folder.items if one.kind == "file"]
    if not files:
        yield Finding("empty", hard=True, path="", detail="there is no file in the folder")
    for one in files:
        if one.size == 0:
            yield Finding("empty", hard=False, path=_printable(one.path), detail="the file is empty")


def size(subject: Subject) -> Iterator[Finding]:
    """More than the configuration lets go, in one file or in all."""
    files = [one for one in subject.folder.items if one.kind == "file"]
    for one in files:
        if subject.gate.max_file and one.size > subject.gate.max_file:
            why = f"{one.size} bytes; a file has at most {subject.gate.max_file}"
            yield Finding("size", hard=True, path=_printable(one.path), detail=why)
    total = sum(one.size for one in files)
    if subject.gate.max_total and total > subject.gate.max_total:
        why = f"{total} bytes; a delivery has at most {subject.gate.max_total}"
        yield Finding("size", hard=True, path="", detail=why)


def manifest(subject: Subject) -> Iterator[Finding]:
    """The file that every folder must have."""
    wanted = subject.gate.manifest
    if not wanted:
        return
    found = [one for one in subject.folder.items if one.path == wanted.encode()]
    if not found or found[0].kind != "file" or found[0].size == 0:
        yield Finding("manifest", hard=True, path=wanted, detail="every folder must have this file")


def secrets(subject: Subject) -> Iterator[Finding]:
    """Keys and tokens that are known by their form."""
    for path, text in subject.texts():
        if found := _SECRET.search(text):
            kind = list(_SECRETS)[(found.lastindex or 1) - 1]
            where = f"{_printable(path)}:{_line(text, found.start())}"
            yield Finding("secrets", hard=True, path=where, detail=f"this looks like {kind}")


def _line(text: bytes, place: int) -> int:
    return text.count(b"\n", 0, place) + 1


def _printable(path: bytes) -> str:
    """A path as text of one line: what is no printable character is escaped."""
    text = path.decode("utf-8", "backslashreplace")
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


BUILTIN: dict[str, Callable[[Subject], Iterable[Finding]]] = {
    "names": names,
    "placeholders": placeholders,
    "empty": empty,
    "size": size,
    "manifest": manifest,
    "secrets": secrets,
}
