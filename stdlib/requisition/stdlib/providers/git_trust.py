"""Whose commits and tags are taken: signatures judged with the keys of the package, never with a keyring or
signers file of the user or machine (gitformat-signature(5), gpg(1), ssh-keygen(1) ALLOWED SIGNERS).
"""

import base64
import os
import re
import tempfile
from collections.abc import Iterable
from typing import Protocol

from msgspec import Struct

from requisition.stdlib.action import ActionError
from requisition.stdlib.host import CommandResult
from requisition.stdlib.providers.git_repository import Repository, check_commit, check_ref

_ARMOUR = re.compile(rb"-----BEGIN PGP PUBLIC KEY BLOCK-----(\n.*?)\n-----END PGP PUBLIC KEY BLOCK-----", re.DOTALL)


class Wanted(Struct, frozen=True):
    """What a package asks for, checked: a commit, a branch or tag that it belongs to, who must have signed it.
    `tag`: the tag's signature counts, not the commit's. `signers`, `keys`: inputs of the package."""

    commit: str
    ref: str
    tag: bool
    signers: str
    keys: str

    @property
    def signed(self) -> bool:
        """Whether a signature is asked for."""
        return bool(self.signers or self.keys)


def wanted(commit: str, ref: str, signed: str, signers: str, keys: str, any_commit: bool) -> Wanted:
    """Raises ActionError for what cannot be meant."""
    if commit:
        check_commit(commit)
    if ref:
        check_ref(ref)
    if signed not in ("commit", "tag"):
        raise ActionError(f"signed: found {signed!r}, expected commit or tag")
    if signed == "tag" and not (ref and (signers or keys)):
        raise ActionError(
            "a signed tag needs its name and the keys that count", "give ref, and allowed_signers or gpg_keys"
        )
    if not (commit or signers or keys or any_commit):
        raise ActionError(
            "neither a commit nor keys are given: the remote alone would decide what is put here",
            "give commit = …, or allowed_signers or gpg_keys, or insecure_any_commit = True",
        )
    return Wanted(commit, ref, signed == "tag", signers, keys)


def check_belongs(repository: Repository, ask: Wanted, commit: str) -> None:
    """Raises ActionError unless the commit is on the branch, or is what the tag names."""
    if not ask.ref:
        return
    tip = "" if ask.tag else repository.object_of(f"refs/remotes/origin/{ask.ref}")
    if tip:
        if not repository.contains(tip, commit):
            raise ActionError(
                f"the commit {commit[:12]} is not on the branch {ask.ref}", "the branch was rewritten, or one is wrong"
            )
        return
    named = repository.object_of(f"refs/tags/{ask.ref}^{{commit}}")
    if not named:
        raise ActionError(f"the remote has no branch or tag {ask.ref!r}", "check the name")
    if named != commit:
        raise ActionError(
            f"the tag {ask.ref} is {named[:12]}, not {commit[:12]} that is asked for",
            "somebody moved the tag: find out why, then change the commit in the package",
        )


def check_signature(repository: Repository, ask: Wanted, commit: str) -> None:
    """Raises ActionError unless one of the given keys signed the commit, or the tag that names it."""
    if ask.signed:
        host = repository.host
        signers, keys = (host.input(one) if one else b"" for one in (ask.signers, ask.keys))
        judge(repository, commit, ask.ref if ask.tag else "", signers, keys, host.scratch())


class Judged(Protocol):
    """A repository, as far as signatures are concerned."""

    def ask(self, *words: str) -> CommandResult:
        """Run git to look."""
        ...

    def run(self, *words: str, settings: Iterable[str] = (), env: dict[str, str] | None = None) -> CommandResult:
        """Run git with more settings."""
        ...

    def object_of(self, name: str) -> str:
        """The object that a full name stands for; "" for none."""
        ...


def judge(repository: Judged, commit: str, tag: str, signers: bytes, keys: bytes, scratch: str) -> None:
    """Raises ActionError unless one of the keys signed the commit, or the tag when one is given. `signers`: lines of
    ssh-keygen(1) ALLOWED SIGNERS; `keys`: OpenPGP public keys; `scratch`: a folder for them meanwhile."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        settings = [
            f"gpg.ssh.allowedSignersFile={_signers(signers, folder)}",
            "gpg.ssh.revocationFile=",
            "gpg.ssh.program=ssh-keygen",
            "gpg.program=gpg",
            "gpg.openpgp.program=gpg",
            "gpg.x509.program=false",
            "gpg.minTrustLevel=fully",
        ]
        env = {"GNUPGHOME": _keyring(keys, folder)}
        verb, name = ("verify-tag", _tag_object(repository, tag)) if tag else ("verify-commit", commit)
        try:
            repository.run(verb, "--raw", name, settings=settings, env=env)
        except ActionError as error:
            what = f"the tag {tag}" if tag else f"the commit {commit[:12]}"
            raise ActionError(
                f"{what} is not signed by one of the given keys",
                "find out who made it; where the key is right, add it to the package",
            ) from error


def _tag_object(repository: Judged, ref: str) -> str:
    """The signed object itself, whose own name must be the one asked for: a signed v1 is no v2."""
    found = repository.object_of(f"refs/tags/{ref}")
    kind = repository.ask("cat-file", "-t", found).stdout.strip()
    if kind != b"tag":
        raise ActionError(f"the tag {ref} carries no signature: it is a mere name", "git tag -s makes one that does")
    header = repository.ask("cat-file", "tag", found).stdout.split(b"\n\n", 1)[0]
    if b"tag " + ref.encode() not in header.split(b"\n"):
        raise ActionError(f"what the remote calls {ref} was signed under another name", "do not use this remote")
    return found


def _signers(lines: bytes, folder: str) -> str:
    if not lines:
        return "/dev/null"
    path = f"{folder}/allowed_signers"
    with open(path, "wb") as file:
        file.write(lines)
    return path


def _keyring(keys: bytes, folder: str) -> str:
    """A GnuPG home of its own, holding nothing but the given keys, which count without more ado. They are put
    there and not imported, because importing wants an agent, whose socket wants a short path."""
    home = f"{folder}/gnupg"
    os.mkdir(home, 0o700)
    with open(f"{home}/gpg.conf", "w", encoding="ascii") as file:
        file.write("batch\nno-autostart\nno-auto-key-retrieve\ntrust-model always\n")
    if keys:
        with open(f"{home}/pubring.gpg", "wb") as ring:
            ring.write(_packets(keys))
    return home


def _packets(keys: bytes) -> bytes:
    """OpenPGP packets of a file, out of their ASCII armour (RFC 9580 §6.2)."""
    if keys[:1] and keys[0] & 0x80:
        return keys
    found = []
    try:
        for block in _ARMOUR.findall(keys.replace(b"\r\n", b"\n")):
            body = block.partition(b"\n\n")[2].partition(b"\n=")[0]
            found.append(base64.b64decode(body.replace(b"\n", b""), validate=True))
    except ValueError:
        found.clear()
    if not any(found):
        raise ActionError("the file of OpenPGP keys holds no OpenPGP public key", "gpg --export --armor KEY makes one")
    return b"".join(found)
