"""What the receipts together say of one target root, kept ready: the head and the entries.

The head is small and read by every run. Entries say how each path was left, by which node, and with
which lstat signature, so that an untouched file is known by one `lstat`. Both can be rebuilt from the
receipts (`fold`), which alone are the truth.
"""

import time
from collections.abc import Iterable, Mapping

import msgspec
from msgspec import Struct

from requisition.runtime.host import Known, Signature
from requisition.runtime.layout import write_durably
from requisition.schemas.diagnostic import BadInput
from requisition.schemas.receipt import Left, Receipt

RACY_NS = 20_000_000
"""A file changed within this time before its signature was taken could change again unseen (a file system's
clock is that coarse); such a signature is not kept. The rule is git's ("racy git")."""

_NEVER: Signature = (0, 0, 0, 0, 0, 0, 0)


class Head(Struct, frozen=True, omit_defaults=True):
    """Where a target root stands. `active` names a run that began and has not ended."""

    target_root: str
    serials: dict[str, int] = {}
    last_run: str = ""
    last_receipt: str = ""
    active: str = ""


class Entry(Struct, frozen=True, gc=False, array_like=True):
    """One path: its signature then, how it was left, by which node of which run and package."""

    signature: Signature
    left: Left
    node: str
    package: str
    run_id: str


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
        return {entry.left.path: (entry.signature, entry.left) for entry in self.entries.values()}

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
        except msgspec.MsgspecError as error:
            raise BadInput.of("the head of the state view is damaged", where=path, why=str(error)) from error

    def _read_entries(self) -> dict[str, Entry]:
        path = f"{self._directory}/entries"
        try:
            with open(path, "rb") as file:
                return {entry.left.path: entry for entry in _entries.decode(file.read())}
        except FileNotFoundError:
            return {}
        except msgspec.MsgspecError as error:
            raise BadInput.of("the state view is damaged", where=path, why=str(error)) from error


def advance(
    entries: Mapping[str, Entry], receipt: Receipt, known: Mapping[str, Known], now_ns: int | None = None
) -> dict[str, Entry]:
    """Entries after one more run. `known` gives fresh signatures where this process has them."""
    now = time.time_ns() if now_ns is None else now_ns
    updated = dict(entries)
    package = receipt.order.context.package
    nodes = receipt.order.nodes
    for run in receipt.nodes:
        if run.status not in ("done", "unchanged"):
            continue
        for left in run.left:
            if left.kind == "absent":
                updated.pop(left.path, None)
            elif left.kind != "token":
                updated[left.path] = Entry(
                    _settled(known.get(left.path), now), left, nodes[run.node].id, package, receipt.run_id
                )
    return updated


def fold(receipts: Iterable[Receipt]) -> dict[str, Entry]:
    """Entries from nothing but receipts, oldest first. A run that was rolled back leaves no trace: its
    paths fall back to what the receipts before it said."""
    gone = {r.rolls_back for r in (receipts := list(receipts)) if r.rolls_back}
    entries: dict[str, Entry] = {}
    for receipt in receipts:
        if receipt.state == "executed" and receipt.run_id not in gone:
            entries = advance(entries, receipt, {})
    return entries


def _settled(known: Known | None, now: int) -> Signature:
    if known is None or now - known[0][3] < RACY_NS:
        return _NEVER
    return known[0]
