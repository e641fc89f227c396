"""Allowed signers come in as the real ssh-keygen understands them."""

import itertools
import shutil
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from requisition.schemas import sshsig
from requisition.schemas.allowedsigners import Imported, import_allowed_signers
from requisition.schemas.diagnostic import BadInput
from requisition.schemas.trustfile import parse_time
from support.sealed import private, public

LINE = public("ann").openssh()
TIMES = ("20270101", "20270101Z", "202701011530", "202701011530Z", "20270101153045", "20270101153045Z")
NAMESPACES = (
    None, "order@requisition", "git,order@requisition", "git", "*", "order@*", "order@requisitio?", "order@requisition?",
    "!order@*,*", "*,!git", "!git", "git,file", "ORDER@requisition", "order@requisition.*",
)  # fmt: skip


def read(text: str) -> Imported:
    return import_allowed_signers(text, "signers", ("author",))


def test_keys_come_in_by_their_principals_and_what_is_left_out_is_told() -> None:
    text = f'# team\n\nann {LINE}\nbob namespaces="git" {LINE}\n\tcat\tvalid-before="20270101Z"\t{LINE}\n'
    found = read(text + f"dan ssh-rsa AAAA dan\nann {LINE}\neve sk-ssh-ed25519@openssh.com AAAA\n")
    assert list(found.keys) == ["ann", "cat", "ann-7"]
    assert found.keys["cat"].expires == "2027-01-01T00:00:00Z"
    assert found.keys["cat"].key == LINE
    assert found.left_out == (
        "bob: for git only",
        "dan: ssh-rsa keys do not sign orders",
        "eve: sk-ssh-ed25519@openssh.com keys do not sign orders",
    )


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (f"ann cert-authority {LINE}", "certificate authorities"),
        (f"ann CERT-AUTHORITY {LINE}", "certificate authorities"),
        (f"ann no-touch-required {LINE}", "'no-touch-required' is neither an option nor a key"),
        (f'ann valid-before="soon" {LINE}', "'soon' is not a time"),
        (f'ann valid-before="2027" {LINE}', "'2027' is not a time"),
        (f'ann valid-before="20271301" {LINE}', "'20271301' is not a time"),
        (f'ann valid-before="２０２７0101" {LINE}', "is not a time"),
        ('ann valid-before="202712 1" ' + LINE, "is not a time"),
        (f'ann valid-before="" {LINE}', "'' is not a time"),
        (f'ann valid-before="20270101 {LINE}', "cannot be read"),
        ("ann", "not a public key"),
        ("ann ssh-ed25519 AAAA", "not a public key"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_line(line: str, words: str) -> None:
    with pytest.raises(BadInput, match=words) as failure:
        read(f"# team\n{line}\n")
    assert failure.value.diagnostics[0].where == "signers:2"


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch):
    """A time zone that is not the machine's."""
    monkeypatch.setenv("TZ", "XXX-5:30")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def keygen_accepts(folder: Path, options: str, at: datetime) -> bool:
    (folder / "signers").write_text(f"ann {options} {LINE}\n")
    command = ["ssh-keygen", "-Y", "verify", "-f", "signers", "-I", "ann", "-n", sshsig.NAMESPACE, "-s", "m.sig"]
    local = at.astimezone().strftime("%Y%m%d%H%M%S")
    done = subprocess.run([*command, "-O", f"verify-time={local}"], cwd=folder, input=b"hello", capture_output=True)
    return done.returncode == 0


def we_accept(options: str, at: datetime) -> bool:
    found = read(f"ann {options} {LINE}\n").keys.get("ann")
    if found is None:
        return False
    after, before = parse_time(found.not_before, ""), parse_time(found.expires, "")
    return (after is None or after <= at) and (before is None or at < before)


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")
def test_times_and_purposes_mean_what_they_mean_to_ssh_keygen(tmp_path: Path, elsewhere: None) -> None:
    signed = private("ann").sign(sshsig.signed_data(b"hello"))
    (tmp_path / "m.sig").write_text(sshsig.armor(sshsig.pack(public("ann").identity[12:], signed)))
    noon = datetime(2027, 1, 1, 12, tzinfo=UTC)
    cases = [(f'namespaces="{one}"' if one else "", noon) for one in NAMESPACES]
    for option, text in itertools.product(("valid-after", "valid-before"), TIMES):
        for hours, minute in ((-24, 0), (3, 29), (3, 31), (-6, 29), (-6, 31), (9, 59), (10, 1), (24, 0)):
            day = datetime.fromtimestamp(noon.timestamp() + hours * 3600, UTC).replace(minute=minute)
            cases.append((f'{option}="{text}"', day))
    for options, at in cases:
        assert we_accept(options, at) == keygen_accepts(tmp_path, options, at), (options, at)
