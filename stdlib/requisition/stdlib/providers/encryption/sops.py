"""What all SOPS files have in common: each value sealed by AES-256-GCM with its path, and a MAC over all of them.

A value is `ENC[AES256_GCM,data:…,iv:…,tag:…,type:…]`, its additional data the keys that lead to it, each followed
by a colon. The MAC is the SHA-512 of all plain values in the order of the file, sealed with `lastmodified` as
additional data (getsops.io/docs, "Encryption protocol" and "Message Authentication Code"). The data key is sealed
for each recipient; only age ones are opened here.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from requisition.stdlib.action import ActionError
from requisition.stdlib.providers.encryption.age import Identities, NoMatch

SEALED = re.compile(
    r"ENC\[AES256_GCM,data:([A-Za-z0-9+/=]+),iv:([A-Za-z0-9+/=]+),tag:([A-Za-z0-9+/=]+),type:([a-z]+)\]"
)
_ONLY_ENCRYPTED = bytes.fromhex("8a3fd2ad54ce66527b1034f3d147be0b0b975b3bf44f72c6fdadec8176f27d69")
"""What the hash begins with where it covers encrypted values only."""
_OTHERS = ("pgp", "kms", "gcp_kms", "azure_kv", "hc_vault", "hckms")

Leaves = dict[tuple[str, ...], str]
"""Plain values by the keys and positions that lead to them."""


class Plain(NamedTuple):
    """One value: its type as SOPS names it (str, int, float, bool, bytes, time), and its text."""

    kind: str
    text: str


class Recipient(Struct, frozen=True):
    """The data key, sealed for one age recipient (armored)."""

    recipient: str
    enc: str


class Metadata(Struct, frozen=True):
    """The part of a file's `sops` section that is used here."""

    mac: str
    lastmodified: str
    age: list[Recipient] | None = None
    mac_only_encrypted: bool = False


def metadata(found: Any, source: str) -> Metadata:
    """The section, checked. Raises ActionError."""
    if not isinstance(found, dict):
        raise ActionError(f"{source} is not encrypted by sops: it has no `sops` section", "encrypt it: sops -e")
    if found.get("key_groups"):
        raise ActionError(f"{source} needs several key groups to be opened", "encrypt it to one group of age keys")
    try:
        known = msgspec.convert(found, Metadata)
    except msgspec.ValidationError as error:
        raise ActionError(f"{source}: its `sops` section is not as sops writes it: {error}") from error
    if not known.age:
        others = ", ".join(name for name in _OTHERS if found.get(name)) or "nobody"
        raise ActionError(f"{source} is encrypted for {others}, and not for an age key", "add one: sops updatekeys")
    return known


class Opener:
    """Opens the values of one file in their order, then `verify` tells whether they are all of them."""

    def __init__(self, known: Metadata, identities: Identities, source: str) -> None:
        """Raises ActionError when no identity opens the data key."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._known = known
        self._source = source
        self._cipher = AESGCM(_data_key(known, identities, source))
        self._hash = hashlib.sha512(_ONLY_ENCRYPTED if known.mac_only_encrypted else b"")

    def text(self, value: str, path: Sequence[str]) -> Plain | None:
        """A text of the file: opened when it is sealed; None when it stands there in clear."""
        if not SEALED.fullmatch(value):
            self.clear(Plain("str", value))
            return None
        plain = self._open(value, "".join(f"{key}:" for key in path) or ":")
        self._hash.update(_canonical(plain))
        return plain

    def clear(self, plain: Plain) -> None:
        """A value that stands in the file in clear."""
        if not self._known.mac_only_encrypted:
            self._hash.update(_canonical(plain))

    def verify(self) -> None:
        """Raises ActionError when values were changed, moved, added or taken away since sops wrote the file."""
        said = self._open(self._known.mac, self._known.lastmodified).text
        if not hmac.compare_digest(said.encode(), self._hash.hexdigest().upper().encode()):
            raise ActionError(
                f"{self._source} was changed since sops wrote it: its MAC does not match",
                "restore it, or look at the change and write it again with sops",
            )

    def _open(self, value: str, path: str) -> Plain:
        from cryptography.exceptions import InvalidTag

        found = SEALED.fullmatch(value)
        try:
            if found is None:
                raise ValueError("it is not in the form of sops")
            data, iv, tag = (base64.b64decode(found[number], validate=True) for number in (1, 2, 3))
            return Plain(found[4], self._cipher.decrypt(iv, data + tag, path.encode()).decode())
        except (InvalidTag, ValueError) as error:
            raise ActionError(
                f"{self._source}: the value of {path.rstrip(':').replace(':', '.')} cannot be decrypted",
                "it was changed or moved; restore the file",
            ) from error


def _data_key(known: Metadata, identities: Identities, source: str) -> bytes:
    for one in known.age or ():
        try:
            key = identities.open(one.enc.encode(), f"the data key of {source}")
        except NoMatch:
            continue
        if len(key) != 32:
            raise ActionError(f"the data key of {source} has {len(key)} bytes, expected 32")
        return key
    names = ", ".join(one.recipient[:80] for one in (known.age or ())[:3])
    raise ActionError(
        f"{source} is not encrypted for the given identity, but for {names}", "give another, or add yours"
    )


def _canonical(plain: Plain) -> bytes:
    """A value as the MAC sees it."""
    if plain.kind == "bool":
        return b"True" if plain.text in ("1", "t", "T", "true", "TRUE", "True") else b"False"
    if plain.kind == "float":
        try:
            text = format(Decimal(repr(float(plain.text))), "f")
        except (ValueError, ArithmeticError):
            return plain.text.encode()
        return (text.rstrip("0").rstrip(".") if "." in text else text).encode()
    return plain.text.encode()


def number(text: str) -> int | float:
    """The number that a sealed int or float stands for. Raises ActionError."""
    try:
        return int(text) if text.lstrip("+-").isdigit() else float(text)
    except ValueError as error:
        raise ActionError("a sealed number is none") from error


def shown(plain: Plain) -> str:
    """A value as text for other nodes."""
    return _canonical(plain).decode().lower() if plain.kind == "bool" else plain.text


def without_section(found: Mapping[str, Any]) -> dict[str, Any]:
    """A document without what sops added."""
    return {key: value for key, value in found.items() if key != "sops"}
