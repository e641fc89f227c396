"""Opening what age encrypted, with X25519 identities and SSH keys, through rage's library (pyrage)."""

from collections.abc import Iterable
from typing import Any

from requisition.stdlib.action import ActionError

_ARMOUR = "-----BEGIN OPENSSH PRIVATE KEY-----"
_PEM = "-----BEGIN RSA PRIVATE KEY-----"


class NoMatch(Exception):
    """None of the identities is a recipient."""


class Identities:
    """The keys of one identity file (age-keygen(1)), or one SSH private key."""

    def __init__(self, text: str) -> None:
        """Raises ActionError, which never holds a part of the text."""
        import pyrage  # here, because an order without encrypted files has no use for it

        self._pyrage: Any = pyrage
        try:
            if text.lstrip().startswith((_ARMOUR, _PEM)):
                self._keys = [pyrage.ssh.Identity.from_buffer(text.lstrip().encode())]
            else:
                self._keys = [pyrage.x25519.Identity.from_str(line) for line in _lines(text)]
        except pyrage.IdentityError as error:
            raise _bad_identity(text) from error
        if not self._keys:
            raise _bad_identity(text)

    def open(self, sealed: bytes, what: str) -> bytes:
        """The content. Raises NoMatch, and ActionError for what is damaged or no age file."""
        try:
            return bytes(self._pyrage.decrypt(sealed, self._keys))
        except self._pyrage.DecryptError as error:
            if b"\n-> scrypt " in sealed[:200]:
                raise ActionError(f"{what} was encrypted with a passphrase", "encrypt it to a key: age -r") from error
            if str(error) == "No matching keys found":
                raise NoMatch(what) from error
            raise ActionError(
                f"{what} cannot be decrypted: {error}", "it is damaged, or was not made by age; encrypt it again"
            ) from error


def _lines(text: str) -> Iterable[str]:
    lines = (line.strip() for line in text.splitlines())
    return (line for line in lines if line and not line.startswith("#"))


def _bad_identity(text: str) -> ActionError:
    if _ARMOUR in text or _PEM in text:
        return ActionError(
            "the SSH key cannot be used to decrypt", "give an Ed25519 or RSA private key without a passphrase"
        )
    if "AGE-PLUGIN-" in text:
        return ActionError("identities of age plug-ins are not used here", "give an AGE-SECRET-KEY-1… or an SSH key")
    return ActionError(
        "the identity is no age key", "give what age-keygen wrote (AGE-SECRET-KEY-1…), or an SSH private key"
    )
