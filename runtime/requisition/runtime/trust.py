"""The one place that decides trust. Bytes, keys and the time come in; a verdict with reasons comes out.

Two steps, in this order, with no IO in either:

    judge    the signatures over the exact bytes, before anything is decoded (DSSE protocol.md)
    admit    what the signed content then says: expiry, serial, platform, host, target root

The rules follow TUF's threats (tuf-spec §1.5.2): see docs/security.md for the table and its tests.
"""

import re
from collections.abc import Mapping
from datetime import datetime

from msgspec import Struct

from requisition.schemas.diagnostic import BadInput, Diagnostic, Refused
from requisition.schemas.document import Order, Platform
from requisition.schemas.envelope import Signature, pae
from requisition.schemas.trustfile import Trust, TrustedKey, parse_time
from requisition.schemas.version import VERSION

MAX_SIGNATURES = 64


class NotTrusted(Refused):
    """The signatures do not satisfy the policy, or the content may not be applied here."""


class Judged(Struct, frozen=True):
    """One signature: who made it, whether it counts, and why (not)."""

    keyid: str
    method: str
    signer: str
    counts: bool
    why: str


class Verdict(Struct, frozen=True):
    """All signatures, and what is still missing by role."""

    signatures: tuple[Judged, ...]
    missing: Mapping[str, int]
    signers: tuple[TrustedKey, ...]

    @property
    def accepted(self) -> bool:
        """Whether the policy is satisfied."""
        return not self.missing


class Place(Struct, frozen=True):
    """Where an order would be applied, and what is known of the past there."""

    platform: Platform
    hostname: str
    target_root: str
    last_serial: int
    allow_downgrade: bool = False


def judge(payload_type: str, payload: bytes, signatures: tuple[Signature, ...], trust: Trust, now: datetime) -> Verdict:
    """Check every signature. A key counts once, whatever key ids say, and for one role only, so that who
    wrote an order does not also review it."""
    if len(signatures) > MAX_SIGNATURES:
        raise NotTrusted.of(f"more than {MAX_SIGNATURES} signatures", why="nobody needs that many")
    message = pae(payload_type, payload)
    judged: list[Judged] = []
    counted: dict[bytes, TrustedKey] = {}
    for signature in signatures:
        key = _maker(signature, message, trust)
        why = _objection(key, counted, now)
        if key is not None and not why:
            counted[key.public.identity] = key
        judged.append(
            Judged(
                key.public.keyid if key else signature.keyid,
                signature.method,
                key.name if key else "",
                not why,
                why or f"counts as {', '.join(key.roles)}" if key else why,
            )
        )
    signers = tuple(counted.values())
    return Verdict(tuple(judged), missing_roles(signers, trust.require), signers)


def _maker(signature: Signature, message: bytes, trust: Trust) -> TrustedKey | None:
    """Whose signature it is. The key id says which key to try first, no more: each try reads the whole order."""
    likely = sorted(trust.keys, key=lambda key: key.public.keyid != signature.keyid)
    return next((key for key in likely if key.public.verify(signature, message)), None)


def _objection(key: TrustedKey | None, counted: Mapping[bytes, TrustedKey], now: datetime) -> str:
    if key is None:
        return "no trusted key made it over these bytes"
    if key.public.identity in counted:
        return "this key signed already; a key counts once"
    if key.revoked:
        return "the key is revoked"
    if key.expires is not None and now >= key.expires:
        return f"the key expired {key.expires:%Y-%m-%d}"
    if key.not_before is not None and now < key.not_before:
        return f"the key is valid from {key.not_before:%Y-%m-%d}"
    return ""


def missing_roles(signers: tuple[TrustedKey, ...], require: Mapping[str, int]) -> dict[str, int]:
    """How many signatures each role still lacks when every key fills at most one place (a maximum
    bipartite matching by augmenting paths: keys on one side, required places on the other)."""
    places = [role for role in sorted(require) for _ in range(require[role])]
    held: dict[int, int] = {}

    def seat(place: int, tried: set[int]) -> bool:
        for number, key in enumerate(signers):
            if number in tried or places[place] not in key.roles:
                continue
            tried.add(number)
            other = next((p for p, n in held.items() if n == number), None)
            if other is None or seat(other, tried):
                held[place] = number
                return True
        return False

    missing: dict[str, int] = {}
    for place, role in enumerate(places):
        if not seat(place, set()):
            missing[role] = missing.get(role, 0) + 1
    return missing


def require_accepted(verdict: Verdict, where: str) -> None:
    """Raises NotTrusted with every signature and what is missing."""
    if verdict.accepted:
        return
    lacking = ", ".join(f"{count} more of the role {role!r}" for role, count in sorted(verdict.missing.items()))
    seen = "; ".join(f"{j.signer or j.keyid}: {j.why}" for j in verdict.signatures) or "it has no signature"
    raise NotTrusted.of(
        "the order is not trusted here",
        where=where,
        why=f"{seen}. Needed: {lacking}",
        next="have it signed (plan sign), or add the signer's key to trust.yaml",
    )


def admit(order: Order, place: Place, trust: Trust | None, now: datetime, where: str) -> None:
    """Raises NotTrusted with everything that the signed content says against applying it here, now."""
    findings = [
        Diagnostic(what=what, where=where, why=why, next=advice)
        for what, why, advice in (
            *_timeliness(order, now),
            *_serial(order, place, trust),
            *_binding(order, place),
            *_version(order),
        )
    ]
    if findings:
        raise NotTrusted(findings)


Finding = tuple[str, str, str]


def staleness(order: Order, now: datetime) -> str:
    """Why the order is too old to be applied anywhere; empty when it is not."""
    try:
        expires = parse_time(order.expires or None, "expires")
    except BadInput as failure:
        return f"the order's expiry cannot be read: {failure.diagnostics[0].what}"
    return f"the order expired {order.expires}" if expires is not None and now >= expires else ""


def _timeliness(order: Order, now: datetime) -> list[Finding]:
    what = staleness(order, now)
    return [(what, "an old order may be replayed", "build and sign it again")] if what else []


def _serial(order: Order, place: Place, trust: Trust | None) -> list[Finding]:
    jump = trust.max_serial_jump if trust is not None else 1 << 20
    if order.serial < 0:
        return [("the order's serial is negative", "it cannot be compared", "build it again")]
    if order.serial < place.last_serial and not place.allow_downgrade:
        return [
            (
                f"the order's serial {order.serial} is lower than {place.last_serial}, applied here before",
                "an older order would bring back what was mended since",
                "build with a higher serial; or, if going back is meant, --allow-downgrade",
            )
        ]
    if order.serial > place.last_serial + jump:
        return [
            (
                f"the order's serial {order.serial} leaps too far beyond {place.last_serial}",
                "after it no honest order would be accepted any more",
                "build with the next serial, or raise max_serial_jump in trust.yaml",
            )
        ]
    return []


def _binding(order: Order, place: Place) -> list[Finding]:
    found: list[Finding] = []
    for name in ("os", "distro", "arch"):
        want, have = getattr(order.platform, name), getattr(place.platform, name)
        if want and want != have:
            what = f"the order is for {name} {want}, this machine has {have or 'none'}"
            found.append((what, "it was built for another machine", "build it with --target for this machine"))
    hosts = order.context.hosts
    if hosts and place.hostname not in hosts:
        what = f"the order is for {', '.join(hosts)}, this is {place.hostname}"
        found.append((what, "it was signed for other hosts", "build it with --host for this one"))
    return found


def _version(order: Order) -> list[Finding]:
    if not order.min_runtime:
        return []
    needed = _numbers(order.min_runtime)
    if needed is None:
        return [
            (
                f"min_runtime {order.min_runtime[:40]!r} is not a version",
                "it cannot be compared",
                "build it again",
            )
        ]
    if needed > (_numbers(VERSION) or ()):
        what = f"the order needs runtime {order.min_runtime}, this is {VERSION}"
        return [(what, "this one may misread it", "upgrade requisition on this host")]
    return []


def _numbers(version: str) -> tuple[int, ...] | None:
    """A release as numbers; None when it is not one. What follows them (rc1, +local) is left out."""
    found = re.match(r"[0-9]{1,9}(?:\.[0-9]{1,9}){0,5}", version)
    return tuple(int(part) for part in found[0].split(".")) if found else None
