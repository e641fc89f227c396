"""Whether an offer is what it claims to be: judged on the bytes that came, against this host's own trust file.

A server can withhold all of it. It can make none of it: a tip and a rollout are signed by the release keys, the rollout
names the order by the digest of its bytes, and to go back against a rollout's policy takes an operator's signature.
Whether an offer is fresh, new and in time is for the reducer to say, which gets what was signed.
"""

from requisition.schemas import canonical
from requisition.schemas.diagnostic import Failure
from requisition.services.fleet import sealed
from requisition.services.fleet.agent.link import Offer
from requisition.services.fleet.agent_state import AgentState, Offered, Terms, terms_of
from requisition.services.fleet.authority import Proof, permits_recall, proves_failure
from requisition.services.fleet.layout import Layout, layout
from requisition.services.fleet.rollout import Rollout, Tip, digest
from requisition.services.fleet.trustslots import FleetTrust, Untrusted, opened_rollout, opened_tip

_ANY_AGE = 366 * 86_400_000
_LONGEST_REASON = 1000


def opened_offer_tip(offer: Offer, trust: FleetTrust, now: int) -> Tip:
    """The tip that an offer is made under. How old it may be, the rollout says, and the reducer judges. Raises
    Untrusted, BadInput."""
    tip = opened_tip(sealed.read(offer.tip, "tip"), trust, now, _ANY_AGE)
    if tip.rollout != offer.rollout:
        raise Untrusted.of("the tip names another rollout than the one that is offered")
    return tip


def opened_layout(document: bytes, tip: Tip, trust: FleetTrust, now: int) -> Layout:
    """The rollout that the tip names. Raises Untrusted, BadInput."""
    rollout: Rollout = opened_rollout(sealed.read(document, "rollout"), tip, trust, now)
    return layout(rollout)


def judged(offer: Offer, tip: Tip, found: Layout, host: str, asked_at: int) -> Offered:
    """What the reducer hears of a verified offer. Raises Untrusted."""
    target = found.targets.get(host)
    if target is None:
        raise Untrusted.of("the rollout does not list this host")
    if offer.order != target.order:
        raise Untrusted.of("the order that is offered is not the one that the rollout gives to this host")
    return Offered(offer.number, recall=False, terms=terms_of(found, host), tip=tip.signed_at, asked_at=asked_at)


def judged_recall(offer: Offer, agent: AgentState, trust: FleetTrust, found: Layout | None, asked_at: int) -> Offered:
    """What it hears of being called back. From another rollout than its last one there is nothing to go back from, and
    it says where it is; so nothing of that need be true. `found`: the rollout, to hold proofs against. Raises
    Untrusted, BadInput."""
    said = Offered(offer.number, recall=True, terms=_unknown(offer), tip=0, asked_at=asked_at)
    if agent.terms is None or agent.terms.rollout != offer.rollout:
        return said._replace(authority="operator")
    said = said._replace(terms=agent.terms)
    if offer.verb and permits_recall(sealed.read(offer.verb, "verb"), trust, offer.rollout):
        return said._replace(authority="operator")
    proofs = [Proof(sealed.read(one.report, "report"), one.key) for one in offer.proofs]
    return said._replace(authority="proof" if found is not None and proves_failure(found, proofs) else "")


def same_layout(document: bytes, rollout: str) -> Layout:
    """A rollout that was verified once and has this id. Raises Untrusted, BadInput."""
    came = sealed.read(document, "rollout")
    if digest(came.payload) != rollout:
        raise Untrusted.of("this is not the rollout that was begun here", why="its digest is another one")
    return layout(canonical.decode(came.payload, Rollout, what="rollout"))


def refused(offer: Offer, failure: Failure, asked_at: int) -> Offered:
    """What it hears of an offer that is not believed."""
    first = failure.diagnostics[0]
    why = f"{first.what}: {first.why}" if first.why else first.what
    reason = why[:_LONGEST_REASON]
    return Offered(offer.number, recall=offer.recall, terms=_unknown(offer), tip=0, asked_at=asked_at, objection=reason)


def _unknown(offer: Offer) -> Terms:
    """Terms of an offer of which only the names are known."""
    return Terms(
        offer.rollout,
        serial=0,
        order=offer.order,
        freshness=0,
        soak=0,
        sustain=0,
        start_within=_ANY_AGE,
        confirm_within=0,
        goes_back=False,
        keyed=False,
        probes=(),
    )
