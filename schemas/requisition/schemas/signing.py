"""Making keys and signatures. Only the command line and receipts use this; verification never does.

A key is named by a file (PEM PKCS#8, or OpenSSH as in `~/.ssh`), by `gpg:FINGERPRINT`, or by a `.pub` file whose
private half an ssh-agent holds. GnuPG and PEM keys sign through securesystemslib's signer interface.
"""

import os
import subprocess
import tempfile
from collections.abc import Callable
from typing import Any, Protocol

from requisition.schemas import gnupg, keys, sshsig
from requisition.schemas.diagnostic import BadInput
from requisition.schemas.envelope import Method, Signature
from requisition.schemas.gnupg import CannotSign
from requisition.schemas.keys import PublicKey

Ask = Callable[[str], bytes]
"""Asks a person for the passphrase of what the text names."""


class Signer(Protocol):
    """Something that signs."""

    @property
    def public(self) -> PublicKey:
        """The public half."""
        ...

    def sign(self, message: bytes) -> Signature:
        """Sign PAE bytes."""
        ...


def load_signer(name: str, ask: Ask) -> Signer:
    """The signer that `name` stands for; see the module. Raises CannotSign."""
    if name.startswith("gpg:"):
        return gnupg.find(name.removeprefix("gpg:"))
    try:
        with open(name, "rb") as file:
            data = file.read(1 << 16)
    except OSError as error:
        raise CannotSign.of(
            f"the key cannot be read: {error.strerror}", where=name, next="plan key list shows your keys"
        ) from error
    if name.endswith(".pub"):
        return AgentSigner(name, keys.parse_public_key(data.decode("utf-8", "replace"), name))
    _check_private(name)
    if b"OPENSSH PRIVATE KEY" in data:
        return OpenSshSigner(_private(data, name, ask, ssh=True))
    return PemSigner(_private(data, name, ask, ssh=False), name)


def _check_private(name: str) -> None:
    if os.stat(name).st_mode & 0o077:
        raise CannotSign.of(
            "others can read this private key",
            where=name,
            why="a key that others hold approves nothing",
            next=f"chmod 600 {name}",
        )


def _private(data: bytes, name: str, ask: Ask, *, ssh: bool) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    load = serialization.load_ssh_private_key if ssh else serialization.load_pem_private_key
    try:
        try:
            return load(data, None)
        except TypeError:
            return load(data, ask(name))
        except ValueError as error:
            if "encrypted" not in str(error).lower():
                raise
            return load(data, ask(name))
    except UnsupportedAlgorithm as error:
        raise _unsupported(name, str(error)) from error
    except (ValueError, TypeError) as error:
        raise CannotSign.of(
            "the private key cannot be opened", where=name, why=str(error), next="check the passphrase"
        ) from error


def _unsupported(name: str, why: str) -> CannotSign:
    return CannotSign.of("this kind of key is not supported", where=name, why=why, next="plan key new makes one")


class PemSigner:
    """Ed25519 or ECDSA P-256 from PKCS#8, through securesystemslib's CryptoSigner."""

    def __init__(self, private: Any, name: str) -> None:
        from securesystemslib.exceptions import Error as LibraryError
        from securesystemslib.signer import CryptoSigner

        try:
            self._signer = CryptoSigner(private)
            self.public = (
                keys.parse_public_key(self._signer.public_key.keyval["public"], name)
                if _is_pem(self._signer)
                else keys.from_raw_ed25519(bytes.fromhex(self._signer.public_key.keyval["public"]))
            )
        except BadInput as failure:
            raise _unsupported(name, failure.diagnostics[0].why) from failure
        except (LibraryError, ValueError) as error:
            raise _unsupported(name, str(error)) from error

    def sign(self, message: bytes) -> Signature:
        """See Signer."""
        method: Method = "ed25519" if self.public.kind == "ed25519" else "ecdsa-sha2-nistp256"
        made = self._signer.sign(message)
        return Signature(self.public.keyid, method, bytes.fromhex(made.signature))


def _is_pem(signer: Any) -> bool:
    return str(signer.public_key.keyval["public"]).startswith("-----BEGIN")


class OpenSshSigner:
    """An OpenSSH Ed25519 key: signs as `ssh-keygen -Y sign -n order@requisition` does."""

    def __init__(self, private: Any) -> None:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        if not isinstance(private, Ed25519PrivateKey):
            raise CannotSign.of("only Ed25519 keys of OpenSSH sign orders", next="ssh-keygen -t ed25519")
        self._private = private
        raw = private.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        self._raw = raw
        self.public = keys.from_raw_ed25519(raw)

    def sign(self, message: bytes) -> Signature:
        """See Signer."""
        signed = self._private.sign(sshsig.signed_data(message))
        return Signature(self.public.keyid, "sshsig", sshsig.pack(self._raw, signed))


class AgentSigner:
    """A key whose private half is in an ssh-agent: `ssh-keygen -Y sign` asks it."""

    def __init__(self, path: str, public: PublicKey) -> None:
        self._path = path
        self.public = public

    def sign(self, message: bytes) -> Signature:
        """See Signer."""
        with tempfile.TemporaryDirectory() as folder:
            place = f"{folder}/message"
            with open(place, "wb") as file:
                file.write(message)
            argv = ["ssh-keygen", "-q", "-Y", "sign", "-n", sshsig.NAMESPACE, "-f", self._path, place]
            done = subprocess.run(argv, capture_output=True, check=False)
            if done.returncode:
                why = done.stderr.decode("utf-8", "replace").strip()
                raise CannotSign.of("ssh-keygen did not sign", where=self._path, why=why, next="ssh-add the key")
            with open(place + ".sig", encoding="ascii") as file:
                blob = sshsig.unarmor(file.read())
        return Signature(self.public.keyid, "sshsig", blob)


def new_key(directory: str, name: str, passphrase: bytes | None = None) -> tuple[str, PublicKey]:
    """Make an Ed25519 key: NAME (PKCS#8 PEM, 0600) and NAME.pub. Never replaces one."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    os.makedirs(directory, mode=0o700, exist_ok=True)
    private = Ed25519PrivateKey.generate()
    lock = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    pem = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock)
    raw = private.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    public = keys.from_raw_ed25519(raw, name)
    path = f"{directory}/{name}"
    for place, data, mode in ((path, pem, 0o600), (f"{path}.pub", public.openssh().encode() + b"\n", 0o644)):
        try:
            fd = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        except FileExistsError as error:
            raise BadInput.of("there is a key of that name", where=place, next="choose another name") from error
        with open(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(fd)
    return path, public
