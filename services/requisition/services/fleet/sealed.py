"""Signed documents of the fleet as they travel: one line of JSON with the payload in base64 and its signatures (DSSE
1.0.2, `schemas/envelope.py`). The payload is canonical JSON and is not looked at here.
"""

import msgspec
from msgspec import Struct

from requisition.schemas.envelope import Signature, pae
from requisition.schemas.signing import Signer
from requisition.services.fleet.trustslots import Untrusted

MAX_BYTES = 64 << 20
MAX_SIGNATURES = 16


class Sealed(Struct, frozen=True, forbid_unknown_fields=True, rename={"payload_type": "payloadType"}):
    """What was signed, as which type, by whom."""

    payload_type: str
    payload: bytes
    signatures: tuple[Signature, ...]


def seal(payload_type: str, payload: bytes, *signers: Signer) -> Sealed:
    """Sign bytes. Raises CannotSign."""
    message = pae(payload_type, payload)
    return Sealed(payload_type, payload, tuple(signer.sign(message) for signer in signers))


def write(sealed: Sealed) -> bytes:
    """The bytes that travel."""
    return msgspec.json.encode(sealed)


def read(data: bytes, what: str) -> Sealed:
    """What came. Raises Untrusted for anything that is no envelope."""
    if len(data) > MAX_BYTES:
        raise Untrusted.of(f"the {what} is larger than {MAX_BYTES} bytes")
    try:
        sealed = msgspec.json.decode(data, type=Sealed)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Untrusted.of(f"the {what} is no signed document", why=str(error)) from error
    if len(sealed.signatures) > MAX_SIGNATURES:
        raise Untrusted.of(f"the {what} has more than {MAX_SIGNATURES} signatures")
    return sealed
