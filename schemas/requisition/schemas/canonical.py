"""Canonical bytes (RFC 8785, JSON Canonicalization Scheme) for the values that our documents hold.

Our domain is smaller than JSON: integers within ±(2^53 − 1), no floats, ASCII keys. Within it msgspec's
sorted encoder is exactly RFC 8785 (§3.2.2.2 strings, §3.2.2.3 numbers, §3.2.3 sorting), which a test
compares with an independent encoder.

Decoding is strict: the value must encode to the very bytes that were given. That refuses duplicate keys,
whitespace, other spellings of strings and numbers, and fields written out at their default.
"""

from typing import Any, TypeVar

import msgspec

from requisition.schemas.diagnostic import BadInput

MAX_BYTES = 1 << 30
MAX_INTEGER = (1 << 53) - 1

T = TypeVar("T")

_encoder = msgspec.json.Encoder(order="sorted")


class NotCanonical(BadInput):
    """Bytes that are not the canonical form of a document of ours."""


def encode(value: Any) -> bytes:
    """Canonical bytes of a value in the domain; whoever makes values from outside calls `check_domain`."""
    try:
        return _encoder.encode(value)
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as error:
        raise NotCanonical.of("this value cannot be written canonically", why=str(error)) from error


def check_domain(value: Any, path: str = "$") -> None:
    """Raises NotCanonical, with the path, when a value is outside the domain."""
    stack = [(path, value)]
    while stack:
        at, item = stack.pop()
        kind = type(item)
        if kind is str or kind is bool or item is None:
            continue
        if kind is dict:
            for key, inner in item.items():
                if type(key) is not str or not key.isascii():
                    raise NotCanonical.of(f"{at}: the key {key!r} is not ASCII text")
                if type(inner) is not str:
                    stack.append((f"{at}.{key}", inner))
        elif kind is list or kind is tuple:
            stack.extend((f"{at}[{i}]", inner) for i, inner in enumerate(item) if type(inner) is not str)
        elif kind is int:
            if abs(item) > MAX_INTEGER:
                raise NotCanonical.of(f"{at}: {item} is beyond 2^53 - 1")
        else:
            raise NotCanonical.of(
                f"{at}: a {kind.__name__} cannot be in a document", next="use text or an integer"
            )


def decode(data: bytes, kind: type[T], *, what: str = "document") -> T:
    """The typed document. Raises NotCanonical, never anything else, for every other input."""
    if len(data) > MAX_BYTES:
        raise NotCanonical.of(f"the {what} is larger than {MAX_BYTES} bytes")
    try:
        value = _decoder(kind).decode(data)
        again = _encoder.encode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise NotCanonical.of(
            f"this is not a {what} that this version understands", why=str(error), next="build it again"
        ) from error
    if again != data:
        raise NotCanonical.of(
            f"the {what} is not in canonical form",
            why="its content could be written in more than one way, so that a signature would not bind it",
            next="build it again",
        )
    return value


_decoders: dict[type[Any], msgspec.json.Decoder[Any]] = {}


def _decoder(kind: type[T]) -> "msgspec.json.Decoder[T]":
    found = _decoders.get(kind)
    if found is None:
        found = _decoders[kind] = msgspec.json.Decoder(kind)
    return found
