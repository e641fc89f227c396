"""One question over http or https: bounded in time by whoever asks, sent on a few times and never to plain http.

Why urllib and not a library: docs/decisions/downloads.md. Python bounds the time of single reads only, so that a
server which sends a byte now and then holds a reader for ever; here the one who asks is asked before each read.
"""

import io
import re
import socket
import ssl
import string
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from http.client import (
    HTTPConnection,
    HTTPException,
    HTTPResponse,
    HTTPSConnection,
    IncompleteRead,
    InvalidURL,
    RemoteDisconnected,
)
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from requisition.stdlib.action import ActionError
from requisition.stdlib.host import Host
from requisition.stdlib.providers.net.address import check_url, shown

REDIRECTS = 5
REDIRECTING = (301, 302, 303, 307, 308)
FAILURES = (OSError, HTTPException, ValueError)
"""What `Client.get` and reading its answer raise when the network or the server is to blame; see `why`."""

_BUNDLE_LIMIT = 4 << 20
_DAY = 86_400.0
_STRANGE = re.compile(r"[^ -~]")
_LONGEST = 200

Patience = Callable[[], float | None]
"""Asked before each wait for the network: the seconds that it may take, None for any, and never more than a day,
since sockets take no number at will. Raises TimeoutError."""


class NotFollowed(Exception):
    """The server sends us elsewhere, where we do not go."""


class Client:
    """Asks by GET. `context`: which certificates are trusted, None for those the system trusts. Only a client
    that goes `beyond` uses the proxies of the environment, and reads `file:` addresses."""

    def __init__(self, patience: Patience, context: ssl.SSLContext | None = None, *, beyond: bool = False) -> None:
        self._opener = urllib.request.OpenerDirector()
        self._opener.add_handler(_Patiently(lambda: _at_most_a_day(patience()), context))
        if beyond:
            self._opener.add_handler(urllib.request.ProxyHandler())
            self._opener.add_handler(urllib.request.FileHandler())

    def get(self, url: str, headers: Mapping[str, str], *, follow: bool = True) -> Any:
        """The answer, of whatever status, to read and to close. Raises NotFollowed, and one of FAILURES."""
        headers = {"User-Agent": "requisition", "Accept-Encoding": "identity", **headers}
        for _ in range(REDIRECTS + 1):
            request = urllib.request.Request(url, headers=headers)  # noqa: S310  (schemes: see check_url)
            answer: Any = self._opener.open(request)
            if not follow or answer.status not in REDIRECTING:
                return answer
            with answer:
                url = _onward(url, answer.headers.get("Location", ""))
        raise NotFollowed(f"it redirects more than {REDIRECTS} times, lastly to {shown(url)}")


def _at_most_a_day(seconds: float | None) -> float | None:
    return None if seconds is None else min(seconds, _DAY)


def _onward(url: str, location: str) -> str:
    """Where a redirect leads: to http and https only, never from https to http."""
    try:
        target = urljoin(url, quote(location, safe=string.punctuation, encoding="iso-8859-1"))
        check_url(target)
    except (ActionError, ValueError) as error:
        raise NotFollowed(f"it redirects to {shown(location)!r}, which is not followed: {error}") from error
    if urlsplit(url).scheme == "https" != urlsplit(target).scheme:
        raise NotFollowed(f"it redirects from https to {shown(target)}, which is not followed")
    return target


class _Patiently(urllib.request.AbstractHTTPHandler):
    """http and https, with patience asked for at every wait."""

    def __init__(self, patience: Patience, context: ssl.SSLContext | None) -> None:
        super().__init__()
        self._patience = patience
        self._context = context

    http_request = https_request = urllib.request.AbstractHTTPHandler.do_request_

    def http_open(self, request: urllib.request.Request) -> HTTPResponse:
        """Called by urllib."""
        return self.do_open(self._made(HTTPConnection), request)

    def https_open(self, request: urllib.request.Request) -> HTTPResponse:
        """Called by urllib."""
        return self.do_open(self._made(HTTPSConnection), request, context=self._context)

    def _made(self, kind: Any) -> Any:
        def connection(host: str, **options: Any) -> Any:
            made = kind(host, **(options | {"timeout": self._patience()}))
            made.response_class = response
            return made

        def response(sock: socket.socket, *args: Any, **options: Any) -> HTTPResponse:
            made = HTTPResponse(sock, *args, **options)
            made.fp = io.BufferedReader(_PatientReader(made.fp.detach(), sock, self._patience))
            return made

        return connection


class _PatientReader(io.RawIOBase):
    """What comes from a socket."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, patience: Patience) -> None:
        super().__init__()
        self._raw = raw
        self._sock = sock
        self._patience = patience

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """One read, in its time."""
        self._sock.settimeout(self._patience())
        return self._raw.readinto(buffer)

    def close(self) -> None:
        """Lets go of the socket."""
        self._raw.close()
        super().close()


def trusting(host: Host, bundle: str) -> ssl.SSLContext | None:
    """The context for a bundle of certificates on the target; None for an empty path, which means the system's.

    Any certificate of the bundle is trusted as it is, of an authority or of the server itself (RFC 4158 calls such
    a one a trust anchor); names and dates are checked as always. Raises ActionError when it cannot be read.
    """
    if not bundle:
        return None
    found = host.stat(bundle)
    if found is not None and found.kind == "link":
        raise ActionError(f"{bundle} is a link", "give the file that it leads to")
    text = host.read(bundle, _BUNDLE_LIMIT).decode("ascii", "ignore")
    try:
        context = ssl.create_default_context(cadata=text or "\n")  # with "" it would trust what the system trusts
    except (ssl.SSLError, ValueError) as error:
        raise ActionError(
            f"{bundle} holds no certificate in PEM", "give a file with -----BEGIN CERTIFICATE-----"
        ) from error
    # Since Python 3.13 the defaults differ; what is trusted must not depend on the interpreter.
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~ssl.VerifyFlags.VERIFY_X509_STRICT
    context.set_alpn_protocols(["http/1.1"])
    return context


def knock(host: str, port: int, seconds: float) -> str:
    """Empty when somebody listens on a TCP port, else why not; `seconds` for each address that the name has."""
    try:
        socket.create_connection((host, port), seconds).close()
    except (OSError, UnicodeError) as error:
        return why(error)
    return ""


def why(error: BaseException) -> str:
    """What went wrong, for a person; of what the server wrote, nothing long or strange."""
    if isinstance(error, urllib.error.URLError):
        if isinstance(error.reason, str):
            return error.reason
        error = error.reason
    match error:
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted: {error.verify_message.rstrip('.')}"
        case ssl.SSLError(reason=str(reason)):
            return f"TLS cannot be agreed on with it: {reason.replace('_', ' ').lower()}"
        case socket.gaierror():
            return f"its name cannot be resolved: {error.strerror}"
        case ConnectionRefusedError():
            return "nobody listens there"
        case TimeoutError() if error.errno is None and "timed out" in str(error):
            return "it did not answer in time"
        case RemoteDisconnected():
            return "it closed the connection without an answer"
        case IncompleteRead():
            return "its answer broke off"
        case HTTPException() if not isinstance(error, InvalidURL):
            return "what it says is not HTTP"
        case UnicodeError():
            return "its name is not well formed"
        case OSError() if error.strerror:
            return error.strerror
        case _:
            return _STRANGE.sub("?", str(error) or type(error).__name__)[:_LONGEST]
