"""Receipts on disk: written once, signed with this host's key, read back for what they left.

The host key is Ed25519, made at the first receipt and kept beside the state, 0600. It proves that a
receipt was written on this host, not that anyone approved it.
"""

import os

import msgspec
from msgspec import Struct

from requisition.runtime.layout import write_durably
from requisition.schemas import canonical, envelope, orderfile
from requisition.schemas.diagnostic import BadInput
from requisition.schemas.document import TreeMember
from requisition.schemas.envelope import Signature
from requisition.schemas.keys import from_raw_ed25519
from requisition.schemas.receipt import NodeRun, Receipt


def write_receipt(path: str, receipt: Receipt, key_path: str, order_bytes: bytes = b"") -> str:
    """Write and sign; returns the checksum. `order_bytes`: the canonical bytes of its order, where at hand."""
    if order_bytes:
        rest: Receipt = msgspec.structs.replace(receipt, order=None)
        payload = canonical.encode_with(rest, "order", order_bytes)
    else:
        payload = canonical.encode(receipt)
    signature = sign_as_host(envelope.pae(envelope.RECEIPT_TYPE, payload), key_path)
    signed = orderfile.Sealed("receipt", payload, (signature,))
    orderfile.write(path, signed)
    os.chmod(path, 0o600)
    return orderfile.checksum_of(signed, receipt)


class TracedNode(Struct, frozen=True, gc=False):
    """Of a node in a receipt's order: who it was."""

    id: str
    action: str


class TracedContext(Struct, frozen=True):
    """Of an order's context: whose it was."""

    package: str


class TracedOrder(Struct, frozen=True):
    """Of the order in a receipt: who its nodes were."""

    context: TracedContext
    nodes: tuple[TracedNode, ...] = ()
    members: tuple[TreeMember, ...] = ()


class Trace(Struct, frozen=True):
    """What of a receipt says how paths were left. An order's slots and inputs are most of a receipt, and are
    not read for it."""

    run_id: str
    order: TracedOrder
    nodes: tuple[NodeRun, ...] = ()


_traces = msgspec.json.Decoder(Trace)


def read_trace(path: str) -> Trace:
    """Of a receipt of this state directory. Raises BadInput when it is not one."""
    sealed = orderfile.read(path)
    sealed.close()
    if sealed.kind != "receipt":
        raise BadInput.of("this is an order, not a receipt", where=path)
    try:
        return _traces.decode(sealed.payload)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise BadInput.of("the receipt is damaged", where=path, why=str(error)) from error


def sign_as_host(message: bytes, key_path: str) -> Signature:
    """Sign with the host's key, which is made when there is none."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        with open(key_path, "rb") as file:
            key = serialization.load_pem_private_key(file.read(), None)
    except FileNotFoundError:
        key = Ed25519PrivateKey.generate()
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        write_durably(key_path, pem)
    except ValueError as error:
        raise BadInput.of("the host key is damaged", where=key_path, next="move it away; a new one is made") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise BadInput.of("the host key is not Ed25519", where=key_path, next="move it away; a new one is made")
    public = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return Signature(from_raw_ed25519(public).keyid, "ed25519", key.sign(message))
