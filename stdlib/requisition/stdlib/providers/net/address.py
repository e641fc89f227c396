"""Addresses: which are asked, and how they are shown to people without what may be a password."""

import re
from urllib.parse import urlsplit

from requisition.stdlib.action import ActionError

WEB = ("http", "https")
_LONGEST = 200
_LOGIN = re.compile(r"//[^/?#]*@")


def check_url(url: str, schemes: tuple[str, ...] = WEB) -> None:
    """Raises ActionError for an address that is not asked: of another scheme, with a login, or not well formed."""
    seen = shown(url)
    try:
        parts = urlsplit(url)
        host, _, named = parts.hostname, parts.port, parts.username is not None
    except ValueError as error:
        if "@" in url:  # where the login ends is not certain, so nothing is repeated
            raise ActionError("an address with a @ in it cannot be read", "check the address") from None
        raise ActionError(f"the address {seen!r} cannot be read: {error}", "check the address") from error
    if parts.scheme not in schemes:
        words = " or ".join([", ".join(schemes[:-1]), schemes[-1]])
        raise ActionError(f"the address {seen!r} is not {words}", "write the whole address, from http on")
    if any(ord(c) <= 32 or ord(c) == 127 for c in url):
        raise ActionError(f"the address {seen!r} holds a space or control character", "encode it, as %20")
    if not url.isascii():
        raise ActionError(f"the address {seen!r} is not ASCII", "encode it: a path as %C3%BC, a name as xn--…")
    if named:
        raise ActionError(
            f"the address {seen!r} holds a user name or password", "an order is no place for it; use another way"
        )
    if not host and parts.scheme in WEB:
        raise ActionError(f"the address {seen!r} names no host", "check the address")


def shown(url: str) -> str:
    """The address for a message: short, and without login and query, where passwords and tokens stand."""
    head, query, _ = _LOGIN.sub("//…@", url, count=1).partition("?")
    if len(head) > _LONGEST:
        return f"{head[:_LONGEST]}…"
    return f"{head}?…" if query else head
