"""What the receipts together say of one target root, kept ready: the head and the entries.

The head is small and read by every run. Entries say how each path was left, by which node, and with
which lstat signature, so that an untouched file is known by one `lstat`. Both can be rebuilt from the
receipts (`fold`), which alone are the truth.
"""

import time
from collections.abc import Container, Iterable, Mapping

import msgspec
from msgspec import Struct

from requisition.runtime.layout import write_durably
from requisition.runtime.receipts import Trace
from requisition.runtime.sight import NEVER, Known, Signature, changed_at
from requisition.schemas.diagnostic import BadInput
from requisition.schemas.receipt import Left, Receipt

RACY_NS = 20_000_000
"""A file changed within this time before its signature was taken could change again unseen (a file system's
clock is that coarse); such a signature is not kept. The rule is git's ("racy git")."""


class Head(Struct, frozen=True, omit_defaults=True):
    """Where a target root stands. `active` names a run that began and has not ended; `settled` is the
    checksum of the order that the last run left in place whole."""

    target_root: str
    serials: dict[str, int] = {}
    last_run: str = ""
    last_receipt: str = ""
    active: str = ""
    settled: str = ""


class Entry(Struct, frozen=True, gc=False, array_like=True):
    """One path or other resource: its signature then (none for what is no file), how it was left, by which
    node and action of which run and package."""

    signature: Signature
    left: Left
    node: str
    package: str
    run_id: str
    action: str = ""


_entries = msgspec.msgpack.Decoder(list[Entry])


class RootState:
    """Head and entries of one target root, below its directory in the state dir."""

    def __init__(self, directory: str, target_root: str) -> None:
        self._directory = directory
        self.head = self._read_head(target_root)
        self.entries = self._read_entries()

    @property
    def lock(self) -> str:
        """Path of the lock file."""
        return f"{self._directory}/lock"

    def known(self) -> dict[str, Known]:
        """Entries as the host wants them."""
        return {
            entry.left.path: (entry.signature, entry.left)
            for entry in self.entries.values()
            if entry.left.kind != "token"
        }

    def settled(self, checksum: str) -> dict[str, list[Known]]:
        """By node id, what the last run left of the very same order: where all of it is untouched, the node
        needs no closer look. Empty when another order came in between."""
        found: dict[str, list[Known]] = {}
        if checksum and self.head.settled == checksum:
            for entry in self.entries.values():
                found.setdefault(entry.node, []).append((entry.signature, entry.left))
            for entry in self.entries.values():
                if entry.left.kind == "token":  # no `lstat` tells
                    found.pop(entry.node, None)
        return found

    def write_head(self, head: Head) -> None:
        """Replace the head, durably."""
        write_durably(f"{self._directory}/head.json", msgspec.json.format(msgspec.json.encode(head)))
        self.head = head

    def write_entries(self, entries: Mapping[str, Entry]) -> None:
        """Replace the entries, durably."""
        body = msgspec.msgpack.encode([entries[path] for path in sorted(entries)])
        write_durably(f"{self._directory}/entries", body)
        self.entries = dict(entries)

    def _read_head(self, target_root: str) -> Head:
        path = f"{self._directory}/head.json"
        try:
            with open(path, "rb") as file:
                return msgspec.json.decode(file.read(), type=Head)
        except FileNotFoundError:
            return Head(target_root)
        except ValueError as error:
            raise BadInput.of("the head of the state view is damaged", where=path, why=str(error)) from error

    def _read_entries(self) -> dict[str, Entry]:
        path = f"{self._directory}/entries"
        try:
            with open(path, "rb") as file:
                return {entry.left.path: entry for entry in _entries.decode(file.read())}
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise BadInput.of("the state view is damaged", where=path, why=str(error)) from error


def advance(
    entries: Mapping[str, Entry], receipt: Receipt | Trace, known: Mapping[str, Known], now_ns: int | None = None
) -> dict[str, Entry] | None:
    """Entries after one more run, None when they stay as they are. `known` gives fresh signatures where
    this process has them. An unchanged path keeps the run that made it."""
    now = time.time_ns() if now_ns is None else now_ns
    updated = dict(entries)
    changed = False
    whole, nodes, tree = receipt.order.context.package, receipt.order.nodes, receipt.order.members
    for run in receipt.nodes:
        if run.status not in ("done", "unchanged"):
            continue
        for left in run.left:
            path = left.path
            before = updated.get(path)
            if left.kind == "absent":
                changed = updated.pop(path, None) is not None or changed
                continue
            signature = _settled(known.get(path), now)
            if before is not None and run.status == "unchanged" and before.left == left:
                if before.signature == signature:
                    continue
                updated[path] = msgspec.structs.replace(before, signature=signature)
            else:
                node = nodes[run.node]
                package = node.id.partition("/")[0] if tree else whole
                updated[path] = Entry(signature, left, node.id, package, receipt.run_id, node.action)
            changed = True
    return updated if changed else None


def fold(receipts: Iterable[Trace]) -> dict[str, Entry]:
    """Entries from nothing but receipts, oldest first; those of runs that were rolled back are not given."""
    entries: dict[str, Entry] = {}
    for receipt in receipts:
        updated = advance(entries, receipt, {})
        entries = entries if updated is None else updated
    return entries


def without_run(view: RootState, run_id: str, touched: Iterable[str], others: Iterable[Trace]) -> dict[str, Entry]:
    """Entries after a run was taken back: its paths are again what the other receipts say of them."""
    entries = {path: entry for path, entry in view.entries.items() if entry.run_id != run_id}
    paths = {*touched, *(view.entries.keys() - entries.keys())}
    earlier = fold(others)
    for path in paths:
        if path in earlier:
            entries[path] = earlier[path]
        else:
            entries.pop(path, None)
    return entries


def without_paths(
    entries: Mapping[str, Entry], run_id: str, nodes: Container[str], touched: Iterable[str], others: Iterable[Trace]
) -> dict[str, Entry]:
    """Entries after some nodes of a run were taken back: their paths, and what else they left, are again what the
    other receipts say of them."""
    gone = {path for path, entry in entries.items() if entry.run_id == run_id and entry.node in nodes}
    earlier = fold(others)
    left = dict(entries)
    for path in {*touched, *gone}:
        left.pop(path, None)
        if path in earlier:
            left[path] = earlier[path]
    return left


def _settled(known: Known | None, now: int) -> Signature:
    if known is None or now - changed_at(known[0]) < RACY_NS:
        return NEVER
    return known[0]
