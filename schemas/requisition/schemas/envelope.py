"""The signed envelope (DSSE 1.0.2): what exactly is signed, and the signatures that stand below a document.

    PAE(type, body) = "DSSEv1" SP len(type) SP type SP len(body) SP body      (DSSE protocol.md)

The payload type keeps a receipt from being taken for an order.
"""

from typing import Literal

from msgspec import Struct

ORDER_TYPE = "application/vnd.requisition.order+json"
RECEIPT_TYPE = "application/vnd.requisition.receipt+json"

Method = Literal["ed25519", "ecdsa-sha2-nistp256", "sshsig", "gpg"]


class Signature(Struct, frozen=True, forbid_unknown_fields=True):
    """One signature over PAE(payload type, canonical bytes). `keyid` is a hint and never decides."""

    keyid: str
    method: Method
    sig: bytes


def pae(payload_type: str, payload: bytes) -> bytes:
    """The bytes that are signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
