"""Downloads: resumed, verified against a digest, and only then put in place."""

import hashlib
import os
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import IO, Annotated, Any
from urllib.parse import urlsplit

from msgspec import Struct

from requisition.schemas.receipt import Left
from requisition.stdlib.action import ActionError, BaseAction, Change, Done, Satisfied, action
from requisition.stdlib.host import ABSENT, FileChange, Host
from requisition.stdlib.providers.accounts import gid_of, uid_of
from requisition.stdlib.providers.file import Group, Mode, Owner
from requisition.stdlib.spec import Output, slot

_CHUNK = 1 << 18
_ATTEMPTS = 4
_HEX = frozenset("0123456789abcdef")


class DownloadSlots(Struct, frozen=True):
    url: Annotated[str, slot("string", "http, https or file address")]
    path: Annotated[str, slot("path", "where the file goes", claims=True)]
    sha256: Annotated[str, slot("string", "digest that the content must have, in hex")] = ""
    insecure_no_digest: Annotated[bool, slot("bool", "take whatever comes; refused otherwise without sha256")] = False
    mode: Mode = 0o644
    owner: Owner = ""
    group: Group = ""
    timeout: Annotated[int, slot("duration", "longest silence of the server")] = 30_000
    max_size: Annotated[int, slot("int", "refuse more bytes than this")] = 4 << 30


@action(
    "net.download",
    outputs=(Output("path", "path", "the file"), Output("sha256", "string", "its digest")),
    blocking=True,
)
class Download(BaseAction[DownloadSlots]):
    """Download a file. A transfer that breaks off is resumed; the name appears only when the digest is right."""

    slots = DownloadSlots

    def observe(self, host: Host, slots: DownloadSlots) -> Satisfied | Change:
        """Compares digest, mode and owner; nothing is fetched when they are right."""
        _check(slots)
        path, digest, size = slots.path, slots.sha256, -1
        if not digest:
            if host.stat(path) is not None:
                return Satisfied({"path": path, "sha256": host.digest(path)})
            digest, size = _fetch(host, slots)
        left = Left(path, "file", slots.mode, uid_of(slots.owner), gid_of(slots.group), size, digest)
        outputs = {"path": path, "sha256": digest}
        if host.matches(left):
            return Satisfied(outputs, (left,))
        prior = host.capture(path)
        reason = "absent" if prior is ABSENT else "differs"
        return Change(reason, (FileChange(path, prior, left),), outputs=outputs)

    def do(self, host: Host, slots: DownloadSlots, change: Change) -> Done:
        """Fetch into a private file, verify, write beside the target, rename."""
        file = change.files[0]
        place = _place(host, slots)
        if not os.path.exists(place) or _sha256(place) != file.expect.sha256:
            found, _ = _fetch(host, slots)
            if found != file.expect.sha256:
                os.unlink(place)
                raise ActionError(
                    f"{slots.url} gave sha256 {found}, expected {file.expect.sha256}",
                    "if the new content is right, change the digest in the package and build again",
                )
        with open(place, "rb") as source:
            host.put_file(file, iter(lambda: source.read(_CHUNK), b""))
        os.unlink(place)
        return Done({"path": slots.path, "sha256": file.expect.sha256}, (file.expect,))


def _check(slots: DownloadSlots) -> None:
    scheme = urlsplit(slots.url).scheme
    if scheme not in ("http", "https", "file"):
        raise ActionError(f"the address {slots.url!r} is not http, https or file")
    if any(ord(c) <= 32 or ord(c) == 127 for c in slots.url):
        raise ActionError(f"the address {slots.url!r} holds a space or control character", "encode it, as %20")
    if not slots.sha256 and not slots.insecure_no_digest:
        raise ActionError(
            f"{slots.url} is downloaded without a digest",
            "give sha256 = …, or insecure_no_digest = True where any content will do",
        )
    if slots.sha256 and (len(slots.sha256) != 64 or not set(slots.sha256) <= _HEX):
        raise ActionError(f"{slots.sha256!r} is not a SHA-256 in hex", "64 characters, 0-9 and a-f")


def _place(host: Host, slots: DownloadSlots) -> str:
    key = hashlib.sha256(f"{slots.url}\0{slots.path}\0{slots.sha256}".encode()).hexdigest()
    return f"{host.scratch()}/{key[:32]}"


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _fetch(host: Host, slots: DownloadSlots) -> tuple[str, int]:
    """Download into the private file, resuming where it broke off; (digest, size)."""
    place = _place(host, slots)
    problem: Exception | None = None
    for attempt in range(_ATTEMPTS):
        if attempt:
            host.sleep_ms(100 << attempt)
        try:
            if _transfer(slots, place):
                return _sha256(place), os.path.getsize(place)
            problem = EOFError("the server ended before the announced length")
        except (urllib.error.HTTPError, ValueError) as error:
            if isinstance(error, urllib.error.HTTPError) and error.code >= 500:
                problem = error
                continue
            raise ActionError(f"{slots.url}: {error}", "check the address") from error
        except (OSError, HTTPException) as error:
            problem = error
    raise ActionError(f"{slots.url} cannot be downloaded: {problem}", "check the network, or the server") from problem


def _transfer(slots: DownloadSlots, place: str) -> bool:
    """One request; True when everything that was announced has come."""
    have = os.path.getsize(place) if os.path.exists(place) else 0
    headers = {"User-Agent": "requisition", "Accept-Encoding": "identity"}
    request = urllib.request.Request(slots.url, headers=headers)  # noqa: S310  (schemes: see _check)
    if have:
        request.add_header("Range", f"bytes={have}-")
    with _opener().open(request, timeout=slots.timeout / 1000) as answer:
        resumed = getattr(answer, "status", 200) == 206
        expected = _announced(answer, have if resumed else 0)
        with open(place, "ab" if resumed else "wb") as file:
            size = _copy(answer, file, slots.max_size, slots.url)
    return expected is None or size == expected


def _announced(answer: Any, have: int) -> int | None:
    length = answer.headers.get("Content-Length")
    return have + int(length) if length is not None and length.isdigit() else None


def _copy(answer: IO[bytes], file: IO[bytes], limit: int, url: str) -> int:
    while chunk := answer.read(_CHUNK):
        if file.tell() + len(chunk) > limit:
            raise ActionError(f"{url} gives more than {limit} bytes", "raise max_size if that is right")
        file.write(chunk)
    return file.tell()


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow only to http and https: a server must not make us read files."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if urlsplit(newurl).scheme not in ("http", "https"):
            raise ValueError(f"redirected to {newurl!r}, which is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_Redirects())
