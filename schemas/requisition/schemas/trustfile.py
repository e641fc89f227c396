"""trust.yaml: whose signature counts, for what, until when.

keys:
  alice:
    key: ssh-ed25519 AAAA… alice
    roles: [author, reviewer]
    expires: 2027-06-30T00:00:00Z
require: {author: 1, reviewer: 1}
packages: commits
"""

from datetime import UTC, datetime
from typing import Literal

from msgspec import Struct, field

from requisition.schemas import keys, strictyaml
from requisition.schemas.diagnostic import BadInput, Diagnostic
from requisition.schemas.guarded import read_guarded
from requisition.schemas.keys import PublicKey

MAX_KEYS = 1000
MAX_SERIAL_JUMP = 1 << 20


class KeyEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """One key as it is written down."""

    key: str
    roles: tuple[str, ...] = ("author",)
    not_before: str | None = None
    expires: str | None = None
    revoked: bool = False


class TrustFile(Struct, frozen=True, forbid_unknown_fields=True):
    """The file. `require` says how many different keys of each role must have signed. `packages`: what of a package of
    a tree must be signed by an author here, its commits, or its tag where it is at one; nothing when it is left out."""

    keys: dict[str, KeyEntry]
    require: dict[str, int] = field(default_factory=lambda: {"author": 1})
    max_serial_jump: int = MAX_SERIAL_JUMP
    packages: Literal["", "commits", "tags"] = ""


class TrustedKey(Struct, frozen=True):
    """One key, ready to verify; times in UTC."""

    name: str
    public: PublicKey
    roles: tuple[str, ...]
    not_before: datetime | None
    expires: datetime | None
    revoked: bool


class Trust(Struct, frozen=True):
    """The whole policy."""

    keys: tuple[TrustedKey, ...]
    require: dict[str, int]
    max_serial_jump: int
    where: str
    packages: Literal["", "commits", "tags"] = ""

    def allowed_signers(self, now: datetime) -> bytes:
        """The OpenSSH keys of authors that are good now, as ssh-keygen(1) ALLOWED SIGNERS has them for git."""
        good = [
            key
            for key in self.keys
            if "author" in key.roles
            and not key.revoked
            and key.public.kind != "gpg"
            and (key.not_before is None or key.not_before <= now)
            and (key.expires is None or now < key.expires)
        ]
        lines = (" ".join(key.public.openssh().split(" ")[:2]) for key in good)
        return "".join(f'author namespaces="git" {line}\n' for line in lines).encode()


def load_trust(path: str) -> Trust:
    """Read the policy. Raises BadInput for mistakes, Refused when others may write the file."""
    why = "whoever can write it decides what runs here"
    text = read_guarded(path, "the trust policy", why=why, missing="plan trust init makes one")
    return parse_trust(text, path)


def parse_trust(text: bytes | str, where: str) -> Trust:
    """The policy of a text."""
    found = strictyaml.load_typed(text, where, TrustFile)
    findings: list[Diagnostic] = []
    if len(found.keys) > MAX_KEYS:
        raise BadInput.of(f"more than {MAX_KEYS} keys", where=where)
    trusted = []
    for name, entry in found.keys.items():
        try:
            trusted.append(_trusted(name, entry, where))
        except BadInput as failure:
            findings.extend(failure.diagnostics)
    findings.extend(_same_keys(trusted, where))
    for role, count in found.require.items():
        having = sum(1 for key in trusted if role in key.roles)
        if count < 0 or (count > having and not findings):
            findings.append(
                Diagnostic(
                    what=f"signatures of the role {role!r}: {count} are required, {having} possible",
                    where=where,
                    next="add keys, or require fewer",
                )
            )
    if not any(count > 0 for count in found.require.values()):
        findings.append(Diagnostic(what="nothing is required", where=where, next="require: {author: 1}"))
    if findings:
        raise BadInput(findings)
    return Trust(tuple(trusted), dict(found.require), found.max_serial_jump, where, found.packages)


def _same_keys(trusted: list[TrustedKey], where: str) -> list[Diagnostic]:
    """One key under two names would be revoked under one and good under the other."""
    names: dict[bytes, str] = {}
    found = []
    for key in trusted:
        first = names.setdefault(key.public.identity, key.name)
        if first != key.name:
            what = f"{first!r} and {key.name!r} are the same key"
            found.append(Diagnostic(what=what, where=where, next="give it one name, with all its roles"))
    return found


def _trusted(name: str, entry: KeyEntry, where: str) -> TrustedKey:
    place = f"{where}: keys.{name}"
    return TrustedKey(
        name,
        keys.parse_public_key(entry.key, place),
        entry.roles,
        parse_time(entry.not_before, place),
        parse_time(entry.expires, place),
        entry.revoked,
    )


def parse_time(text: str | None, where: str) -> datetime | None:
    """RFC 3339 with a time zone, as UTC. None for None."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
        if found.tzinfo is None:
            raise ValueError("it names no time zone")
    except ValueError as error:
        raise BadInput.of(
            f"{text!r} is not a time", where=where, why=str(error), next="write it as 2027-06-30T00:00:00Z"
        ) from error
    return found.astimezone(UTC)
