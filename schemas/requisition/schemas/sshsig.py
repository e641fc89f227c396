"""OpenSSH wire forms: public keys (RFC 4253 §6.6, RFC 8709 §4) and signatures (openssh PROTOCOL.sshsig).

The namespace of a signature must be exactly `order@requisition`: a signature that git or ssh made for
another purpose is never an approval.
"""

import hashlib
from typing import NamedTuple

NAMESPACE = "order@requisition"
_MAGIC = b"SSHSIG"
_HASHES = ("sha256", "sha512")


class SshFormatError(ValueError):
    """Bytes that are not the OpenSSH form they should be."""


class SshSignature(NamedTuple):
    """A parsed SSHSIG blob: raw Ed25519 public key, the bytes it signed, the 64 bytes of signature."""

    public_key: bytes
    namespace: str
    reserved: bytes
    hash_name: str
    raw: bytes


def string(value: bytes) -> bytes:
    """RFC 4251 §5: four bytes of length and the value."""
    return len(value).to_bytes(4, "big") + value


def take(data: bytes) -> tuple[bytes, bytes]:
    """The first string of `data`, and the rest. Raises SshFormatError."""
    length = int.from_bytes(data[:4], "big")
    if len(data) < 4 + length:
        raise SshFormatError("it ends in the middle of a field")
    return data[4 : 4 + length], data[4 + length :]


def ed25519_blob(raw: bytes) -> bytes:
    """The wire form of an Ed25519 public key, as in an OpenSSH public key line."""
    return string(b"ssh-ed25519") + string(raw)


def signed_data(message: bytes, hash_name: str = "sha512", reserved: bytes = b"") -> bytes:
    """What the key signs (PROTOCOL.sshsig §3): the namespace, and a hash of the message."""
    digest = hashlib.new(hash_name, message).digest()
    fields = (NAMESPACE.encode(), reserved, hash_name.encode(), digest)
    return _MAGIC + b"".join(string(field) for field in fields)


def pack(public_key: bytes, raw: bytes, hash_name: str = "sha512") -> bytes:
    """The blob of a signature by an Ed25519 key (PROTOCOL.sshsig §2)."""
    signature = string(b"ssh-ed25519") + string(raw)
    fields = (ed25519_blob(public_key), NAMESPACE.encode(), b"", hash_name.encode(), signature)
    return _MAGIC + (1).to_bytes(4, "big") + b"".join(string(field) for field in fields)


def parse(blob: bytes) -> SshSignature:
    """Take a blob apart. Raises SshFormatError for another version, key type, hash or namespace."""
    if blob[:10] != _MAGIC + (1).to_bytes(4, "big"):
        raise SshFormatError("it is not an SSH signature of version 1")
    key, rest = take(blob[10:])
    namespace, rest = take(rest)
    reserved, rest = take(rest)
    hash_name, rest = take(rest)
    signature, rest = take(rest)
    if rest:
        raise SshFormatError("bytes follow the signature")
    if namespace != NAMESPACE.encode():
        shown = namespace.decode("utf-8", "replace")
        raise SshFormatError(f"it was made for the purpose {shown!r}, not {NAMESPACE!r}")
    if hash_name.decode("ascii", "replace") not in _HASHES:
        raise SshFormatError(f"its hash is not one of {', '.join(_HASHES)}")
    raw = _typed(signature, 64)
    return SshSignature(_typed(key, 32), NAMESPACE, reserved, hash_name.decode("ascii"), raw)


def _typed(field: bytes, size: int) -> bytes:
    kind, rest = take(field)
    value, rest = take(rest)
    if kind != b"ssh-ed25519" or rest or len(value) != size:
        raise SshFormatError("only Ed25519 keys sign orders the OpenSSH way")
    return value


def armor(blob: bytes) -> str:
    """The text form that `ssh-keygen -Y verify` reads."""
    from base64 import b64encode

    text = b64encode(blob).decode()
    lines = [text[i : i + 70] for i in range(0, len(text), 70)]
    return "\n".join(["-----BEGIN SSH SIGNATURE-----", *lines, "-----END SSH SIGNATURE-----", ""])


def unarmor(text: str) -> bytes:
    """The blob of an armored signature. Raises SshFormatError."""
    from base64 import b64decode

    lines = text.strip().splitlines()
    if len(lines) < 3 or lines[0] != "-----BEGIN SSH SIGNATURE-----" or lines[-1] != "-----END SSH SIGNATURE-----":
        raise SshFormatError("it is not an armored SSH signature")
    try:
        return b64decode("".join(lines[1:-1]), validate=True)
    except ValueError as error:
        raise SshFormatError(f"its base64 is damaged: {error}") from error
