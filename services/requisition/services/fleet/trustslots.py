"""Whom the fleet believes, and until when: key slots, and what must hold of a signed document before it counts.

    version: "1"
    fleet: home
    release:
      current: ssh-ed25519 AAAA… release 2026
      successor: ssh-ed25519 AAAA… release 2027
      retire_at: 2027-01-01T00:00:00Z
      reject_before: 2026-02-01T00:00:00Z
    operators:
      ada: ssh-ed25519 AAAA… ada

The order of judgement: signature over the bytes received, then what they say: type, form, fleet, then times. Nothing is
parsed that nobody signed. All moments are milliseconds since 1970, UTC.
"""

import hashlib
import hmac
from typing import Annotated, Literal, Protocol, TypeVar

from msgspec import Meta, Struct, field

from requisition.schemas import canonical, strictyaml
from requisition.schemas.diagnostic import BadInput, Refused
from requisition.schemas.envelope import Signature, pae
from requisition.schemas.keys import PublicKey, parse_public_key
from requisition.schemas.trustfile import parse_time
from requisition.services.fleet.rollout import ROLLOUT_TYPE, SKEW, TIP_TYPE, Name, Rollout, Tip, digest, faults
from requisition.services.fleet.state import Retiring

REVOCATIONS_TYPE = "application/vnd.requisition.revocations+json"
NONCES_TYPE = "application/vnd.requisition.nonces+json"

Moment = Annotated[int, Meta(ge=0, le=1 << 53)]


class Untrusted(Refused):
    """A document is not signed by who must sign it, or not good now."""


# -- who


class SlotEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """The keys of the release pipeline as they are written down."""

    current: str
    previous: str = ""
    successor: str = ""
    retire_at: str | None = None
    reject_before: str | None = None


class TrustEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """The file."""

    version: Literal["1"]
    fleet: Name
    release: SlotEntry
    operators: dict[Name, str] = {}


class Slot(Struct, frozen=True):
    """A place for a key, and for the one before and after it. Before `retire_at` all three count, so that a signer may
    go over to the next key at any moment of the overlap; from then on the successor alone, or, where there is none, the
    current key. Nothing signed before `reject_before` counts."""

    name: str
    current: PublicKey
    previous: PublicKey | None = None
    successor: PublicKey | None = None
    retire_at: int = 0
    reject_before: int = 0

    def active(self, now: int) -> tuple[PublicKey, ...]:
        """The keys that count at `now`."""
        if self.retire_at and now >= self.retire_at:
            return (self.successor or self.current,)
        return tuple(key for key in (self.current, self.previous, self.successor) if key is not None)

    @property
    def retiring(self) -> tuple[Retiring, ...]:
        """What the planner reminds people of."""
        return (Retiring(self.name, self.retire_at),) if self.successor is not None and self.retire_at else ()


class FleetTrust(Struct, frozen=True):
    """Whom a server, or an agent, believes."""

    fleet: str
    release: Slot
    operators: dict[str, PublicKey]


def parse_trust(text: bytes | str, where: str) -> FleetTrust:
    """The trust of a text. Raises BadInput."""
    entry = strictyaml.load_typed(text, where, TrustEntry)
    slot = entry.release
    release = Slot(
        "release",
        parse_public_key(slot.current, f"{where}: release.current"),
        parse_public_key(slot.previous, f"{where}: release.previous") if slot.previous else None,
        parse_public_key(slot.successor, f"{where}: release.successor") if slot.successor else None,
        _moment(slot.retire_at, f"{where}: release.retire_at"),
        _moment(slot.reject_before, f"{where}: release.reject_before"),
    )
    operators = {name: parse_public_key(key, f"{where}: operators.{name}") for name, key in entry.operators.items()}
    if len({key.identity for key in operators.values()}) < len(operators):
        raise BadInput.of("two operators have one key", where=where, next="give each a key of their own")
    return FleetTrust(entry.fleet, release, operators)


def _moment(text: str | None, where: str) -> int:
    found = parse_time(text, where)
    return int(found.timestamp() * 1000) if found is not None else 0


# -- what


class Dated(Protocol):
    """A document that says of which fleet it is, and when it was signed."""

    @property
    def fleet(self) -> str:
        """Whose it is."""
        ...

    @property
    def signed_at(self) -> int:
        """When it was signed."""
        ...


class Enveloped(Protocol):
    """Bytes that came with signatures (`sealed.Sealed`)."""

    @property
    def payload_type(self) -> str:
        """What they claim to be."""
        ...

    @property
    def payload(self) -> bytes:
        """What was signed."""
        ...

    @property
    def signatures(self) -> tuple[Signature, ...]:
        """By whom, as they say."""
        ...


T = TypeVar("T")
D = TypeVar("D", bound=Dated)


def signed_by(sealed: Enveloped, payload_type: str, keys: tuple[PublicKey, ...], what: str) -> PublicKey:
    """The key that signed these very bytes as this type. Raises Untrusted."""
    message = pae(payload_type, sealed.payload)
    if sealed.payload_type != payload_type:
        raise Untrusted.of(f"this is no {what}", why=f"it was signed as {sealed.payload_type[:100]!r}")
    for key in keys:
        if any(key.verify(signature, message) for signature in sealed.signatures):
            return key
    raise Untrusted.of(
        f"the {what} is not signed by a key that counts now",
        why=f"{len(sealed.signatures)} signatures, {len(keys)} keys",
        next="have it signed again, or look at the slots of the trust file",
    )


def opened(sealed: Enveloped, kind: type[T], payload_type: str, keys: tuple[PublicKey, ...], what: str) -> T:
    """The document, after its signature was found good. Raises Untrusted, BadInput."""
    signed_by(sealed, payload_type, keys, what)
    return canonical.decode(sealed.payload, kind, what=what)


def opened_dated(
    sealed: Enveloped, kind: type[D], payload_type: str, trust: FleetTrust, now: int, window: int, what: str
) -> D:
    """A document of this fleet by the release slot that is not too old. `window`: how old it may be. Raises
    Untrusted."""
    document: D = opened(sealed, kind, payload_type, trust.release.active(now), what)
    if document.fleet != trust.fleet:
        raise Untrusted.of(f"the {what} is of fleet {document.fleet}, not of {trust.fleet}")
    if why := untimely(document.signed_at, trust.release.reject_before, now, window):
        raise Untrusted.of(f"the {what} is not good now", why=why, next="have it signed again")
    return document


def untimely(signed_at: int, reject_before: int, now: int, window: int) -> str:
    """Why something signed then does not count now; "" when it does. Being older than a key's compromise outranks being
    old: the one cannot be mended by waiting."""
    if signed_at < reject_before:
        return "it was signed before the moment from which on the slot's keys are believed"
    if signed_at > now + SKEW:
        return "it was signed in the future"
    return "it is too old" if now - signed_at > window + SKEW else ""


def opened_tip(sealed: Enveloped, trust: FleetTrust, now: int, window: int) -> Tip:
    """A channel's tip. Raises Untrusted."""
    return opened_dated(sealed, Tip, TIP_TYPE, trust, now, window, "tip")


def opened_rollout(sealed: Enveloped, tip: Tip, trust: FleetTrust, now: int) -> Rollout:
    """The rollout that a verified tip names: these bytes and no others. Raises Untrusted."""
    if digest(sealed.payload) != tip.rollout:
        raise Untrusted.of("this is not the rollout that the tip names", why="its digest is another one")
    rollout = opened(sealed, Rollout, ROLLOUT_TYPE, trust.release.active(now), "rollout")
    if (rollout.fleet, rollout.channel, rollout.serial) != (tip.fleet, tip.channel, tip.serial):
        raise Untrusted.of("the rollout is of another channel or serial than its tip says")
    if found := faults(rollout):
        raise Untrusted.of("the rollout contradicts itself", why="; ".join(found))
    return rollout


# -- revocations and enrolment


class Revoked(Struct, frozen=True, forbid_unknown_fields=True):
    """What was issued to the host before `not_before` is void."""

    host: Name
    not_before: Moment
    reason: str


class Revocations(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """All revocations of a fleet, signed by the release slot. Read anew at each start, so a lost database revives
    nobody."""

    version: Literal[1] = 1
    fleet: Name
    signed_at: Moment
    hosts: tuple[Revoked, ...] = field(default=())

    def revoked(self, host: str, issued_at: int) -> str:
        """Why what was issued to a host then is void; "" when it is not."""
        found = [one for one in self.hosts if one.host == host and issued_at < one.not_before]
        return found[0].reason or "it was revoked" if found else ""


class Nonce(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A host may enrol once with the token of this SHA-256 (hex), until `expires_at`, and with the key of this id only
    where one is named. With one, a second use after a lost database can bring in nobody else."""

    host: Name
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$(?!\n)")]
    expires_at: Moment
    key: str = ""


class Nonces(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """All enrolments that are permitted, signed by the release slot."""

    version: Literal[1] = 1
    fleet: Name
    signed_at: Moment
    nonces: tuple[Nonce, ...] = field(default=())


def enrolment(nonces: Nonces, host: str, token: str, key: PublicKey, used: frozenset[str], now: int) -> Nonce:
    """The permission by which a host with this token and key may enrol. `used`: SHA-256 of tokens that were used.
    Raises Untrusted, with the same words whatever is wrong with the token: who guesses learns nothing."""
    found = hashlib.sha256(token.encode()).hexdigest()
    fitting = [one for one in nonces.nonces if hmac.compare_digest(one.sha256, found) and one.host == host]
    if not fitting or found in used or now >= fitting[0].expires_at:
        raise Untrusted.of("this token does not enrol this host", next="plan fleet enroll makes a new one")
    if fitting[0].key and fitting[0].key != key.keyid:
        raise Untrusted.of("the host's key is not the one that was permitted", next="enrol it with its own key")
    return fitting[0]
