"""Receipts that nobody ran: pasts of a machine, written as a runtime would have left them."""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from requisition.schemas import canonical, planform
from requisition.schemas.checksum import checksum
from requisition.schemas.document import Context, Node, Order, Phase, Platform, TreeMember
from requisition.schemas.receipt import Admission, Left, NodeRun, OtherHalf, Receipt
from requisition.schemas.version import TOOL

BEGIN = 1_800_000_000
TAKEN = {"done": "rolled_back"}


def run_id(minute: int) -> str:
    """Of a run that began so many minutes after BEGIN."""
    return f"{datetime.fromtimestamp(BEGIN + minute * 60, UTC):%Y%m%dT%H%M%S}.000000Z-{minute & 0xFFFF:04x}"


def stamp(minute: float) -> str:
    return f"{datetime.fromtimestamp(BEGIN + int(minute * 60), UTC):%Y-%m-%dT%H:%M:%SZ}"


def left(path: str, content: int = 1, **fields) -> Left:
    """A file whose content is the one of that number; 0: absent."""
    if not content:
        return Left(path, "absent")
    return Left(path, "file", 0o644, 0, 0, content, f"{content:064x}", **fields)


def order(paths: Mapping[str, str] | list[str], *, package: str = "demo", root: str = "/root", **fields) -> Order:
    """One node a path. `paths` may give each the member of a tree that it belongs to."""
    members = sorted(set(paths.values())) if isinstance(paths, Mapping) else []
    whose = paths if isinstance(paths, Mapping) else dict.fromkeys(paths, package)
    elevated = fields.pop("elevated", ())
    phases = tuple(Phase(f"{one}/install", "install", member=one if members else "") for one in members or [package])
    return Order(
        1,
        f"{package}.order",
        TOOL,
        Platform("linux"),
        Context(package, fields.pop("version", ""), scope=fields.pop("scope", "system"), target_root=root),
        phases,
        tuple(
            Node(
                f"{whose[path]}/install/file.write:{path}",
                "file.write",
                f"{whose[path]}/install",
                {"path": path, "content": "x"},
                location=f"{whose[path]}.star:{number + 2}",
                elevate=path in elevated,
            )
            for number, path in enumerate(paths)
        ),
        members=tuple(TreeMember(one, one, "0" * 64) for one in members),
    )


def receipt(minute: int, ordered: Order, nodes: tuple[NodeRun, ...], **fields) -> Receipt:
    """Of a run that took half a minute."""
    ident = run_id(minute)
    plain = {
        "version": 1,
        "name": f"{ordered.context.package}-{ident}",
        "tool": TOOL,
        "run_id": ident,
        "state": "executed",
        "outcome": "complete",
        "order": ordered,
        "order_checksum": checksum("order", ordered.name, canonical.encode(ordered)),
        "started": stamp(minute),
        "finished": stamp(minute + 0.5),
        "host": "here",
        "target_root": ordered.context.target_root,
        "admitted": (Admission("ab" * 16, "ed25519", "author"),),
        "nodes": nodes,
    }
    return Receipt(**(plain | fields))


def taken_back(first: Receipt, minute: float, names: frozenset[str] | None = None) -> Receipt:
    """The receipt of its rollback: whole, or of the nodes of some members only."""
    nodes = tuple(
        msgspec.structs.replace(
            one, status=TAKEN.get(one.status, one.status), left=() if one.status in TAKEN else one.left
        )
        if names is None or first.order.nodes[one.node].id.partition("/")[0] in names
        else one
        for one in first.nodes
    )
    state = "executed" if names is not None else "rolled_back"
    return msgspec.structs.replace(
        first, state=state, nodes=nodes, rolls_back=first.run_id, finished=stamp(minute), message="rolled back"
    )


def half(ident: str) -> OtherHalf:
    return OtherHalf(ident, "sha256:" + "0" * 64)


def place(state: Path, ident: str, *, host: str = "", rollback: bool = False) -> Path:
    """Where a receipt lies."""
    if host:
        return state / "hosts" / host / f"{ident}{'.rollback' if rollback else ''}.plan"
    return state / "runs" / ident / ("rollback.plan" if rollback else "receipt.plan")


def save(state: Path, document: Receipt, *, host: str = "") -> Path:
    """Write it where it belongs, whole or not at all, and as quickly as can be."""
    path = place(state, document.run_id, host=host, rollback=bool(document.rolls_back))
    for folder in (state, path.parent):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    payload = canonical.encode(document)
    arriving = path.with_name(".arriving")
    with open(arriving, "wb") as file:
        file.writelines(planform.pieces(planform.Header("receipt", payload, planform.digest(payload)), ()))
    os.replace(arriving, path)
    return path
