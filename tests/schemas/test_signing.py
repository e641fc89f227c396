"""Keys as people have them, checked against the real ssh-keygen."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa, x25519

from requisition.schemas import keys, signing, sshsig
from requisition.schemas.diagnostic import BadInput
from requisition.schemas.envelope import Signature

MESSAGE = b"DSSEv1 0  5 hello"


def no_passphrase(name: str) -> bytes:
    raise AssertionError(f"no passphrase is needed for {name}")


def test_a_new_key_is_private_and_never_replaces_one(tmp_path: Path) -> None:
    path, public = signing.new_key(str(tmp_path), "me", b"open sesame")
    assert os.stat(path).st_mode & 0o777 == 0o600
    signature = signing.load_signer(path, lambda name: b"open sesame").sign(MESSAGE)
    assert keys.parse_public_key(Path(path + ".pub").read_text(), path).verify(signature, MESSAGE)
    assert not public.verify(signature, MESSAGE + b"!")
    with pytest.raises(BadInput, match="there is a key of that name"):
        signing.new_key(str(tmp_path), "me")
    with pytest.raises(BadInput, match="cannot be opened"):
        signing.load_signer(path, lambda name: b"wrong")


def test_a_private_key_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    path, _ = signing.new_key(str(tmp_path), "me")
    os.chmod(path, 0o644)
    with pytest.raises(BadInput, match="others can read"):
        signing.load_signer(path, no_passphrase)


needs_ssh = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")


@pytest.fixture
def ssh_key(tmp_path: Path) -> str:
    path = str(tmp_path / "id")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "me", "-f", path], check=True)
    return path


@needs_ssh
def test_ssh_keygen_verifies_what_we_sign(tmp_path: Path, ssh_key: str) -> None:
    signature = signing.load_signer(ssh_key, no_passphrase).sign(MESSAGE)
    (tmp_path / "sig").write_text(sshsig.armor(signature.sig))
    (tmp_path / "allowed").write_text("me " + Path(ssh_key + ".pub").read_text())
    command = ["ssh-keygen", "-Y", "verify", "-f", f"{tmp_path}/allowed", "-I", "me", "-n", sshsig.NAMESPACE]
    subprocess.run([*command, "-s", f"{tmp_path}/sig"], input=MESSAGE, check=True, capture_output=True)


@needs_ssh
@pytest.mark.parametrize(("namespace", "good"), [(sshsig.NAMESPACE, True), ("git", False)])
def test_we_verify_what_ssh_keygen_signs_for_our_purpose_only(ssh_key: str, namespace: str, good: bool) -> None:
    command = ["ssh-keygen", "-q", "-Y", "sign", "-n", namespace, "-f", ssh_key]
    armored = subprocess.run(command, input=MESSAGE, check=True, capture_output=True).stdout.decode()
    public = keys.parse_public_key(Path(ssh_key + ".pub").read_text(), "")
    assert public.verify(Signature("", "sshsig", sshsig.unarmor(armored)), MESSAGE) is good


@needs_ssh
def test_a_public_key_file_signs_through_ssh_keygen(ssh_key: str) -> None:
    signer = signing.load_signer(ssh_key + ".pub", no_passphrase)
    assert signer.public.verify(signer.sign(MESSAGE), MESSAGE)


@needs_ssh
def test_the_key_id_is_what_ssh_keygen_shows(ssh_key: str) -> None:
    shown = subprocess.run(["ssh-keygen", "-l", "-f", ssh_key], check=True, capture_output=True).stdout
    assert keys.parse_public_key(Path(ssh_key + ".pub").read_text(), "").keyid in shown.decode()


def test_one_key_in_two_forms_has_one_identity(tmp_path: Path) -> None:
    path, public = signing.new_key(str(tmp_path), "me")
    command = ["openssl", "pkey", "-in", path, "-pubout"]
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    pem = subprocess.run(command, check=True, capture_output=True).stdout.decode()
    assert keys.parse_public_key(pem, "").identity == public.identity


def refused(name: str, words: str) -> None:
    with pytest.raises(signing.CannotSign, match=words) as failure:
        signing.load_signer(name, no_passphrase)
    assert failure.value.diagnostics[0].where in (name, "")


def test_what_cannot_sign_is_told(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no key")
    (tmp_path / "text").chmod(0o600)
    refused(str(tmp_path / "none"), "cannot be read: No such file")
    refused(str(tmp_path / "text"), "cannot be opened")


def pem(private, folder: Path) -> str:
    path = folder / "key.pem"
    lock = serialization.NoEncryption()
    path.write_bytes(private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock))
    path.chmod(0o600)
    return str(path)


def test_a_p256_key_signs(tmp_path: Path) -> None:
    signer = signing.load_signer(pem(ec.generate_private_key(ec.SECP256R1()), tmp_path), no_passphrase)
    signature = signer.sign(MESSAGE)
    assert signature.method == "ecdsa-sha2-nistp256"
    assert signature.keyid == signer.public.keyid
    assert signer.public.verify(signature, MESSAGE)


OTHERS = {
    "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
    "ed448": ed448.Ed448PrivateKey.generate,
    "x25519": x25519.X25519PrivateKey.generate,
}


@pytest.mark.parametrize("kind", OTHERS)
def test_a_key_of_another_kind_is_told(tmp_path: Path, kind: str) -> None:
    refused(pem(OTHERS[kind](), tmp_path), "this kind of key is not supported")


@needs_ssh
def test_an_ssh_key_of_another_kind_is_told(tmp_path: Path) -> None:
    path = str(tmp_path / "ecdsa")
    subprocess.run(["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", path], check=True)
    refused(path, "only Ed25519 keys of OpenSSH")


@needs_ssh
def test_a_locked_ssh_key_asks_once_and_by_its_name(tmp_path: Path) -> None:
    path = str(tmp_path / "id")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "open sesame", "-f", path], check=True)
    asked = []

    def ask(name: str) -> bytes:
        asked.append(name)
        return b"open sesame"

    signer = signing.load_signer(path, ask)
    assert signer.public.verify(signer.sign(MESSAGE), MESSAGE)
    assert asked == [path]


@needs_ssh
def test_without_an_agent_a_public_key_says_why_it_cannot_sign(ssh_key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    os.unlink(ssh_key)
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    signer = signing.load_signer(ssh_key + ".pub", no_passphrase)
    with pytest.raises(signing.CannotSign, match="ssh-keygen did not sign") as failure:
        signer.sign(MESSAGE)
    assert failure.value.diagnostics[0].why


def test_a_new_key_is_for_its_owner_and_its_public_half_for_all(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        path, public = signing.new_key(str(tmp_path / "keys"), "me")
    finally:
        os.umask(before)
    assert os.stat(tmp_path / "keys").st_mode & 0o777 == 0o700
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert os.stat(path + ".pub").st_mode & 0o777 == 0o644
    assert Path(path + ".pub").read_text() == public.openssh() + "\n"
    assert public.comment == "me"
