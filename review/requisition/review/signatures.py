"""Who signed a document, and whether that counts here: one line each, for reviewers. Decides nothing: that is done
again, by `requisition.runtime.trust`, where an order is applied."""

from datetime import datetime

from msgspec import Struct

from requisition.runtime.trust import Verdict, judge
from requisition.schemas.diagnostic import Failure
from requisition.schemas.orderfile import Sealed
from requisition.schemas.trustfile import load_trust


class SignatureLine(Struct, frozen=True, omit_defaults=True):
    """One signature. `signer`: its name in the trust policy; `why`: as what it counts, or why it does not."""

    keyid: str
    method: str
    signer: str = ""
    counts: bool = False
    why: str = ""


class Standing(Struct, frozen=True, omit_defaults=True):
    """All signatures, and what they come to: `trusted` when the policy is satisfied, `untrusted` when it is not,
    `unchecked` where there is none, or for a receipt, whose host's signature approves nothing."""

    state: str
    why: str = ""
    signatures: tuple[SignatureLine, ...] = ()


def standing(sealed: Sealed, policy: str, now: datetime) -> Standing:
    """How a document stands with the trust policy in the file `policy`; empty: there is none."""
    lines = tuple(SignatureLine(one.keyid, one.method) for one in sealed.signatures)
    if sealed.kind == "receipt":
        return Standing("unchecked", "a host signs its receipts; that approves nothing", lines)
    if not policy:
        return Standing("unchecked", "there is no trust policy here", lines)
    try:
        verdict = judge(sealed.payload_type, sealed.payload, sealed.signatures, load_trust(policy), now)
    except Failure as failure:
        return Standing("unchecked", failure.diagnostics[0].what, lines)
    lines = tuple(SignatureLine(j.keyid, j.method, j.signer, j.counts, j.why) for j in verdict.signatures)
    return Standing("trusted" if verdict.accepted else "untrusted", _lacking(verdict), lines)


def _lacking(verdict: Verdict) -> str:
    words = [f"{count} more of the role {role}" for role, count in sorted(verdict.missing.items())]
    return f"{', '.join(words)} needed" if words else ""
