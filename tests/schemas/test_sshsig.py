"""OpenSSH's wire forms, taken apart to the byte."""

import subprocess

import pytest

from requisition.schemas import sshsig
from requisition.schemas.sshsig import SshFormatError, string

KEY, RAW = b"k" * 32, b"s" * 64
WIRE_KEY = sshsig.ed25519_blob(KEY)
BLOB = sshsig.pack(KEY, RAW)
NAMESPACE = sshsig.NAMESPACE.encode()
OUTER = string(string(b"ssh-ed25519") + string(RAW))


def blob(
    key=WIRE_KEY,
    namespace=NAMESPACE,
    reserved=b"",
    hashed=b"sha512",
    made=OUTER[4:],
    version=1,
    end=b"",
):
    fields = (key, namespace, reserved, hashed, made)
    return b"SSHSIG" + version.to_bytes(4, "big") + b"".join(string(field) for field in fields) + end


def test_what_is_packed_is_taken_apart_again():
    assert blob() == BLOB
    assert sshsig.parse(BLOB) == (KEY, sshsig.NAMESPACE, b"", "sha512", RAW)
    assert sshsig.parse(blob(hashed=b"sha256", reserved=b"r")) == (KEY, sshsig.NAMESPACE, b"r", "sha256", RAW)


REFUSED = {
    "another magic": (b"X" + BLOB[1:], "not an SSH signature of version 1"),
    "another version": (blob(version=2), "not an SSH signature of version 1"),
    "bytes after it": (blob(end=b"x"), "bytes follow"),
    "another purpose": (blob(namespace=b"git"), "for the purpose 'git'"),
    "no purpose": (blob(namespace=b""), "for the purpose ''"),
    "a purpose that is no text": (blob(namespace=b"\xff"), "for the purpose"),
    "a weak hash": (blob(hashed=b"sha1"), "its hash is not one of sha256, sha512"),
    "a hash that is no text": (blob(hashed=b"\xff"), "its hash"),
    "an RSA key": (blob(key=string(b"ssh-rsa") + string(KEY)), "only Ed25519"),
    "a short key": (blob(key=sshsig.ed25519_blob(KEY[:-1])), "only Ed25519"),
    "bytes after the key": (blob(key=WIRE_KEY + b"x"), "only Ed25519"),
    "an RSA signature": (blob(made=string(b"ssh-rsa") + string(RAW)), "only Ed25519"),
    "a long signature": (blob(made=string(b"ssh-ed25519") + string(RAW + b"x")), "only Ed25519"),
    "bytes after the signature": (blob(made=OUTER[4:] + b"x"), "only Ed25519"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_blob_is_refused_in_words(name):
    data, words = REFUSED[name]
    with pytest.raises(SshFormatError, match=words):
        sshsig.parse(data)


@pytest.mark.parametrize("size", range(len(BLOB)))
def test_cut_anywhere_it_is_refused(size):
    with pytest.raises(SshFormatError):
        sshsig.parse(BLOB[:size])


def test_a_string_is_taken_to_its_last_byte():
    assert sshsig.take(b"\0\0\0\2ab") == (b"ab", b"")
    assert sshsig.take(b"\0\0\0\2abc") == (b"ab", b"c")
    assert sshsig.take(b"\0\0\0\0") == (b"", b"")
    for short in (b"", b"\0\0\0", b"\0\0\0\2a", b"\0\0\1\0" + b"a" * 255):
        with pytest.raises(SshFormatError, match="middle of a field"):
            sshsig.take(short)


@pytest.mark.parametrize("size", [1, 52, 53, 60, 200])
def test_armor_is_taken_off_again_and_its_lines_are_short(size):
    data = bytes(range(256))[:size]
    text = sshsig.armor(data)
    assert sshsig.unarmor(text) == data
    assert max(map(len, text.splitlines())) <= 70
    encoded = subprocess.run(["base64", "-w70"], input=data, capture_output=True, check=True).stdout.decode()
    assert text == f"-----BEGIN SSH SIGNATURE-----\n{encoded.rstrip()}\n-----END SSH SIGNATURE-----\n"


BEGIN, END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"


@pytest.mark.parametrize(
    "text",
    [
        "",
        BEGIN,
        f"{BEGIN}\n{END}",
        f"{BEGIN}\nAAAA",
        f"AAAA\nAAAA\n{END}",
        f"{BEGIN} \nAAAA\n{END}",
        f"{END}\nAA\n{BEGIN}",
    ],
)
def test_what_is_not_armored_is_told(text):
    with pytest.raises(SshFormatError, match="not an armored SSH signature"):
        sshsig.unarmor(text)


@pytest.mark.parametrize("inner", ["AAA", "A*AA", "AA AA"])
def test_damaged_base64_is_told(inner):
    with pytest.raises(SshFormatError, match="base64 is damaged"):
        sshsig.unarmor(f"{BEGIN}\n{inner}\n{END}")
