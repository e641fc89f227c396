"""Downloads: resumed, verified against a digest, and only then put in place."""

import hashlib
import os
from typing import Annotated

from msgspec import Struct

from requisition.schemas.receipt import Left
from requisition.stdlib.action import ActionError, BaseAction, Change, Done, Satisfied, action
from requisition.stdlib.host import ABSENT, FileChange, Host
from requisition.stdlib.providers.accounts import gid_of, uid_of
from requisition.stdlib.providers.file import Group, Mode, Owner, verified
from requisition.stdlib.providers.net.address import check_url, shown
from requisition.stdlib.providers.net.connection import trusting
from requisition.stdlib.providers.net.transfer import FETCHED, Source, fetch, sha256_of
from requisition.stdlib.spec import Output, slot

_CHUNK = 1 << 18
_HEX = frozenset("0123456789abcdef")


class DownloadSlots(Struct, frozen=True):
    url: Annotated[str, slot("string", "http, https or file address")]
    path: Annotated[str, slot("path", "where the file goes", claims=True)]
    sha256: Annotated[str, slot("string", "digest that the content must have, in hex")] = ""
    insecure_no_digest: Annotated[bool, slot("bool", "take whatever comes; refused otherwise without sha256")] = False
    mode: Mode = 0o644
    owner: Owner = ""
    group: Group = ""
    timeout: Annotated[int, slot("duration", "longest silence of the server; 0: any")] = 30_000
    max_size: Annotated[int, slot("int", "refuse more bytes than this")] = 4 << 30
    mirrors: Annotated[list[str], slot("strings", "addresses to ask, in this order, when url fails")] = []
    ca: Annotated[str, slot("path", "PEM file of certificates to trust, instead of those the system trusts")] = ""


@action(
    "net.download",
    outputs=(Output("path", "path", "the file"), Output("sha256", "string", "its digest")),
    blocking=True,
)
class Download(BaseAction[DownloadSlots]):
    """Download a file. A transfer that breaks off is resumed, or gone on with at a mirror; the name appears only
    when the digest is right."""

    slots = DownloadSlots

    def observe(self, host: Host, slots: DownloadSlots) -> Satisfied | Change:
        """Compares digest, mode and owner; nothing is fetched when they are right."""
        _check(slots)
        path, digest, size = slots.path, slots.sha256, -1
        if not digest:
            if host.stat(path) is not None:
                return Satisfied({"path": path, "sha256": host.digest(path)})
            digest, size = fetch(host, _source(host, slots, ""), _place(host, slots))
        left = Left(path, "file", slots.mode, uid_of(host, slots.owner), gid_of(host, slots.group), size, digest)
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
        if not os.path.exists(place) or sha256_of(place) != file.expect.sha256:
            fetch(host, _source(host, slots, file.expect.sha256), place)
        with open(place, "rb") as content:
            host.put_file(file, verified(iter(lambda: content.read(_CHUNK), b""), file))
        os.unlink(place)
        return Done({"path": slots.path, "sha256": file.expect.sha256}, (file.expect,))


def _check(slots: DownloadSlots) -> None:
    for url in (slots.url, *slots.mirrors):
        check_url(url, FETCHED)
    if not slots.sha256 and not slots.insecure_no_digest:
        raise ActionError(
            f"{shown(slots.url)} is downloaded without a digest",
            "give sha256 = …, or insecure_no_digest = True where any content will do",
        )
    if slots.sha256 and (len(slots.sha256) != 64 or not set(slots.sha256) <= _HEX):
        raise ActionError(f"{slots.sha256!r} is not a SHA-256 in hex", "64 characters, 0-9 and a-f")


def _source(host: Host, slots: DownloadSlots, sha256: str) -> Source:
    urls = (slots.url, *slots.mirrors)
    return Source(urls, sha256, slots.timeout, slots.max_size, trusting(host, slots.ca))


def _place(host: Host, slots: DownloadSlots) -> str:
    """Where the parts of this download are gathered: one file a download, private to the run."""
    key = hashlib.sha256(f"{slots.url}\0{slots.path}\0{slots.sha256}".encode()).hexdigest()
    return f"{host.scratch()}/{key[:32]}"
