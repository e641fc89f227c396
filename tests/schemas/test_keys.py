"""Public keys in every form, what is refused as one, and which signatures they stand behind."""

import json
from base64 import b64decode, b64encode

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from requisition.schemas import keys, sshsig
from requisition.schemas.diagnostic import BadInput
from requisition.schemas.envelope import Signature
from support.sealed import private, public

MESSAGE = b"DSSEv1 0  5 hello"
ED25519 = private("alice")
P256 = ec.derive_private_key(4711, ec.SECP256R1())
RAW = ED25519.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def pem(key):
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def der(key):
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def line(key):
    return key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()


def parse(text):
    return keys.parse_public_key(text, "here")


def as_line(name, *fields):
    return f"{name} {b64encode(b''.join(sshsig.string(field) for field in fields)).decode()}"


POINT = der(P256.public_key())[-65:]


# forms -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("secret", [ED25519, P256], ids=["ed25519", "p256"])
def test_a_key_is_the_same_in_every_form(secret):
    key = secret.public_key()
    assert parse(pem(key)).identity == parse(line(key)).identity == der(key)
    assert parse(pem(key)).keyid == parse(line(key)).keyid
    assert parse(pem(key)).openssh() == line(key)
    assert parse(line(key)).kind == line(key).split()[0].removeprefix("ssh-")


def test_a_comment_is_kept_with_its_spaces_and_is_no_part_of_the_key():
    text = line(ED25519.public_key())
    assert parse(text).comment == ""
    named = parse(f"{text} me at home")
    assert named.comment == "me at home"
    assert named.openssh() == f"{text} me at home"
    assert named.identity == parse(text).identity


LINE = line(ED25519.public_key())
RSA = as_line("ssh-rsa", b"ssh-rsa", b"\1\0\1", b"\0" + b"\xc5" * 256)
NO_KEYS = {
    "nothing": ("", "one line"),
    "one word": ("ssh-ed25519", "one line"),
    "two lines": (LINE + "\n" + LINE, "one line"),
    "damaged base64": ("ssh-ed25519 !!!!", "base64|Invalid|alphabet"),
    "characters that base64 does not have": (LINE.replace("AAAA", "AA*AA", 1), "base64|alphabet"),
    "another key's type": (LINE.replace("ssh-ed25519", "ecdsa-sha2-nistp256", 1), "two different types"),
    "half a key": (LINE[:-20], "ends in the middle|base64|padding"),
    "31 bytes": (as_line("ssh-ed25519", b"ssh-ed25519", RAW[:31]), "only Ed25519"),
    "33 bytes": (as_line("ssh-ed25519", b"ssh-ed25519", RAW + b"x"), "only Ed25519"),
    "bytes after the key": (as_line("ssh-ed25519", b"ssh-ed25519", RAW, b"more"), "only Ed25519"),
    "RSA": (RSA, "only Ed25519"),
    "another curve": (as_line("ecdsa-sha2-nistp256", b"ecdsa-sha2-nistp256", b"nistp384", POINT), "only Ed25519"),
    "another type of that curve": (as_line("sk-x", b"sk-x", b"nistp256", POINT), "only Ed25519"),
    "a compressed point": (
        as_line("ecdsa-sha2-nistp256", b"ecdsa-sha2-nistp256", b"nistp256", b"\2" + POINT[1:]),
        "only Ed25519",
    ),
    "a short point": (
        as_line("ecdsa-sha2-nistp256", b"ecdsa-sha2-nistp256", b"nistp256", POINT[:-1]),
        "only Ed25519",
    ),
    "bytes after the point": (
        as_line("ecdsa-sha2-nistp256", b"ecdsa-sha2-nistp256", b"nistp256", POINT, b"more"),
        "only Ed25519",
    ),
    "a private key": ("-----BEGIN PRIVATE KEY-----\nAAAA", "this is a private key"),
    "a text beyond all keys": ("ssh-ed25519 " + "A" * 65_536, "too long"),
    "a PEM of P-384": (pem(ec.derive_private_key(7, ec.SECP384R1()).public_key()), "only Ed25519"),
    "a PEM with bytes after it": (
        "-----BEGIN PUBLIC KEY-----\n" + b64encode(der(ED25519.public_key()) + b"x").decode() + "\n-----END-----",
        "only Ed25519",
    ),
    "a PEM of P-256 with bytes after it": (
        "-----BEGIN PUBLIC KEY-----\n" + b64encode(der(P256.public_key()) + b"x").decode() + "\n-----END-----",
        "only Ed25519",
    ),
    "a PEM of 44 other bytes": (
        "-----BEGIN PUBLIC KEY-----\n" + b64encode(b"x" * 44).decode() + "\n-----END-----",
        "only Ed25519",
    ),
    "a PEM of 91 other bytes": (
        "-----BEGIN PUBLIC KEY-----\n" + b64encode(b"x" * 91).decode() + "\n-----END-----",
        "only Ed25519",
    ),
    "a PEM of a compressed point": (
        "-----BEGIN PUBLIC KEY-----\n"
        + b64encode(der(P256.public_key())[:-65] + b"\2" + POINT[1:]).decode()
        + "\n-----END-----",
        "only Ed25519",
    ),
    "a PEM with strange characters": (pem(ED25519.public_key()).replace("MCow", "MC*ow"), "base64|alphabet"),
    "JSON that is no key": ("{}", "not a public key"),
    "JSON without a public key": (
        '{"keyid": "a", "keytype": "eddsa", "scheme": "s", "keyval": {}}',
        "holds no public key",
    ),
    "JSON with a text for a key": (
        '{"keyid": "a", "keytype": "eddsa", "scheme": "s", "keyval": {"public": "x"}}',
        "holds no public key",
    ),
}


@pytest.mark.parametrize("name", NO_KEYS)
def test_it_is_no_public_key_and_the_place_is_told(name):
    text, words = NO_KEYS[name]
    with pytest.raises(BadInput, match=words) as refused:
        parse(text)
    assert refused.value.diagnostics[0].where == "here"


def test_the_longest_text_is_still_read():
    with pytest.raises(BadInput, match="not a public key"):
        parse("ssh-ed25519 " + "A" * (65_536 - len("ssh-ed25519 ")))


# GnuPG records -----------------------------------------------------------------------------------


def record(keytype, **public):
    return json.dumps({"keyid": "ab" * 20, "keytype": keytype, "scheme": "s", "keyval": {"public": public}})


def test_a_gnupg_record_of_an_ed25519_key_is_that_key():
    key = parse(record("eddsa", q=RAW.hex().upper()))
    assert key.identity == der(ED25519.public_key())
    assert key.keyid == "ab" * 20
    assert key.openssh() == record("eddsa", q=RAW.hex().upper())


@pytest.mark.parametrize(
    "text", [record("rsa", q=RAW.hex()), record("eddsa", q=RAW.hex()[:-2]), record("eddsa", q=RAW.hex() + "00")]
)
def test_any_other_gnupg_record_is_no_ed25519_key(text):
    assert parse(text).identity.startswith(b"openpgp [")


def test_gnupg_records_differ_by_their_material_alone():
    one, other = record("rsa", e="010001", n="AB"), record("rsa", e="010001", n="ab")
    assert parse(one).identity == parse(other.replace("ab" * 20, "cd" * 20)).identity
    assert parse(one).identity != parse(record("rsa", e="010001", n="ac")).identity
    assert parse(one).identity != parse(record("dsa", e="010001", n="AB")).identity


@pytest.mark.parametrize("signature", [b"", b"{}", b"\xff", b'{"keyid": "a", "sig": "zz", "other_headers": "zz"}'])
def test_no_bytes_are_a_signature_of_a_gnupg_key(signature):
    key = parse(record("eddsa", q=RAW.hex()))
    assert key.verify(Signature("", "gpg", signature), MESSAGE) is False


# signatures --------------------------------------------------------------------------------------


def ecdsa(message):
    return Signature("", "ecdsa-sha2-nistp256", P256.sign(message, ec.ECDSA(hashes.SHA256())))


def test_an_ecdsa_signature_is_verified_over_exactly_its_bytes():
    key = parse(pem(P256.public_key()))
    good = ecdsa(MESSAGE)
    assert key.verify(good, MESSAGE) is True
    assert key.verify(good, MESSAGE + b"!") is False
    assert key.verify(ecdsa(MESSAGE + b"!"), MESSAGE) is False
    for at in range(len(good.sig)):
        damaged = bytearray(good.sig)
        damaged[at] ^= 1
        assert key.verify(Signature("", good.method, bytes(damaged)), MESSAGE) is False
    assert key.verify(Signature("", good.method, b""), MESSAGE) is False


def test_a_point_that_is_not_on_the_curve_verifies_nothing():
    key = keys.PublicKey("ecdsa-sha2-nistp256", der(P256.public_key())[:-1] + b"\0", "x")
    assert key.verify(ecdsa(MESSAGE), MESSAGE) is False


def test_an_ecdsa_key_of_another_hash_or_curve_is_not_taken():
    key = parse(pem(P256.public_key()))
    other = Signature("", "ecdsa-sha2-nistp256", P256.sign(MESSAGE, ec.ECDSA(hashes.SHA384())))
    assert key.verify(other, MESSAGE) is False


def test_a_signature_counts_only_by_the_method_it_was_made_with():
    raw = ED25519.sign(MESSAGE)
    key = public("alice")
    assert key.verify(Signature("", "ed25519", raw), MESSAGE)
    for method in ("sshsig", "gpg", "ecdsa-sha2-nistp256"):
        assert key.verify(Signature("", method, raw), MESSAGE) is False
    blob = sshsig.pack(RAW, ED25519.sign(sshsig.signed_data(MESSAGE)))
    assert key.verify(Signature("", "sshsig", blob), MESSAGE) is True
    assert key.verify(Signature("", "ed25519", blob), MESSAGE) is False
    gpg = parse(record("eddsa", q=RAW.hex()))
    assert gpg.verify(Signature("", "ed25519", raw), MESSAGE) is False


def test_an_ssh_signature_that_names_another_key_is_not_taken():
    other = ed25519.Ed25519PrivateKey.from_private_bytes(b"m" * 32)
    other_raw = other.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    signed = ED25519.sign(sshsig.signed_data(MESSAGE))
    assert public("alice").verify(Signature("", "sshsig", sshsig.pack(other_raw, signed)), MESSAGE) is False
    forged = other.sign(sshsig.signed_data(MESSAGE))
    assert public("alice").verify(Signature("", "sshsig", sshsig.pack(RAW, forged)), MESSAGE) is False


def test_no_signature_is_longer_than_16_kib(monkeypatch):
    met = []
    monkeypatch.setattr(keys, "_ed25519_made", lambda raw, signature, message: met.append(len(signature)))
    for size in (16_384, 16_385):
        public("alice").verify(Signature("", "ed25519", b"x" * size), MESSAGE)
    assert met == [16_384]


def test_the_key_id_is_the_digest_of_the_wire_form():
    import hashlib

    blob = b64decode(LINE.split()[1])
    assert parse(LINE).keyid == "SHA256:" + b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
