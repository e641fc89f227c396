"""A small signed order, and keys that are the same in every run."""

from functools import cache
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import structs

from requisition.schemas import keys, orderfile, sshsig
from requisition.schemas.document import Context, Input, Node, Order, Phase, Platform
from requisition.schemas.envelope import Signature, pae
from requisition.schemas.orderfile import Sealed


def order(**changes: Any) -> Order:
    """Two nodes, one input, bound to one host."""
    plain = Order(
        version=1,
        name="demo.order",
        tool="requisition 0.1.0",
        platform=Platform("linux", "debian", "amd64"),
        context=Context("demo", "1.2", settings={"port": 8080, "motto": "yes"}, hosts=("web1",)),
        phases=(Phase("demo/install", "install"),),
        nodes=(
            Node("demo/install/file.mkdir:/etc/demo", "file.mkdir", "demo/install", {"path": "/etc/demo"}),
            Node(
                "demo/install/file.write:/etc/demo/conf",
                "file.write",
                "demo/install",
                {"path": "/etc/demo/conf", "content": "# demo\nport = 8080\n\n  name: 'ä'\n", "mode": 0o640},
                needs=("demo/install/file.mkdir:/etc/demo",),
                location="package.star:4",
            ),
        ),
        inputs=(Input("files/tls.pem", "ab" * 32, 1704, 0o600),),
        serial=7,
        expires="2027-01-01T00:00:00Z",
        min_runtime="0.1.0",
    )
    return structs.replace(plain, **changes)


@cache
def private(name: str) -> Ed25519PrivateKey:
    """The same key for the same name."""
    return Ed25519PrivateKey.from_private_bytes(name.encode().ljust(32, b"."))


@cache
def public(name: str) -> keys.PublicKey:
    """The public half."""
    form = serialization.PublicFormat.Raw
    raw = private(name).public_key().public_bytes(serialization.Encoding.Raw, form)
    return keys.from_raw_ed25519(raw, name)


def sign(sealed: Sealed, name: str, method: str = "ed25519") -> Signature:
    """A good signature."""
    message = pae(sealed.payload_type, sealed.payload)
    if method == "ed25519":
        return Signature(public(name).keyid, "ed25519", private(name).sign(message))
    raw = private(name).sign(sshsig.signed_data(message))
    return Signature(public(name).keyid, "sshsig", sshsig.pack(public(name).identity[12:], raw))


def signed(*names: str, **changes: Any) -> Sealed:
    """The order, signed."""
    sealed = orderfile.seal(order(**changes), source="package")
    return structs.replace(sealed, signatures=tuple(sign(sealed, name) for name in names))
