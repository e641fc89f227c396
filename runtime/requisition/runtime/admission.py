"""From a file to an order that may run: read, judge, decode, admit. The IO around `trust`."""

import os

from msgspec import Struct

from requisition.runtime import trust as rules
from requisition.runtime.frames import Event, Request
from requisition.runtime.layout import StateDir
from requisition.runtime.machine import hostname, platform_of_machine
from requisition.runtime.run import Watch
from requisition.runtime.state import Head
from requisition.schemas import orderfile
from requisition.schemas.checksum import checksum
from requisition.schemas.diagnostic import BadInput, Refused
from requisition.schemas.document import Order
from requisition.schemas.orderfile import Sealed
from requisition.schemas.planform import Bundle
from requisition.schemas.receipt import Admission, Receipt
from requisition.schemas.trustfile import Trust, load_trust


class Admitted(Struct):
    """An order that may run, and where. `order_bytes`: its canonical bytes, empty when it lay in a receipt."""

    order: Order
    checksum: str
    target_root: str
    source_root: str | None
    admissions: tuple[Admission, ...]
    verdict: rules.Verdict | None
    trust: Trust | None
    watch: Watch
    request: Request
    blobs: Bundle | None
    order_bytes: bytes

    def check_state(self, head: Head) -> None:
        """The rules that need the target's past. Raises NotTrusted."""
        place = rules.Place(
            platform_of_machine(),
            hostname(),
            self.target_root,
            head.serials.get(self.order.context.package, 0),
            self.request.allow_downgrade,
        )
        rules.admit(self.order, place, self.trust, self.watch.now(), self.request.order_path)

    def event(self, at: int) -> Event:
        """Tell that the order was admitted, and on whose word."""
        signatures = [
            {"keyid": j.keyid, "method": j.method, "signer": j.signer, "counts": j.counts, "why": j.why}
            for j in (self.verdict.signatures if self.verdict else ())
        ]
        data = {"checksum": self.checksum, "signatures": signatures, "name": self.order.name}
        text = "verified" if self.verdict else "not verified: unsigned, which was allowed"
        return Event(kind="verified", at=at, text=text, data=data)

    def close(self) -> None:
        """Release the bundle."""
        if self.blobs is not None:
            self.blobs.close()


def admit(request: Request, state: StateDir, watch: Watch) -> Admitted:
    """Read and verify the order of a request. Raises Refused or BadInput; nothing was touched.

    A receipt replays the order in it. The host's own signature on a receipt approves nothing: it needs those
    of the policy, over the receipt's payload type, like any order.
    """
    path = request.order_path
    trust = _trust(request, state)
    sealed = orderfile.read(path)
    verdict = None
    if trust is not None:
        verdict = rules.judge(sealed.payload_type, sealed.payload, sealed.signatures, trust, watch.now())
        rules.require_accepted(verdict, path)
    return _admitted(request, sealed, verdict, trust, watch)


def _trust(request: Request, state: StateDir) -> Trust | None:
    path = request.trust_path or f"{state.path}/trust.yaml"
    if request.trust_path or os.path.exists(path):
        if request.allow_unsigned:
            raise BadInput.of(
                "unsigned orders are not applied where a trust policy is",
                where=path,
                next="leave out --allow-unsigned, or have the order signed",
            )
        return load_trust(path)
    if request.allow_unsigned:
        return None
    raise Refused.of(
        "no trust policy says whose orders may run here",
        where=path,
        next="plan trust init makes one; --allow-unsigned applies without",
    )


def readmit(request: Request, watch: Watch, order_checksum: str) -> Admitted:
    """The order of a run that began already, to take it back or compare with it: it was judged then and
    lies in our own state directory; only that it is the same one is checked. Raises BadInput."""
    admitted = _admitted(request, orderfile.read(request.order_path), None, None, watch)
    if admitted.checksum != order_checksum:
        raise BadInput.of("the order of this run was altered", where=request.order_path, next="restore it")
    return admitted


def _admitted(
    request: Request, sealed: Sealed, verdict: rules.Verdict | None, trust: Trust | None, watch: Watch
) -> Admitted:
    document = orderfile.decode(sealed)
    order = document.order if isinstance(document, Receipt) else document
    payload = sealed.payload if sealed.kind == "order" else b""
    source = request.source_root or source_folder(request.order_path, sealed.source)
    return Admitted(
        order,
        checksum("order", order.name, payload) if payload else document.order_checksum,  # type: ignore[union-attr]
        target_root(order, request),
        source,
        tuple(Admission(j.keyid, j.method, j.signer) for j in (verdict.signatures if verdict else ()) if j.counts),
        verdict,
        trust,
        watch,
        request,
        sealed.blobs,
        payload,
    )


def source_folder(order_path: str, hint: str) -> str | None:
    """Where the inputs of an order lie: as the hint in its file says, else beside it; None when that is no folder."""
    folder = os.path.dirname(os.path.abspath(order_path))
    found = os.path.normpath(os.path.join(folder, hint)) if hint else folder
    return found if os.path.isdir(found) else None


def target_root(order: Order, request: Request) -> str:
    """Where the order goes: what it is bound to, or what the request names when it is bound to nothing.
    Raises Refused when the two differ."""
    bound = os.path.expanduser(order.context.target_root) if order.context.target_root else ""
    asked = os.path.abspath(request.target_root) if request.target_root else ""
    if bound and asked and os.path.realpath(bound) != os.path.realpath(asked):
        raise Refused.of(
            f"the order is for the target root {order.context.target_root}, not {asked}",
            where=request.order_path,
            why="the root is part of what was signed",
            next="build it with --root for this one, or leave out --root",
        )
    if not bound and not asked:
        raise BadInput.of(
            "the order leaves the target root open", where=request.order_path, next="name one with --root"
        )
    return bound or asked
