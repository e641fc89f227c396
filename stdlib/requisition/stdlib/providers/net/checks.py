"""Checks: whether somebody listens, and answers as he should. They look, and change nothing.

What was just started needs a moment, so a check that is not met is asked again until its time is over; a check
that is met at once waits for nothing. Nothing but its own slots makes it give up before: a server that is still
starting, or on its way to new settings, may answer in any way.
"""

import re
from collections.abc import Callable
from http.client import HTTPResponse
from typing import Annotated, NamedTuple

from msgspec import Struct

from requisition.stdlib.action import ActionError, BaseAction, Change, Done, Satisfied, action
from requisition.stdlib.host import Host
from requisition.stdlib.providers.net.address import check_url, shown
from requisition.stdlib.providers.net.connection import (
    FAILURES,
    REDIRECTING,
    Client,
    NotFollowed,
    knock,
    trusting,
    why,
)
from requisition.stdlib.spec import slot

LOOK_MS = 2_000
"""The longest that a look takes when nothing is waited for yet."""

BODY_LIMIT = 1 << 20

_LEAST_MS = 1_000
_PAUSES_MS = (100, 200, 400, 800, 1_600)
_CHUNK = 1 << 16
_EXCERPT = 120
_HOST = re.compile(r"[^\s/@\[\]?#\x00-\x20]{1,253}")

Timeout = Annotated[int, slot("duration", "how long to wait for it; 0: ask once")]


class Problem(NamedTuple):
    """What stands against it, and what to do about it."""

    what: str
    hint: str


def wait(host: Host, timeout: int, longest: int, ask: Callable[[int], Problem | None]) -> Problem | None:
    """Ask until there is no problem; the last one when `timeout` is over. `ask` is given the milliseconds that it
    may take: at most `longest`, and never so few that nobody could answer. All times in milliseconds."""
    until = host.now_ms() + timeout
    tries = 0
    while True:
        problem = ask(min(longest, max(until - host.now_ms(), _LEAST_MS)))
        if problem is None:
            return None
        pause = _PAUSES_MS[min(tries, len(_PAUSES_MS) - 1)]
        if host.now_ms() + pause > until:
            return problem
        host.sleep_ms(pause)
        tries += 1


class WaitPortSlots(Struct, frozen=True):
    host: Annotated[str, slot("string", "name or address; an IPv6 address without brackets")]
    port: Annotated[int, slot("int", "TCP port")]
    timeout: Timeout = 30_000


@action("net.wait_port", effect="outside", blocking=True, looks=True)
class WaitPort(BaseAction[WaitPortSlots]):
    """Go on when somebody listens on a port; fail when nobody does in time."""

    slots = WaitPortSlots

    def observe(self, host: Host, slots: WaitPortSlots) -> Satisfied | Change:
        """One attempt to connect."""
        if not _HOST.fullmatch(slots.host):
            raise ActionError(f"{slots.host!r} is no name or address of a host", "give it alone, without http:// or []")
        if not 0 < slots.port < 65536:
            raise ActionError(f"{slots.port} is no port", "ports are 1 to 65535")
        if _knock(slots, LOOK_MS) is None:
            return Satisfied()
        return Change(f"waits for port {slots.port} of {slots.host}", undo={})

    def do(self, host: Host, slots: WaitPortSlots, change: Change) -> Done:
        """Connect until it works."""
        problem = wait(host, slots.timeout, 5_000, lambda limit: _knock(slots, limit))
        if problem is None:
            return Done()
        after = f"within {_seconds(slots.timeout)}"
        raise ActionError(f"port {slots.port} of {slots.host} did not open {after}: {problem.what}", problem.hint)


def _knock(slots: WaitPortSlots, limit: int) -> Problem | None:
    what = knock(slots.host, slots.port, limit / 1000)
    return Problem(what, "look whether the service runs, and where it listens") if what else None


class HttpCheckSlots(Struct, frozen=True):
    url: Annotated[str, slot("string", "http or https address that is asked")]
    status: Annotated[int, slot("int", "what it must answer; redirects are followed unless it is one")] = 200
    contains: Annotated[str, slot("string", "text that must stand in the first MiB of the answer; empty: any")] = ""
    timeout: Timeout = 30_000
    attempt_timeout: Annotated[int, slot("duration", "the longest that one answer may take")] = 10_000
    ca: Annotated[str, slot("path", "PEM file of certificates to trust, instead of those the system trusts")] = ""


@action("net.http_check", effect="outside", blocking=True, looks=True)
class HttpCheck(BaseAction[HttpCheckSlots]):
    """Go on when a server answers as expected; fail when it does not in time. No proxy is used."""

    slots = HttpCheckSlots

    def observe(self, host: Host, slots: HttpCheckSlots) -> Satisfied | Change:
        """Asks once."""
        check_url(slots.url)
        if not 200 <= slots.status <= 599:
            raise ActionError(f"{slots.status} is no status that a server ends with", "give one from 200 to 599")
        if slots.attempt_timeout == 0:
            raise ActionError("attempt_timeout is 0, so no answer could come in time", "leave it out")
        if _ask(host, slots, min(LOOK_MS, slots.attempt_timeout)) is None:
            return Satisfied()
        return Change(f"waits for {shown(slots.url)}", undo={})

    def do(self, host: Host, slots: HttpCheckSlots, change: Change) -> Done:
        """Ask until the answer is as expected."""
        problem = wait(host, slots.timeout, slots.attempt_timeout, lambda limit: _ask(host, slots, limit))
        if problem is None:
            return Done()
        expected = f"status {slots.status}"
        if slots.contains:
            expected += f" and a body with {_excerpt(slots.contains)}"
        raise ActionError(
            f"{shown(slots.url)} did not answer as expected within {_seconds(slots.timeout)}:"
            f" expected {expected}, {problem.what}",
            problem.hint,
        )


def _ask(host: Host, slots: HttpCheckSlots, limit: int) -> Problem | None:
    """Ask once, for at most `limit` milliseconds from the name to the last byte."""
    until = host.now_ms() + limit

    def patience() -> float:
        left = until - host.now_ms()
        if left <= 0:
            raise TimeoutError(f"its answer took longer than {_seconds(limit)}")
        return left / 1000

    if slots.ca and host.stat(slots.ca) is None:
        return Problem(f"but {slots.ca}, which says whom to trust, is not there", "make it first, or correct ca")
    client = Client(patience, trusting(host, slots.ca))
    try:
        with client.get(slots.url, {}, follow=slots.status not in REDIRECTING) as answer:
            return _judge(slots, answer)
    except NotFollowed as error:
        return Problem(f"but {error}", "give the address that it should be asked at")
    except FAILURES as error:
        said = why(error)
        if "certificate" in said:
            return Problem(f"but {said}", "trust the certificate, or who signed it, with ca = a PEM file on the target")
        return Problem(f"but {said}", "look whether the service runs, and what its log says")


def _judge(slots: HttpCheckSlots, answer: HTTPResponse) -> Problem | None:
    hint = "look what the log of the service says"
    if answer.status != slots.status:
        at = "" if answer.url == slots.url else f" from {shown(answer.url)}"
        return Problem(f"came status {answer.status}{at}", hint)
    body = _body(answer)
    if slots.contains.encode() in body:
        return None
    came = f"a body that begins {_excerpt(body.decode('utf-8', 'replace'))}" if body else "an empty body"
    return Problem(f"came status {answer.status} and {came}", hint)


def _body(answer: HTTPResponse) -> bytes:
    """What came, up to the limit. Raises OSError when it is less than was announced."""
    body = bytearray()
    while len(body) < BODY_LIMIT and (chunk := answer.read1(min(_CHUNK, BODY_LIMIT - len(body)))):
        body += chunk
    if len(body) < BODY_LIMIT and answer.length:
        raise OSError(f"its answer broke off after {len(body)} of {len(body) + answer.length} bytes")
    return bytes(body)


def _excerpt(text: str) -> str:
    return repr(text if len(text) <= _EXCERPT else text[:_EXCERPT] + "…")


def _seconds(duration: int) -> str:
    return f"{duration / 1000:g} s"
