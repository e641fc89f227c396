"""One file over http, https or from the machine itself, out of the hands of networks and servers that fail.

A transfer that breaks off goes on where it was, only where the rest must belong to the same content: the digest is
known, or the server vouches for it (RFC 9110 §13.1.5, If-Range). An announced length is believed neither too short
nor too long. Each source is asked some times in vain before the next one is.
"""

import contextlib
import hashlib
import os
import re
import ssl
from collections.abc import Callable
from typing import IO, Any
from urllib.error import URLError
from urllib.parse import urlsplit

from msgspec import Struct

from requisition.stdlib.action import ActionError, Cancelled
from requisition.stdlib.host import Host
from requisition.stdlib.providers.net.address import WEB, shown
from requisition.stdlib.providers.net.connection import FAILURES, Client, NotFollowed, why

FETCHED = (*WEB, "file")
ATTEMPTS = 4
"""In vain, one after another; an attempt that brings the file `WORTHWHILE` bytes further is not."""

WORTHWHILE = 1 << 20
SLOWEST = 512
"""Bytes a second, over each `timeout`; a server that sends less is treated as silent."""

_CHUNK = 1 << 18
_CANCEL_MS = 250
_PASSING = (408, 425, 429)
_RANGE_REFUSED = 416
_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)")
_NUMBER = re.compile(r"\d{1,19}")


class Source(Struct, frozen=True):
    """What to get: from the first of `urls` that has it; `sha256` is empty when any content will do; `timeout` in
    milliseconds; `context`: whom to trust, None for the system's."""

    urls: tuple[str, ...]
    sha256: str
    timeout: int
    max_size: int
    context: ssl.SSLContext | None = None


class Passing(Exception):
    """It did not work this time."""


def fetch(host: Host, source: Source, place: str) -> tuple[str, int]:
    """Download into the private file `place`; (SHA-256 in hex, size). Raises ActionError, which names each address
    and what was wrong with it; what came so far then stays in `place`, for the next time."""
    failures: list[ActionError] = []
    for url in source.urls:
        try:
            return _from(host, source, url, place)
        except Cancelled:
            raise
        except ActionError as error:
            failures.append(error)
            if len(failures) < len(source.urls):
                host.log(f"{error}; the next mirror is asked")
    if len(failures) == 1:
        raise failures[0]
    told = "; ".join(map(str, failures))
    raise ActionError(f"none of {len(failures)} addresses gave the file: {told}", failures[0].hint)


def _from(host: Host, source: Source, url: str, place: str) -> tuple[str, int]:
    """From one address. Its attempts are bounded, since `furthest` only grows, and not beyond `max_size`."""
    problem = validator = ""
    hint = "check the address, the network and the server"
    furthest = tries = 0
    while tries < (1 if url.startswith("file:") else ATTEMPTS):
        if problem:
            host.sleep_ms(100 << tries)
        transfer = _Transfer(host, source, url, place, validator)
        try:
            transfer.run()
            digest = sha256_of(place)
            if source.sha256 in ("", digest):
                return digest, transfer.size
            os.unlink(place)
            if not transfer.resumed:
                raise _other_content(url, digest, source.sha256)
            problem = "it went on with another content"
        except NotFollowed as error:
            raise ActionError(f"{shown(url)}: {error}", "give the address that it should be asked at") from error
        except Passing as error:
            problem = str(error)
        except FAILURES as error:
            problem = why(error)
            if isinstance(error, URLError) and isinstance(error.reason, ssl.SSLCertVerificationError):
                hint = "trust the certificate, or who signed it, with ca = a PEM file on the target"
                break
        validator = transfer.validator
        tries += 1
        if transfer.size >= furthest + WORTHWHILE:
            furthest, tries = transfer.size, 0
    raise ActionError(f"{shown(url)} cannot be downloaded: {problem}", hint)


def _other_content(url: str, found: str, expected: str) -> ActionError:
    return ActionError(
        f"{shown(url)} gave sha256 {found}, expected {expected}",
        "if the new content is right, change the digest in the package and build again",
    )


def sha256_of(place: str) -> str:
    """Digest of a private file."""
    with open(place, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Transfer:
    """One request. Afterwards `size` is what the private file holds, `validator` what the server calls its content
    (a strong ETag, RFC 9110 §8.8.3), and `resumed` says whether it went on where an earlier one stopped."""

    def __init__(self, host: Host, source: Source, url: str, place: str, validator: str) -> None:
        self._host = host
        self._source = source
        self._url = url
        self._place = place
        self._deadline: int | None = None
        self.validator = validator
        self.resumed = False
        self.size = 0

    def run(self) -> None:
        """Get all that is announced. Raises Passing, NotFollowed, ActionError, and one of FAILURES."""
        client = Client(self._patience, self._source.context, beyond=True)
        if self._source.timeout:
            self._deadline = self._host.now_ms() + self._source.timeout
        with client.get(self._url, self._headers()) as answer:
            self._deadline = None
            expected = self._begin(answer)
            with open(self._place, "ab", opener=_private) as file:
                file.truncate(self.size)
                self._copy(answer.read1, file, expected)
        if expected is not None and self.size != expected:
            raise Passing(f"it ended after {self.size} of {expected} bytes")

    def _patience(self) -> float | None:
        """Until the answer begins, `timeout` for all of it together; then for each read."""
        if self._deadline is None:
            return self._source.timeout / 1000 or None
        left = self._deadline - self._host.now_ms()
        if left <= 0:
            raise TimeoutError("timed out")
        return left / 1000

    def _headers(self) -> dict[str, str]:
        """What is there already is not asked for again, where it must be of the same content."""
        if (self._source.sha256 or self.validator) and os.path.exists(self._place):
            self.size = os.path.getsize(self._place)
        if not self.size or urlsplit(self._url).scheme not in WEB:
            self.size = 0
            return {}
        condition = {"If-Range": self.validator} if self.validator else {}
        return {"Range": f"bytes={self.size}-", **condition}

    def _begin(self, answer: Any) -> int | None:
        """The size that the file will have, None when the server does not say; `size`: where it goes on."""
        status = answer.status  # None: a file of the machine
        expected: int | None
        if status == 206:
            expected = self._resume(answer.headers.get("Content-Range", ""))
        elif status in (None, 200):
            self.size = 0
            tag = answer.headers.get("ETag", "")
            self.validator = "" if tag.startswith("W/") else tag
            length = "" if "Transfer-Encoding" in answer.headers else answer.headers.get("Content-Length", "")
            expected = int(length) if _NUMBER.fullmatch(length) else None
        else:
            raise self._refusal(status)
        self._check_size(expected or 0)
        return expected

    def _resume(self, place: str) -> int:
        """The size of the whole that a part belongs to. Raises Passing when it is not the part that was asked for."""
        found = _RANGE.fullmatch(place)
        if found is None or not self.size or int(found[1]) != self.size:
            self._start_again()
            raise Passing("it went on at another place")
        self.resumed = True
        return int(found[2]) + 1 if found[3] == "*" else int(found[3])

    def _refusal(self, status: int) -> Exception:
        if status == _RANGE_REFUSED and self.size:
            self._start_again()
            return Passing("it does not go on where it broke off")
        if status >= 500 or status in _PASSING:
            return Passing(f"it answered with status {status}")
        return ActionError(f"{shown(self._url)} answered with status {status}", "check the address")

    def _start_again(self) -> None:
        self.size = 0
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._place)

    def _check_size(self, size: int) -> None:
        limit = self._source.max_size
        if size > limit:
            raise ActionError(f"{shown(self._url)} gives more than {limit} bytes", "raise max_size if that is right")

    def _copy(self, read: Callable[[int], bytes], file: IO[bytes], expected: int | None) -> None:
        window = self._source.timeout
        looked = begun = self._host.now_ms()
        before = self.size
        while (want := _CHUNK if expected is None else min(_CHUNK, expected - self.size)) > 0:
            chunk = read(want)
            if not chunk:
                return
            self._check_size(self.size + len(chunk))
            _write(file, chunk)
            self.size += len(chunk)
            now = self._host.now_ms()
            if now - looked >= _CANCEL_MS:
                looked = now
                self._host.sleep_ms(1)  # a run that is being stopped stops here
            if window and now - begun >= window:
                if (self.size - before) * 1000 < SLOWEST * (now - begun):
                    raise TimeoutError(f"it sends less than {SLOWEST} bytes a second")
                begun, before = now, self.size


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _write(file: IO[bytes], chunk: bytes) -> None:
    try:
        file.write(chunk)
    except OSError as error:
        raise ActionError(f"what was downloaded cannot be kept: {error.strerror}", "free some space") from error
