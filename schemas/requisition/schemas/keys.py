"""Public keys in the forms that people have them, and the verification of signatures.

A key *is* its canonical public-key bytes (`identity`): the same Ed25519 key given as PEM, as an OpenSSH
line or out of a GnuPG keyring is one key and counts once. Names and key ids are for people.

Ed25519: RFC 8032. ECDSA over P-256 with SHA-256: FIPS 186-5. Both as SubjectPublicKeyInfo, RFC 5280
§4.1.2.7, of which each has exactly one encoding here. GnuPG keys are the JSON that `plan key show`
prints (securesystemslib's form of one OpenPGP key); their own expiry is not looked at, trust.yaml's is.
"""

import hashlib
from base64 import b64decode, b64encode
from typing import Any, Literal

import msgspec
from msgspec import Struct

from requisition.schemas import sshsig
from requisition.schemas.diagnostic import BadInput
from requisition.schemas.envelope import Method, Signature

KeyKind = Literal["ed25519", "ecdsa-sha2-nistp256", "gpg"]

MAX_KEY_TEXT = 65_536
MAX_SIGNATURE_BYTES = 16_384

_METHODS: dict[KeyKind, tuple[Method, ...]] = {
    "ed25519": ("ed25519", "sshsig"),
    "ecdsa-sha2-nistp256": ("ecdsa-sha2-nistp256",),
    "gpg": ("gpg",),
}
_SPKI_ED25519 = bytes.fromhex("302a300506032b6570032100")
_SPKI_P256 = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")


class PublicKey(Struct, frozen=True):
    """A public key. `keyid` is what `ssh-keygen -l` (GnuPG: `gpg -k`) shows; `gpg` its JSON then."""

    kind: KeyKind
    identity: bytes
    keyid: str
    comment: str = ""
    gpg: str = ""

    def verify(self, signature: Signature, message: bytes) -> bool:
        """Whether this key made the signature over these bytes. Never raises, whatever the signature."""
        if signature.method not in _METHODS[self.kind] or len(signature.sig) > MAX_SIGNATURE_BYTES:
            return False
        if signature.method == "ed25519":
            return _ed25519_made(self.identity[len(_SPKI_ED25519) :], signature.sig, message)
        if signature.method == "sshsig":
            return _sshsig_made(self.identity[len(_SPKI_ED25519) :], signature.sig, message)
        if signature.method == "gpg":
            return _gpg_made(self.gpg, signature.sig, message)
        return _p256_made(self.identity[len(_SPKI_P256) :], signature.sig, message)

    def openssh(self) -> str:
        """The OpenSSH line; for a GnuPG key its JSON. `parse_public_key` reads both."""
        if self.kind == "gpg":
            return self.gpg
        name, blob = _ssh_blob(self.kind, self.identity)
        return f"{name} {b64encode(blob).decode()} {self.comment}".rstrip()


def parse_public_key(text: str, where: str) -> PublicKey:
    """Read an OpenSSH line, PEM (SPKI) or the JSON of a GnuPG key. Raises BadInput."""
    text = text.strip()
    if len(text) > MAX_KEY_TEXT:
        raise BadInput.of("this is too long for a public key", where=where)
    if "PRIVATE KEY" in text:
        raise BadInput.of("this is a private key", where=where, next="name the public one (.pub)")
    try:
        if text.startswith("-----BEGIN PUBLIC KEY-----"):
            return _from_spki(b64decode("".join(text.splitlines()[1:-1]), validate=True))
        return _from_gpg(text) if text.startswith("{") else _from_line(text)
    except (ValueError, msgspec.MsgspecError) as error:
        raise BadInput.of(
            "this is not a public key",
            where=where,
            why=str(error),
            next="give an OpenSSH line (ssh-ed25519 …), PEM, or what plan key show prints for a GnuPG key",
        ) from error


def from_raw_ed25519(raw: bytes, comment: str = "") -> PublicKey:
    """The key of these 32 bytes."""
    return _public("ed25519", _SPKI_ED25519 + raw, comment)


def _public(kind: KeyKind, identity: bytes, comment: str = "") -> PublicKey:
    digest = hashlib.sha256(_ssh_blob(kind, identity)[1]).digest()
    return PublicKey(kind, identity, "SHA256:" + b64encode(digest).decode().rstrip("="), comment)


def _ssh_blob(kind: KeyKind, identity: bytes) -> tuple[str, bytes]:
    if kind == "ed25519":
        return "ssh-ed25519", sshsig.ed25519_blob(identity[len(_SPKI_ED25519) :])
    fields = (b"ecdsa-sha2-nistp256", b"nistp256", identity[len(_SPKI_P256) :])
    return "ecdsa-sha2-nistp256", b"".join(sshsig.string(field) for field in fields)


def _from_spki(der: bytes) -> PublicKey:
    if der.startswith(_SPKI_ED25519) and len(der) == 44:
        return _public("ed25519", der)
    if der.startswith(_SPKI_P256 + b"\x04") and len(der) == 91:
        return _public("ecdsa-sha2-nistp256", der)
    raise ValueError("only Ed25519 and ECDSA P-256 keys sign orders")


def _from_line(line: str) -> PublicKey:
    fields = line.split(None, 2)
    if "\n" in line or len(fields) < 2:
        raise ValueError("expected one line: type, key, comment")
    comment = fields[2] if len(fields) > 2 else ""
    name, rest = sshsig.take(b64decode(fields[1], validate=True))
    key, rest = sshsig.take(rest)
    if name != fields[0].encode():
        raise ValueError("it names two different types")
    if name == b"ssh-ed25519" and len(key) == 32 and not rest:
        return from_raw_ed25519(key, comment)
    if name == b"ecdsa-sha2-nistp256" and key == b"nistp256":
        point, rest = sshsig.take(rest)
        if len(point) == 65 and point[0] == 4 and not rest:
            return _public("ecdsa-sha2-nistp256", _SPKI_P256 + point, comment)
    raise ValueError("only Ed25519 and ECDSA P-256 keys sign orders")


class _GpgKey(Struct, forbid_unknown_fields=True):
    """securesystemslib's record of one OpenPGP key; `keyval` by algorithm: {"q"} or {"e", "n"} and others."""

    keyid: str
    keytype: Literal["rsa", "dsa", "eddsa"]
    scheme: str
    keyval: dict[str, Any]


def _from_gpg(text: str) -> PublicKey:
    """Identity is the key material alone: one secret has many OpenPGP fingerprints (they hash its date)."""
    found = msgspec.json.decode(text, type=_GpgKey)
    public = found.keyval.get("public")
    if not isinstance(public, dict):
        raise ValueError("its keyval holds no public key")
    material = {str(name): str(value).lower() for name, value in public.items()}
    point = material.get("q", "")
    if found.keytype == "eddsa" and len(point) == 64:
        identity = _SPKI_ED25519 + bytes.fromhex(point)
    else:
        identity = b"openpgp " + msgspec.json.encode([found.keytype, material], order="sorted")
    return PublicKey("gpg", identity, found.keyid, gpg=text)


def _ed25519_made(raw: bytes, signature: bytes, message: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(raw).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _sshsig_made(raw: bytes, blob: bytes, message: bytes) -> bool:
    try:
        found = sshsig.parse(blob)
    except sshsig.SshFormatError:
        return False
    signed = sshsig.signed_data(message, found.hash_name, found.reserved)
    return found.public_key == raw and _ed25519_made(raw, found.raw, signed)


def _p256_made(point: bytes, signature: bytes, message: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
        key.verify(signature, message, ec.ECDSA(SHA256()))
    except (InvalidSignature, ValueError):
        return False
    return True


class _GpgSignature(Struct, forbid_unknown_fields=True):
    keyid: str
    sig: str
    other_headers: str


def _gpg_made(key: str, signature: bytes, message: bytes) -> bool:
    from securesystemslib.exceptions import Error as LibraryError
    from securesystemslib.signer import GPGKey
    from securesystemslib.signer import Signature as LibrarySignature

    try:
        record = msgspec.json.decode(key, type=dict[str, Any])
        made = msgspec.to_builtins(msgspec.json.decode(signature, type=_GpgSignature))
        public = GPGKey.from_dict(record.pop("keyid"), record)
        public.verify_signature(LibrarySignature.from_dict(made), message)
    except (LibraryError, msgspec.MsgspecError, ValueError, KeyError, TypeError):
        return False
    return True
