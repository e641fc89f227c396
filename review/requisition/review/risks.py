"""What in an order deserves a second look before it is signed, computed from the catalogue and the slots.

A risk is no verdict: most orders restart a service or run a command. It is where a reviewer's minutes go first.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import takewhile
from posixpath import basename, commonpath, dirname, join, normpath
from typing import Any, Literal, get_args

from msgspec import Struct

from requisition.review.values import leaves
from requisition.schemas.document import Node, Order
from requisition.stdlib.catalogue import Catalogue, load
from requisition.stdlib.spec import ActionSpec

RiskKind = Literal[
    "unknown",
    "root",
    "shell",
    "unverified",
    "secret",
    "irreversible",
    "command",
    "outside",
    "mode",
    "removes",
    "replaces",
]
KINDS: tuple[RiskKind, ...] = get_args(RiskKind)
"""The gravest first."""

WORDS: Mapping[RiskKind, str] = {
    "unknown": "of an unknown action",
    "root": "as root",
    "shell": "through a shell",
    "unverified": "without a digest",
    "secret": "given a secret",
    "irreversible": "that cannot be undone",
    "command": "running a command",
    "outside": "beyond the target root",
    "mode": "with a wide mode",
    "removes": "removing a folder",
    "replaces": "replacing what is there",
}
_SPECIAL, _WRITABLE, _STICKY = 0o6000, 0o002, 0o1000
_SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ksh", "fish"})


class Risk(Struct, frozen=True):
    """One thing to look at: of which kind, at which node, where its package calls for it, and in words."""

    kind: RiskKind
    node: str
    location: str
    text: str


def risks(order: Order) -> list[Risk]:
    """What deserves a second look: the gravest kind first, then in the order of the document."""
    catalogue = load()
    by_id = {node.id: node for node in order.nodes}
    root = order.context.target_root
    found = [
        Risk(kind, node.id, node.location, text)
        for node in order.nodes
        for kind, text in _of(node, catalogue, root, by_id)
    ]
    rank = {kind: number for number, kind in enumerate(KINDS)}
    return sorted(found, key=lambda risk: rank[risk.kind])


def counted_risks(found: Iterable[Risk]) -> dict[RiskKind, int]:
    """How many nodes have each kind, the gravest first."""
    counts = Counter(risk.kind for risk in found)
    return {kind: counts[kind] for kind in KINDS if counts[kind]}


def _of(node: Node, catalogue: Catalogue, root: str, by_id: Mapping[str, Node]) -> Iterator[tuple[RiskKind, str]]:
    spec, slots = catalogue.get(node.action), node.slots
    if node.elevate:
        given = _given_by_others(node, by_id)
        yield "root", "runs as root" + (f", with what {given} gives it" if given else "")
    if node.on_conflict in ("overwrite", "backup"):
        yield "replaces", f"replaces what is in its way ({node.on_conflict})"
    if spec is None:
        yield "unknown", "is an action that this installation does not know"
        return
    if node.action == "shell.exec":
        yield from _command(slots)
    elif not spec.compensable:
        yield "irreversible", "cannot be undone"
    if slots.get("insecure_no_digest"):
        yield "unverified", "downloads without a digest"
    if slots.get("insecure_any_commit"):
        yield "unverified", "takes whatever commit the remote gives"
    if slots.get("recursive"):
        yield "removes", "removes a folder with all that is in it"
    yield from _beyond(node, spec, root)
    yield from _mode(node.action, slots)


def _command(slots: Mapping[str, Any]) -> Iterator[tuple[RiskKind, str]]:
    shell, looks = _is_shell(slots), bool(slots.get("checks_only"))
    yield ("shell", "runs a command through a shell") if shell else ("command", "runs a command")
    if not slots.get("undo") and not looks:
        yield "irreversible", "cannot be undone"
    if names := sorted(str(mark["$secret"]) for mark in _marks(slots) if "$secret" in mark):
        yield "secret", f"gives a command the secret {', '.join(names)}"


def _is_shell(slots: Mapping[str, Any]) -> bool:
    """Whether a shell reads a text as a program: by the slot, or by `sh -c`, be it behind env or su."""
    if slots.get("shell"):
        return True
    argv = slots.get("argv")
    words = [word if isinstance(word, str) else "" for word in argv] if isinstance(argv, list) else []
    return any(basename(word) in _SHELLS and _reads_text(words[at + 1 :]) for at, word in enumerate(words))


def _reads_text(rest: list[str]) -> bool:
    flags = takewhile(lambda word: word.startswith("-"), rest)
    return any("c" in flag and not flag.startswith("--") for flag in flags)


def _beyond(node: Node, spec: ActionSpec, root: str) -> Iterator[tuple[RiskKind, str]]:
    """What is not below the target root. An order for `/` has nothing beyond it. (The runtime refuses paths that lead
    out; a reviewer should know that somebody tried.)"""
    for slot in spec.slots:
        value = node.slots.get(slot.name)
        if slot.type == "path" and isinstance(value, str) and ".." in value.split("/"):
            yield "outside", f"names {value}, which leads out of the target root"
    if root == "/":
        return
    changes = spec.effect == "outside" and not spec.looks and not node.action.startswith("flow.")
    if changes and node.action != "shell.exec" and not _below(spec, node.slots):
        yield "outside", f"changes the machine beyond {root or 'the target root'}"
    target, path = node.slots.get("target"), node.slots.get("path")
    if (
        node.action == "file.link"
        and isinstance(target, str)
        and isinstance(path, str)
        and _leads_out(target, path, root)
    ):
        yield "outside", f"links to {target}, beyond {root or 'the target root'}"


def _below(spec: ActionSpec, slots: Mapping[str, Any]) -> bool:
    """Whether an action that is not undone by its files still names a path of the target as its own."""
    return any(
        slot.type == "path" and slots.get(slot.name) for slot in spec.slots if slot.writes or slot.name == "into"
    )


def _leads_out(target: str, path: str, root: str) -> bool:
    if target.startswith("/"):
        base = root.rstrip("/")
        return not base.startswith("/") or commonpath((base, normpath(target))) != base
    return normpath(join(dirname(path).lstrip("/"), target)).startswith("..")


def _mode(action: str, slots: Mapping[str, Any]) -> Iterator[tuple[RiskKind, str]]:
    mode = slots.get("mode")
    if isinstance(mode, int) and mode & _SPECIAL and action != "file.mkdir":
        yield "mode", f"sets the mode {mode:04o}: whoever runs it becomes its owner or group"
    elif isinstance(mode, int) and mode & _WRITABLE and not mode & _STICKY:
        yield "mode", f"sets the mode {mode:04o}: anyone may write to it"


def _given_by_others(node: Node, by_id: Mapping[str, Node]) -> str:
    """The first node without root whose output one with root uses: whoever applies can choose that value."""
    for mark in _marks(node.slots):
        name = mark.get("$ref") or mark.get("$item")
        source = by_id.get(name) if isinstance(name, str) else None
        if source is None or (source.elevate and "$ref" in mark):
            continue
        if "$ref" in mark or isinstance(source.slots.get("items"), dict):
            return source.id
    return ""


def _marks(slots: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Promises, items and secrets in slots."""
    return (leaf for name, value in slots.items() for _, leaf in leaves(name, value) if isinstance(leaf, dict))
