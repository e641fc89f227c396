"""Stages before the runtime: build, sign, verify and load."""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path


def build(package: str, order: str, root: str) -> Callable[[], None]:
    from requisition.compiler import BuildRequest, Limits, build
    from requisition.runtime.machine import platform_of_machine
    from requisition.schemas import orderfile

    limits = Limits(memory_bytes=6 << 30)
    request = BuildRequest(source=package, target=platform_of_machine(), target_root=root, limits=limits)

    def work() -> None:
        orderfile.write(order, orderfile.seal(build(request).order))

    return work


def sign(order: str) -> Callable[[], None]:
    import msgspec

    from requisition.schemas import orderfile
    from requisition.schemas.envelope import pae
    from requisition.schemas.signing import load_signer, new_key

    folder = Path(order).parent / "keys"
    if not (folder / "bench").exists():
        _, public = new_key(str(folder), "bench")
        trust = folder / "trust.yaml"
        trust.write_text(f"keys:\n  bench:\n    key: {public.openssh()}\n")
        os.chmod(trust, 0o600)
    signer = load_signer(str(folder / "bench"), lambda _: b"")

    def work() -> None:
        sealed = orderfile.read(order)
        signature = signer.sign(pae(sealed.payload_type, sealed.payload))
        orderfile.write(order, msgspec.structs.replace(sealed, signatures=(signature,)))

    return work


def load(order: str) -> Callable[[], None]:
    from requisition.runtime.trust import judge
    from requisition.schemas import orderfile
    from requisition.schemas.trustfile import load_trust

    trust = load_trust(str(Path(order).parent / "keys" / "trust.yaml"))

    def work() -> None:
        sealed = orderfile.read(order)
        verdict = judge(sealed.payload_type, sealed.payload, sealed.signatures, trust, datetime.now(UTC))
        if not verdict.accepted:
            raise SystemExit("not accepted")
        orderfile.decode(sealed)

    return work


AUTHORING: dict[str, Callable[..., Callable[[], None]]] = {"build": build, "sign": sign, "load": load}
