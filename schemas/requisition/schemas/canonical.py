"""Canonical bytes (RFC 8785, JSON Canonicalization Scheme) for the values that our documents hold.

Our domain is smaller than JSON: integers within ±2^53, no floats, ASCII keys. Within it msgspec's
sorted encoder is exactly RFC 8785 (§3.2.2.2 strings, §3.2.2.3 numbers, §3.2.3 sorting), which a test
compares with an independent encoder.

Decoding is strict: the value must encode to the very bytes that were given. That refuses duplicate keys,
whitespace, other spellings of strings and numbers, and fields written out at their default.
"""

import re
from collections.abc import Hashable
from functools import lru_cache
from typing import Any, TypeVar, cast

import msgspec

from requisition.schemas.diagnostic import BadInput

MAX_BYTES = 1 << 29
MAX_INTEGER = 1 << 53

T = TypeVar("T")

_encoder = msgspec.json.Encoder(order="sorted")
# In JSON without whitespace every number follows `":`, `[` or `,`. Folding digits, separators and the marks
# of a float to one byte each lets one pass of a C loop find every suspect; text that only looks so
# (",1.5" in a string) is told apart by a second pass without strings, and words by the exact scan.
_FOLD = bytes.maketrans(b"0123456789[.eE", b"0000000000,...")
_SUSPECT = re.compile(rb",(?:0+\.|0{16})")
_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*"')
_STRING = re.compile(_TEXT.pattern + rb"(:?)")
_NUMBER = re.compile(rb"-?[0-9][0-9.eE+-]*")
# A decoder that refuses floats leaves only integers to look at: those of 16 digits and more.
_DIGITS = bytes.maketrans(b"123456789:[", b"000000000,,")
_LONG = (b"," + b"0" * 16, b",-" + b"0" * 16)


class NotCanonical(BadInput):
    """A value without canonical form, or bytes that are not the canonical form of a document of ours."""


def encode(value: Any) -> bytes:
    """The canonical bytes. Raises NotCanonical for a float, an integer beyond 2^53, a key that is not
    ASCII, a lone surrogate, or nesting beyond the interpreter's limit."""
    data = _encoded(value)
    _check_domain(data)
    return data


def encode_with(value: Any, field: str, known: bytes) -> bytes:
    """The canonical bytes of a record whose one `field` is None, with canonical bytes in its place. The record's
    types must leave no room for floats and other keys: these are not looked for. Raises NotCanonical."""
    data = _encoded(value)
    if _has_long_number(data):
        _check_domain(data)
    before, mark, after = data.partition(b'"%s":null' % field.encode())
    if not mark:
        raise ValueError(f"the value has no field {field!r} that is null")
    return b"".join((before, mark[:-4], known, after))


def _encoded(value: Any) -> bytes:
    try:
        return _encoder.encode(value)
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as error:
        raise NotCanonical.of("this value cannot be written canonically", why=str(error)) from error


def decode(data: bytes, kind: type[T], *, what: str = "document") -> T:
    """The typed document. Raises NotCanonical, never anything else, for every other input."""
    if len(data) > MAX_BYTES:
        raise NotCanonical.of(f"the {what} is larger than {MAX_BYTES} bytes")
    try:
        value = cast("T", _decoder(cast("Hashable", kind)).decode(data))
        again = _encoder.encode(value)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        _check_domain(data)  # it has better words
        raise NotCanonical.of(
            f"this is not a {what} that this version understands", why=str(error), next="build it again"
        ) from error
    if not data.isascii() or _has_long_number(data):
        _check_domain(data)
    if again != data:
        raise NotCanonical.of(
            f"the {what} is not in canonical form",
            why="its content could be written in more than one way, so that a signature would not bind it",
            next="build it again",
        )
    return value


@lru_cache(maxsize=16)
def _decoder(kind: Hashable) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(cast("type[Any]", kind), float_hook=_no_float)


def _has_long_number(data: bytes) -> bool:
    folded = data.translate(_DIGITS)
    return any(mark in folded for mark in _LONG)


def _no_float(text: str) -> float:
    raise ValueError(f"{text} is not a whole number")


def _suspect(data: bytes) -> bool:
    folded = data.replace(b'":', b",").translate(_FOLD, b"-")
    return _SUSPECT.search(b"," + folded) is not None


def _check_domain(data: bytes) -> None:
    if data.isascii() and not (_suspect(data) and _suspect(_TEXT.sub(b'"', data))):
        return
    for string in _STRING.finditer(data):
        if string[1] and not string[0].isascii():
            name = string[0][:-1].decode("utf-8", "replace")
            raise NotCanonical.of(f"the key {name} is not ASCII", next="use ASCII letters")
    for number in _NUMBER.findall(_STRING.sub(b" ", data)):
        text = number.decode("ascii")
        if not text.removeprefix("-").isdigit():
            raise NotCanonical.of(f"{text[:40]} is not a whole number", next="write it as text")
        if len(text) > 17 or abs(int(text)) > MAX_INTEGER:
            raise NotCanonical.of(f"{text[:40]} is beyond ±2^53", next="write it as text")
