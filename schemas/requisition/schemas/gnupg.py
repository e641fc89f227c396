"""Keys of the GnuPG keyring, named by their whole fingerprint: a shorter name could be another key's too.

What GnuPG knows of a key beyond its bytes is asked here, of gpg itself (doc/DETAILS, "Format of colon listings"):
who signs with an expired or revoked key, or comes to trust one, is told. Verification never asks; it has trust.yaml.
"""

import re
import subprocess
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct

from requisition.schemas import keys
from requisition.schemas.diagnostic import BadInput
from requisition.schemas.envelope import Signature
from requisition.schemas.keys import PublicKey

_FINGERPRINT = re.compile(r"[0-9a-f]{40}")
_STATES = {"e": "expired", "r": "is revoked", "i": "is invalid", "d": "is disabled"}


class CannotSign(BadInput):
    """The key is missing, locked, or of a kind that cannot be used."""


class KeyringKey(Struct, frozen=True):
    """A good key. `expires`: RFC 3339, None for never; `signer` is securesystemslib's."""

    public: PublicKey
    expires: str | None
    signer: Any

    def sign(self, message: bytes) -> Signature:
        """Sign PAE bytes. Raises CannotSign."""
        try:
            made = self.signer.sign(message)
        except Exception as error:  # see `find`
            raise CannotSign.of("GnuPG did not sign", why=str(error), next="unlock the key: gpg --sign") from error
        return Signature(self.public.keyid, "gpg", msgspec.json.encode(made.to_dict(), order="sorted"))


def find(fingerprint: str) -> KeyringKey:
    """The key of this fingerprint, in any case and with or without spaces. Raises CannotSign when there is none, and
    when it expired or was revoked."""
    name = fingerprint.replace(" ", "").lower()
    if not _FINGERPRINT.fullmatch(name):
        raise CannotSign.of(
            f"{fingerprint[:60]!r} is not the fingerprint of a key",
            why="it has 40 hexadecimal digits",
            next="gpg --list-keys shows it",
        )
    expires = _expiry(name)
    from securesystemslib.signer import GPGSigner

    try:
        uri, public = GPGSigner.import_(name)
        signer = GPGSigner.from_priv_key_uri(uri, public)
    except Exception as error:  # what the library raises of packets that it cannot read has no base of its own
        raise CannotSign.of(f"GnuPG's key {name} cannot be used", why=str(error), next="plan key new") from error
    exported = msgspec.json.encode({"keyid": public.keyid, **public.to_dict()}, order="sorted").decode()
    return KeyringKey(keys.parse_public_key(exported, f"gpg:{name}"), expires, signer)


def _expiry(name: str) -> str | None:
    """Time at which the key ends. Raises CannotSign when it is not good now."""
    validity, end = _listed(name)
    if validity in _STATES:
        when = f" on {_time(end):%Y-%m-%d}" if validity == "e" else ""
        raise CannotSign.of(
            f"GnuPG's key {name} {_STATES[validity]}{when}",
            why="its signatures would count for nobody who knows that",
            next="take another key, or make one: plan key new",
        )
    return f"{_time(end):%Y-%m-%dT%H:%M:%SZ}" if end else None


def _listed(name: str) -> tuple[str, str]:
    """Validity, and end in seconds or nothing, as GnuPG lists them."""
    argv = ["gpg", "--batch", "--with-colons", "--list-keys", "--", name]
    try:
        done = subprocess.run(argv, capture_output=True, check=False)
    except OSError as error:
        raise CannotSign.of("GnuPG cannot be run", why=str(error), next="install gnupg") from error
    if done.returncode:
        why = done.stderr.decode("utf-8", "replace").strip()
        raise CannotSign.of(f"GnuPG has no key {name}", why=why, next="gpg --list-keys")
    lines = [line.split(":") for line in done.stdout.decode("utf-8", "replace").splitlines()]
    key, fingerprint = (next(line for line in lines if line[0] == kind) for kind in ("pub", "fpr"))
    if fingerprint[9].lower() != name:
        raise CannotSign.of(f"{name} is a subkey", why="only main keys sign orders", next=f"gpg:{fingerprint[9]}")
    return key[1], key[6]


def _time(seconds: str) -> datetime:
    return datetime.fromtimestamp(int(seconds), UTC)
