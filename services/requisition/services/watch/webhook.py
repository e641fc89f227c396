"""Webhooks: a forge says that something was pushed, and the repository is asked at once instead of in a while.

A hook is believed this far and no further: it wakes a poll of a repository that is watched anyway. What is run comes
from that repository and is judged by the watch's own trust. Forms, each at a path of its own:

    /hooks/github    X-Hub-Signature-256: HMAC-SHA256 over the body
    /hooks/gitea     X-Gitea-Signature: the same; also Forgejo
    /hooks/gitlab    X-Gitlab-Token: the secret itself, so by https only
    /hooks/generic   standardwebhooks.com: HMAC-SHA256 over id, time and body, not older than five minutes

All of them: a delivery is heard once within ten minutes, by its id and by its content. Only the generic form signs the
time; a captured request of the others can be sent again later, and then wakes a poll.
"""

import base64
import binascii
import hashlib
import hmac
import os
import re
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from typing import Literal

import msgspec
from aiohttp import hdrs, web
from msgspec import Struct
from multidict import CIMultiDictProxy

from requisition.schemas.diagnostic import BadInput, Refused
from requisition.services.clock import Clock
from requisition.services.watch.supervisor import Supervisor

Form = Literal["github", "gitea", "gitlab", "generic"]
Headers = CIMultiDictProxy[str]
FORMS: tuple[Form, ...] = ("github", "gitea", "gitlab", "generic")
SKEW = 300
_REMEMBERED = 600
_MOST_REMEMBERED = 4096
_SHORTEST = 16
_LONGEST = 1024
_PUSHES = frozenset({"push", "create", "delete", "Push Hook", "Tag Push Hook", "System Hook"})
_SCP = re.compile(r"(?:[^@/]*@)?([^:/]+):(?!//)(.+)\Z")
_URL = re.compile(r"[a-z]+://(?:[^@/]*@)?([^:/]*|\[[^]]*\])(?::\d*)?/(.+)\Z")


class Unwelcome(Exception):
    """Why a delivery is not taken: an HTTP status and a sentence."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Delivery(Struct, frozen=True):
    """One that is genuine. `marks`: by which it is known again; `pushed`: whether refs changed; `urls`: addresses of
    the repository."""

    marks: tuple[str, ...]
    pushed: bool
    urls: tuple[str, ...]


class _Repository(Struct, frozen=True):
    clone_url: str | None = None
    git_url: str | None = None
    ssh_url: str | None = None
    html_url: str | None = None
    url: str | None = None
    git_http_url: str | None = None
    git_ssh_url: str | None = None

    def urls(self) -> tuple[str, ...]:
        return tuple(url for url in msgspec.structs.astuple(self) if url)


class _Body(Struct, frozen=True):
    """What is read of a body. `url` is the whole of the generic form."""

    repository: _Repository | None = None
    project: _Repository | None = None
    url: str | None = None


def read(form: Form, headers: Headers, body: bytes, key: bytes, now: float) -> Delivery:
    """A delivery of any form, if it is genuine. Pure. Raises Unwelcome."""
    if headers.get(hdrs.CONTENT_TYPE, "").partition(";")[0].strip().lower() != "application/json":
        raise Unwelcome(415, "the body must be application/json")
    if form == "generic":
        ident, event = _standard(headers, body, key, now), "push"
        marks: tuple[str, ...] = (f"generic {ident}",)
    else:
        ident, event = _of_forge(form, headers, body, key)
        marks = (f"{form} {ident}", f"{form} {hashlib.sha256(body).hexdigest()}")
    try:
        said = msgspec.json.decode(body, type=_Body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Unwelcome(400, "the body cannot be read") from error
    urls = [one.urls() for one in (said.repository, said.project) if one]
    return Delivery(marks, event in _PUSHES, tuple(url for some in (*urls, (said.url or "",)) for url in some if url))


def _of_forge(form: Form, headers: Headers, body: bytes, key: bytes) -> tuple[str, str]:
    """Id and event of what GitHub, Gitea or GitLab sent."""
    digest = hmac.digest(key, body, "sha256").hex().encode()
    if form == "github":
        _same(_one(headers, "X-Hub-Signature-256"), b"sha256=" + digest)
        return _one(headers, "X-GitHub-Delivery"), _one(headers, "X-GitHub-Event")
    if form == "gitea":
        _same(_one(headers, "X-Gitea-Signature"), digest)
        return _one(headers, "X-Gitea-Delivery"), _one(headers, "X-Gitea-Event")
    _same(_one(headers, "X-Gitlab-Token"), key)
    return _one(headers, "X-Gitlab-Event-UUID"), _one(headers, "X-Gitlab-Event")


def _standard(headers: Headers, body: bytes, key: bytes, now: float) -> str:
    """Id of a delivery by standardwebhooks.com; several signatures may be given, as while a key is changed."""
    ident, sent = _one(headers, "webhook-id"), _one(headers, "webhook-timestamp")
    signatures = _one(headers, "webhook-signature").split(" ")
    signed = b"%s.%s.%s" % (_bytes(ident), _bytes(sent), body)
    wanted = b"v1," + base64.b64encode(hmac.digest(_unpacked(key), signed, "sha256"))
    if sum(hmac.compare_digest(_bytes(one), wanted) for one in signatures[:16]) == 0:
        raise Unwelcome(401, "the signature is not right")
    if not re.fullmatch(r"[0-9]{1,15}", sent) or abs(now - int(sent)) > SKEW:
        raise Unwelcome(401, "it is too old, or from the future")
    return ident


def _unpacked(key: bytes) -> bytes:
    """The key as the standard writes it, `whsec_` and base64; any other text stands for itself."""
    if not key.startswith(b"whsec_"):
        return key
    try:
        return base64.b64decode(key.removeprefix(b"whsec_"), validate=True)
    except binascii.Error:
        return key


def _same(given: str, wanted: bytes) -> None:
    if not hmac.compare_digest(_bytes(given), wanted):
        raise Unwelcome(401, "the signature is not right")


def _one(headers: Headers, name: str) -> str:
    """A header that must be there once."""
    found = headers.getall(name, [])
    if len(found) != 1 or not 0 < len(found[0]) <= _LONGEST:
        raise Unwelcome(400, f"the header {name} must be there once")
    return str(found[0])


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def place(url: str) -> str:
    """What the addresses of one repository have in common, however it is reached: host and path, without user, port
    and `.git`; "" for what is no address."""
    found = _URL.match(url) or _SCP.match(url)
    host, path = (found[1], found[2]) if found else ("", url if url.startswith("/") else "")
    path = path.strip("/").removesuffix(".git").rstrip("/")
    return f"{host}/{path}".lower() if path else ""


class Seen:
    """Deliveries of the last ten minutes, by their marks; bounded, the oldest go first."""

    def __init__(self, elapsed: Callable[[], float]) -> None:
        self._elapsed = elapsed
        self._until: OrderedDict[str, float] = OrderedDict()

    def before(self, marks: Iterable[str]) -> bool:
        """Whether one of the marks was there already; all of them are now."""
        now = self._elapsed()
        while self._until and (len(self._until) >= _MOST_REMEMBERED or next(iter(self._until.values())) <= now):
            self._until.popitem(last=False)
        marks = tuple(marks)
        known = any(mark in self._until for mark in marks)
        for mark in marks:
            self._until.setdefault(mark, now + _REMEMBERED)
        return known


def key_of(path: str) -> bytes:
    """The secret in a file, without the newline at its end. Raises BadInput, and Refused when others may read it."""
    try:
        with open(path, "rb") as file:
            mode, key = os.fstat(file.fileno()).st_mode, file.read(_LONGEST + 1).strip()
    except OSError as error:
        raise BadInput.of(f"the webhook's secret cannot be read: {error.strerror}", where=path) from error
    if mode & 0o077:
        raise Refused.of("others may read the webhook's secret", where=path, next=f"chmod 600 {path}")
    if not _SHORTEST <= len(key) <= _LONGEST:
        raise BadInput.of(f"the webhook's secret has {_SHORTEST} to {_LONGEST} bytes", where=path)
    return key


class Hooks:
    """The listener. `counts`: deliveries by form and outcome (`woken`, `ignored`, `repeated`, `refused`)."""

    def __init__(self, supervisor: Supervisor, secret: str, clock: Clock, say: Callable[[str], None]) -> None:
        """`secret`: path of the file with the key. Raises BadInput or Refused when it cannot be used."""
        key_of(secret)
        self.counts: Counter[tuple[str, str]] = Counter()
        self._supervisor = supervisor
        self._secret = secret
        self._clock = clock
        self._say = say
        self._seen = Seen(clock.elapsed)

    def routes(self) -> list[web.RouteDef]:
        """One a form."""
        return [web.post(f"/hooks/{form}", self._heard(form)) for form in FORMS]

    def _heard(self, form: Form) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def heard(request: web.Request) -> web.Response:
            body = await request.read()
            try:
                key = key_of(self._secret)  # each time: it may have been changed
            except (BadInput, Refused) as error:
                self._say(f"webhook: {error}")
                return web.json_response({"error": "the secret cannot be read here"}, status=503)
            try:
                delivery = read(form, request.headers, body, key, self._clock.now())
            except Unwelcome as error:
                self.counts[form, "refused"] += 1
                return web.json_response({"error": str(error)}, status=error.status)
            outcome, woken = await self._act(delivery)
            self.counts[form, outcome] += 1
            return web.json_response({"outcome": outcome, "watches": woken}, status=202)

        return heard

    async def _act(self, delivery: Delivery) -> tuple[str, int]:
        if self._seen.before(delivery.marks):
            return "repeated", 0
        places = {place(url) for url in delivery.urls} - {""}
        if not delivery.pushed or not places:
            return "ignored", 0
        watched = {one.kept.watch.url for one in await self._supervisor.list()}
        urls = sorted(url for url in watched if place(url) in places)
        woken = sum([await self._supervisor.wake(url) for url in urls])
        return ("woken" if urls else "ignored"), woken
