"""The real host over a scratch root, for tests of providers."""

import hashlib
import weakref
from pathlib import Path

from requisition.runtime.host import RealHost
from requisition.runtime.inputs import Inputs
from requisition.runtime.restore import undo_files, undo_move
from requisition.runtime.root import TargetRoot
from requisition.runtime.store import UndoStore
from requisition.schemas.document import Input
from requisition.stdlib.action import Change, Satisfied


class Bench:
    """A host, its root, and the three steps of an action on it."""

    def __init__(self, folder: Path, inputs: dict[str, bytes] | None = None):
        self.root = folder / "root"
        self.root.mkdir()
        source = folder / "source"
        source.mkdir()
        pins = []
        for name, content in (inputs or {}).items():
            (source / name).write_bytes(content)
            pins.append(Input(name, hashlib.sha256(content).hexdigest(), len(content)))
        store = UndoStore(str(folder / "store"))
        self.host = RealHost(
            TargetRoot(str(self.root)),
            store,
            Inputs(pins, str(source), None),
            run_id="test-run-1",
            scratch=str(folder / "scratch"),
            secrets={},
            facts={"os": "linux"},
            known={},
            log=lambda _: None,
            cancelled=lambda: False,
        )
        weakref.finalize(self, _close, self.host, store)

    def observe(self, action, **slots) -> Satisfied | Change:
        return action.observe(self.host, action.slots(**slots))

    def do(self, action, **slots) -> Change:
        """Observe and do; the change, for undo. Afterwards nothing is left to do."""
        found = self.observe(action, **slots)
        assert isinstance(found, Change), found
        action.do(self.host, action.slots(**slots), found)
        return found

    def undo(self, action, change: Change) -> None:
        if change.undo is not None:
            action.undo(self.host, change.undo)
        undo_files(self.host, change.files)
        for move in reversed(change.moves):
            undo_move(self.host, move)
        if change.undo is not None and (change.files or change.moves):
            action.undone(self.host, change.undo)


def _close(host: RealHost, store: UndoStore) -> None:
    host.root.close()
    store.close()
