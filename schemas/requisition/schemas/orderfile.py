"""Order and receipt files: the two forms behind one door, chosen by extension.

`read` gives a `Sealed`: the exact bytes that were signed and the signatures on them, nothing parsed yet.
Verify first (`requisition.runtime.trust`), then `decode`.
"""

import os
import re
import secrets
from collections.abc import Iterable, Mapping

import msgspec
from msgspec import Struct

from requisition.schemas import canonical, planform
from requisition.schemas.checksum import Kind, checksum
from requisition.schemas.diagnostic import BadInput
from requisition.schemas.document import ORDER_VERSION, Order
from requisition.schemas.envelope import ORDER_TYPE, RECEIPT_TYPE, Signature
from requisition.schemas.receipt import RECEIPT_VERSION, Receipt

MAX_YAML = 1 << 28
_NAME = re.compile(r"[A-Za-z0-9_@+-][A-Za-z0-9._@+-]{0,127}")


class Sealed(Struct, frozen=True):
    """A document as it travels. `source` is the package's folder relative to the file: an unsigned hint.
    `blobs` are input contents by digest, when the file carries them."""

    kind: Kind
    payload: bytes
    signatures: tuple[Signature, ...] = ()
    source: str = ""
    blobs: planform.Bundle | None = None

    @property
    def payload_type(self) -> str:
        """The DSSE payload type of this kind."""
        return ORDER_TYPE if self.kind == "order" else RECEIPT_TYPE

    def close(self) -> None:
        """Release the bundle's file, if any."""
        if self.blobs is not None:
            self.blobs.close()


def seal(document: Order | Receipt, *, source: str = "") -> Sealed:
    """An unsigned Sealed of a document."""
    kind: Kind = "order" if isinstance(document, Order) else "receipt"
    return Sealed(kind, canonical.encode(document), (), source)


def read(path: str) -> Sealed:
    """Read either form. Raises BadInput for anything that is not one, Altered for one that was changed."""
    try:
        file = open(path, "rb")  # noqa: SIM115  (a bundle keeps it open)
    except OSError as error:
        raise BadInput.of(f"the file cannot be read: {error.strerror}", where=path) from error
    if not _is_yaml(path):
        try:
            header, bundle = planform.read(file, path)
        except BaseException:
            file.close()
            raise
        if not len(bundle):
            bundle.close()
        return Sealed(header.kind, header.payload, header.signatures, header.source, bundle if len(bundle) else None)
    from requisition.schemas import yamlform

    with file:
        text = file.read(MAX_YAML + 1)
    if len(text) > MAX_YAML:
        raise BadInput.of(f"the file is larger than {MAX_YAML} bytes", where=path, next="use the .plan form")
    parts = yamlform.read(text, path)
    return Sealed(parts.kind, parts.payload, parts.signatures, parts.source)


def write(path: str, sealed: Sealed, contents: Mapping[str, str] | None = None) -> None:
    """Write the form that the extension names, atomically and durably. `contents` (digest to the file that
    holds it) make a bundle, copied piece by piece; a bundle that was read stays one. Only the `.plan` form
    holds contents. Raises BadInput, also when the file cannot be written."""
    if _is_yaml(path):
        if contents:
            raise BadInput.of("a .yaml file cannot carry inputs", where=path, next="name the output *.plan")
        from requisition.schemas import yamlform

        parts = yamlform.Parts(sealed.kind, sealed.payload, sealed.signatures, sealed.source)
        _replace(path, [yamlform.write(parts)])
        return
    blobs: planform.Contents = sealed.blobs or planform.Files(contents or {})
    index = tuple(planform.Blob(digest, blobs.size(digest)) for digest in blobs.digests())
    header = planform.Header(
        sealed.kind, sealed.payload, planform.digest(sealed.payload), sealed.signatures, sealed.source, index
    )
    _replace(path, planform.pieces(header, (piece for blob in index for piece in blobs.chunks(blob.sha256))))


def decode(sealed: Sealed) -> Order | Receipt:
    """The document. Call only after the payload was verified, or where nothing is decided by it.
    Raises BadInput."""
    known = ORDER_VERSION if sealed.kind == "order" else RECEIPT_VERSION
    document: Order | Receipt
    try:
        if sealed.kind == "order":
            document = canonical.decode(sealed.payload, Order, what="order")
        else:
            document = canonical.decode(sealed.payload, Receipt, what="receipt")
            _check_nodes(document)
    except canonical.NotCanonical:
        _check_version(sealed.kind, _stated_version(sealed, known), known)
        raise
    _check_version(sealed.kind, document.version, known)
    if not _NAME.fullmatch(document.name):
        raise BadInput.of(f"{document.name[:60]!r} cannot name a document", next="build it again")
    return document


def _check_nodes(receipt: Receipt) -> None:
    known = range(len(receipt.order.nodes))
    for run in receipt.nodes:
        if run.node not in known:
            raise BadInput.of(
                f"the receipt tells of node {run.node}, its order has {len(known)}", next="get the file again"
            )


class _Version(Struct):
    version: int


def _stated_version(sealed: Sealed, default: int) -> int:
    """What a document says that this version cannot read otherwise."""
    try:
        return msgspec.json.decode(sealed.payload, type=_Version).version
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return default


def decode_order(sealed: Sealed) -> Order:
    """The order: itself, or the one inside of a receipt."""
    return order_of(decode(sealed))


def order_of(document: Order | Receipt) -> Order:
    """The order: itself, or the one inside of a receipt."""
    return document if isinstance(document, Order) else document.order


def checksum_of(sealed: Sealed, document: Order | Receipt) -> str:
    """The checksum of a decoded document."""
    return checksum(sealed.kind, document.name, sealed.payload)


def _check_version(kind: str, found: int, known: int) -> None:
    if found != known:
        raise BadInput.of(
            f"unsupported {kind} version {found}",
            why=f"this version of requisition reads {known}",
            next="use the version that wrote it",
        )


def _is_yaml(path: str) -> bool:
    return path.endswith((".yaml", ".yml"))


def _replace(path: str, pieces: Iterable[bytes]) -> None:
    directory = os.path.dirname(path) or "."
    temporary = f"{directory}/.{os.path.basename(path)}.{secrets.token_hex(4)}"
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise BadInput.of(f"the file cannot be written: {error.strerror}", where=path) from error
    try:
        with open(fd, "wb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
