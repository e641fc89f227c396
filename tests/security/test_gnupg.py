"""Keys of a real GnuPG keyring: good ones sign and count, expired and revoked ones are refused in words."""

import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from requisition.cli.main import cli
from requisition.runtime import trust as rules
from requisition.schemas import gnupg, keys, orderfile, signing
from requisition.schemas.diagnostic import BadInput
from requisition.schemas.trustfile import load_trust
from support.sealed import signed

pytestmark = pytest.mark.skipif(shutil.which("gpg") is None, reason="gpg is not installed")
MESSAGE = b"DSSEv1 0  5 hello"


class Keyring:
    """A GNUPGHOME with nobody's keys in it."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def gpg(self, *words: str, stdin: bytes = b"") -> str:
        command = ["gpg", "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", "", *words]
        return subprocess.run(command, input=stdin, check=True, capture_output=True).stdout.decode()

    def key(self, name: str, expires: str = "never", *words: str, kind: str = "ed25519") -> str:
        """Make a key that signs; its fingerprint as GnuPG writes it."""
        self.gpg(*words, "--quick-generate-key", name, kind, "sign", expires)
        return self.fingerprints(name)[0]

    def expired_key(self, name: str) -> str:
        return self.key(name, "1d", "--faked-system-time", "20200101T000000")

    def fingerprints(self, name: str) -> list[str]:
        """Of the main key and its subkeys."""
        listed = self.gpg("--with-colons", "--list-keys", name)
        return [line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr:")]

    def revoke(self, fingerprint: str) -> None:
        certificate = (self.home / f"openpgp-revocs.d/{fingerprint}.rev").read_text()
        self.gpg("--import", stdin=certificate.replace("\n:-----", "\n-----").encode())


@pytest.fixture
def keyring(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Keyring]:
    home = tmp_path_factory.mktemp("g")  # short: a socket is made in it
    home.chmod(0o700)
    monkeypatch.setenv("GNUPGHOME", str(home))
    yield Keyring(home)
    subprocess.run(["gpgconf", "--kill", "all"], check=False)


def load(fingerprint: str) -> signing.Signer:
    return signing.load_signer(f"gpg:{fingerprint}", lambda name: pytest.fail(f"no passphrase is needed for {name}"))


def refusal(fingerprint: str) -> str:
    with pytest.raises(gnupg.CannotSign) as failure:
        load(fingerprint).sign(MESSAGE)
    found = failure.value.diagnostics[0]
    assert found.next
    return str(found.what)


def plan(*words: str) -> int:
    return cli.main(list(words), prog_name="plan", standalone_mode=False) or 0


def test_a_good_key_signs_named_as_gnupg_prints_it(keyring: Keyring) -> None:
    fingerprint = keyring.key("ann")
    spaced = " ".join(fingerprint[at : at + 4] for at in range(0, 40, 4))
    signer = load(spaced)
    public = keys.parse_public_key(signer.public.openssh(), "trust.yaml")
    assert public.verify(signer.sign(MESSAGE), MESSAGE)
    assert not public.verify(signer.sign(MESSAGE), MESSAGE + b"!")


def test_an_expired_key_neither_signs_nor_comes_to_be_trusted(keyring: Keyring, tmp_path: Path) -> None:
    fingerprint = keyring.expired_key("ann")
    assert refusal(fingerprint) == f"GnuPG's key {fingerprint.lower()} expired on 2020-01-02"
    assert plan("trust", "add", "ann", f"gpg:{fingerprint}", "--file", str(tmp_path / "trust.yaml")) == 4
    assert not (tmp_path / "trust.yaml").exists()


def test_a_revoked_key_neither_signs_nor_comes_to_be_trusted(keyring: Keyring, tmp_path: Path) -> None:
    fingerprint = keyring.key("ann")
    keyring.revoke(fingerprint)
    assert refusal(fingerprint) == f"GnuPG's key {fingerprint.lower()} is revoked"
    assert plan("trust", "add", "ann", f"gpg:{fingerprint}", "--file", str(tmp_path / "trust.yaml")) == 4
    assert not (tmp_path / "trust.yaml").exists()


def test_a_subkey_is_told_from_its_main_key(keyring: Keyring) -> None:
    main = keyring.key("ann")
    keyring.gpg("--quick-add-key", main, "ed25519", "sign", "never")
    subkey = keyring.fingerprints("ann")[1]
    with pytest.raises(gnupg.CannotSign, match=f"gpg:{main}"):
        load(subkey)


def test_a_trusted_key_counts_as_long_as_it_does_in_the_keyring_and_until_it_is_revoked_here(
    keyring: Keyring, tmp_path: Path
) -> None:
    policy, order = str(tmp_path / "trust.yaml"), str(tmp_path / "demo.plan")
    fingerprint = keyring.key("ann", "30d")
    assert plan("trust", "add", "ann", f"gpg:{fingerprint}", "--file", policy) == 0
    orderfile.write(order, signed())
    assert plan("sign", order, "--key", f"gpg:{fingerprint}") == 0
    sealed, now = orderfile.read(order), datetime.now(UTC)

    def verdict(days: int) -> str:
        trust = load_trust(policy)
        at = now + timedelta(days=days)
        return rules.judge(sealed.payload_type, sealed.payload, sealed.signatures, trust, at).signatures[0].why

    assert verdict(29) == "counts as author"
    assert verdict(31).startswith("the key expired")
    assert plan("trust", "revoke", "ann", "--file", policy) == 0
    assert verdict(1) == "the key is revoked"
    assert plan("verify", order, "--trust", policy) == 3


@pytest.mark.parametrize("name", ["", "ann", "ann@example.org", "0123456789abcdef", "--output=x", "-" + "a" * 40])
def test_what_is_no_fingerprint_never_reaches_gpg(name: str) -> None:
    with pytest.raises(BadInput, match="is not the fingerprint of a key"):
        gnupg.find(name)


def test_a_key_that_cannot_sign_orders_is_told(keyring: Keyring, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal("00" * 20) == f"GnuPG has no key {'00' * 20}"
    other = keyring.key("bob", kind="nistp256")
    assert refusal(other) == f"GnuPG's key {other.lower()} cannot be used"
    public = keyring.key("ann")
    keyring.gpg("--yes", "--delete-secret-keys", public)
    assert refusal(public) == "GnuPG did not sign"
    with monkeypatch.context() as patch:
        patch.setenv("PATH", "/nonexistent")
        assert refusal(public) == "GnuPG cannot be run"
