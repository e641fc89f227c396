"""One file over http, https or from the machine itself: resumed where it broke off, bounded in size and patience.

Why urllib and not a library: docs/decisions/downloads.md. A transfer is resumed only where the rest must
belong to the same content: the digest is known, or the server vouches for it (RFC 9110 §13.1.5, If-Range).
"""

import contextlib
import hashlib
import os
import ssl
import urllib.error
import urllib.request
from http.client import HTTPException, InvalidURL
from typing import IO, Any
from urllib.parse import urlsplit

from msgspec import Struct

from requisition.stdlib.action import ActionError
from requisition.stdlib.host import Host

ATTEMPTS = 4
SLOWEST = 512
"""Bytes a second, over each `timeout`; a server that sends less is treated as silent."""

_CHUNK = 1 << 18
_CANCEL_MS = 250
_PASSING = (408, 425, 429)
_RANGE_REFUSED = 416
FETCHED = ("http", "https", "file")


class Source(Struct, frozen=True):
    """What to get: `sha256` is empty when any content will do; `timeout` in milliseconds."""

    url: str
    sha256: str
    timeout: int
    max_size: int


def fetch(host: Host, source: Source, place: str) -> tuple[str, int]:
    """Download into the private file `place`; (SHA-256 in hex, size). Raises ActionError."""
    problem: Exception | None = None
    validator = ""
    for attempt in range(1 if source.url.startswith("file:") else ATTEMPTS):
        if attempt:
            host.sleep_ms(100 << attempt)
        try:
            transfer = _Transfer(host, source, place, validator)
            whole = transfer.run()
        except urllib.error.HTTPError as error:
            problem = _after_refusal(error, source, place)
            continue
        except (InvalidURL, ValueError) as error:
            raise ActionError(f"{source.url}: {error}", "check the address") from error
        except (OSError, HTTPException) as error:
            problem = error
            if isinstance(getattr(error, "reason", None), ssl.SSLCertVerificationError):
                break
            continue
        validator = transfer.validator
        problem = EOFError(f"it ended after {transfer.size} of {transfer.expected} bytes")
        if whole:
            digest = sha256_of(place)
            if not (transfer.resumed and source.sha256 and digest != source.sha256):
                return digest, transfer.size
            problem = EOFError("the server resumed with another content")
            os.unlink(place)
    reason = getattr(problem, "reason", None) or problem
    raise ActionError(f"{source.url} cannot be downloaded: {reason}", "check the network, or the server") from problem


def _after_refusal(error: urllib.error.HTTPError, source: Source, place: str) -> Exception:
    """What is worth another try is returned, anything else raised."""
    with error:
        if error.code == _RANGE_REFUSED:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(place)
        elif error.code < 500 and error.code not in _PASSING:
            raise ActionError(f"{source.url}: {error}", "check the address") from error
    return error


def sha256_of(place: str) -> str:
    """Digest of a private file."""
    with open(place, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Transfer:
    """One request. Afterwards `size` is what the private file holds, `expected` what was announced."""

    def __init__(self, host: Host, source: Source, place: str, validator: str) -> None:
        self._host = host
        self._source = source
        self._place = place
        self._asked = validator
        self.validator = ""
        self.resumed = False
        self.size = 0
        self.expected: int | None = None

    def run(self) -> bool:
        """True when all that was announced has come. Raises OSError, HTTPException, ValueError, ActionError."""
        with _opener().open(self._request(), timeout=self._source.timeout / 1000 or None) as answer:
            self._begin(answer)
            with open(self._place, "ab" if self.resumed else "wb") as file:
                self._copy(answer, file)
        return self.expected is None or self.size == self.expected

    def _request(self) -> urllib.request.Request:
        headers = {"User-Agent": "requisition", "Accept-Encoding": "identity"}
        if (self._source.sha256 or self._asked) and os.path.exists(self._place):
            self.size = os.path.getsize(self._place)
        if self.size:
            headers["Range"] = f"bytes={self.size}-"
            if self._asked:
                headers["If-Range"] = self._asked
        return urllib.request.Request(self._source.url, headers=headers)  # noqa: S310  (schemes: see check_url)

    def _begin(self, answer: Any) -> None:
        """Whether it goes on where we were, and how much is to come."""
        self.resumed = getattr(answer, "status", None) == 206
        if self.resumed and not str(answer.headers.get("Content-Range", "")).startswith(f"bytes {self.size}-"):
            os.unlink(self._place)
            raise OSError("the server resumed at another place")
        if not self.resumed:
            self.size = 0
        tag = answer.headers.get("ETag", "")
        self.validator = tag if tag and not tag.startswith("W/") else answer.headers.get("Last-Modified", "")
        length = answer.headers.get("Content-Length", "")
        self.expected = self.size + int(length) if length.isascii() and length.isdigit() else None
        self._check_size(self.expected or 0)

    def _check_size(self, size: int) -> None:
        limit = self._source.max_size
        if size > limit:
            raise ActionError(f"{self._source.url} gives more than {limit} bytes", "raise max_size if that is right")

    def _copy(self, answer: Any, file: IO[bytes]) -> None:
        window = self._source.timeout
        looked = begun = self._host.now_ms()
        before = self.size
        while (want := _CHUNK if self.expected is None else min(_CHUNK, self.expected - self.size)) > 0:
            chunk = answer.read1(want)
            if not chunk:
                return
            self.size += len(chunk)
            self._check_size(self.size)
            file.write(chunk)
            now = self._host.now_ms()
            if now - looked >= _CANCEL_MS:
                looked = now
                self._host.sleep_ms(1)  # a run that is being stopped stops here
            if window and now - begun >= window:
                if (self.size - before) * 1000 < SLOWEST * (now - begun):
                    raise TimeoutError(f"the server sends less than {SLOWEST} bytes a second")
                begun, before = now, self.size


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow only to http and https, and never from https to http: a server must not make us read files."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        scheme = urlsplit(newurl).scheme
        if scheme not in ("http", "https") or (scheme == "http" and req.type == "https"):
            raise ValueError(f"redirected to {newurl!r}, which is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_Redirects())
