"""grex's event log and lock file in our terms. Pure: bytes in, records out.

Its log has an event an action, ours one a package; what came last of each package is the same. Its field `sync.sha`
holds a summary and no commit, and its events about pruning say nothing of a tree's state: both are left out. A last
line without an end was never announced, any other damage is an error that names the line.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from requisition.schemas.diagnostic import BadInput
from requisition.schemas.treeevent import Added, Completed, Halted, Known, Removed, Started, Updated
from requisition.tree import local
from requisition.tree.cache import is_commit
from requisition.tree.legacy import Place
from requisition.tree.pins import Pin, Pins


class _Row(Struct):
    """One line of either file; each kind uses some of it."""

    op: str = ""
    ts: str = ""
    id: str = ""
    pack: str = ""
    url: str = ""
    path: str = ""
    field: str = ""
    value: Any = None
    sha: str = ""
    branch: str | None = None
    action_name: str = ""
    error_summary: str = ""

    @property
    def name(self) -> str:
        """Which package."""
        return self.id or self.pack


_row = msgspec.json.Decoder(_Row)


def events(data: bytes, where: str, paths: Mapping[str, str]) -> list[Known]:
    """The events of a `.grex/events.jsonl` or `grex.jsonl`, with its times; `paths` of packages by their names, where
    it does not say. Raises BadInput."""
    reading = _Log(paths)
    found: list[Known] = []
    for number, row in _rows(data, where):
        try:
            at = local.stamp(datetime.fromisoformat(row.ts))
        except ValueError as error:
            raise _damaged(where, number, f"{row.ts!r} is no time") from error
        found += [msgspec.structs.replace(event, at=at) for event in reading.told(row)]
    return found


def pins(data: bytes, where: str, places: Sequence[Place]) -> tuple[Pins, list[str]]:
    """The pins of a `.grex/grex.lock.jsonl` for packages that manifests name, and the names of those that none does.
    grex keyed it by name: a name that several packages have pins none of them. Raises BadInput."""
    pinned: dict[str, Pin] = {}
    lost = []
    children = [place for place in places if place.path]
    for number, row in _rows(data, where):
        if not is_commit(row.sha):
            lost.append(row.name)
            continue
        exact = [place for place in children if place.path == row.path]
        found = exact or [place for place in children if place.name == row.name]
        if len(found) != 1:
            lost.append(row.name)
        elif found[0].path in pinned:
            raise _damaged(where, number, f"{found[0].path} is pinned twice")
        else:
            pinned[found[0].path] = Pin(found[0].url, row.sha, row.branch or "")
    return Pins(pinned), lost


class _Log:
    """Reads a log from its first line: which package has which path and address."""

    def __init__(self, paths: Mapping[str, str]) -> None:
        self._paths = paths
        self._added: dict[str, Added] = {}

    def told(self, row: _Row) -> Iterable[Known]:
        """What a line says, in our events; nothing for what has no bearing on the state."""
        before = self._added.get(row.name) or Added(path=self._paths.get(row.name, _path(row.name)))
        match row.op:
            case "add":
                return self._now(row.name, Added(path=_path(row.path or row.id), url=row.url))
            case "rm":
                self._added.pop(row.name, None)
                return (Removed(path=before.path),)
            case "update" if row.field == "ref" and is_commit(str(row.value)):
                return (Updated(path=before.path, to=str(row.value)),)
            case "update" if row.field in ("ref", "url"):
                return self._now(row.name, msgspec.structs.replace(before, **{row.field: str(row.value or "")}))
            case "update" if row.field == "path":
                after = msgspec.structs.replace(before, path=_path(str(row.value or "")))
                return (Removed(path=before.path), *self._now(row.name, after))
            case "action_started":
                return (Started(path=before.path),)
            case "action_completed":
                return (Completed(path=before.path),)
            case "action_halted":
                return (Halted(path=before.path, action=row.action_name, why=row.error_summary, next="plan sync"),)
        return ()

    def _now(self, name: str, added: Added) -> tuple[Known]:
        self._added[name] = added
        return (added,)


def _path(text: str) -> str:
    return "" if text in ("", ".", "/") else text.strip("/")


def _rows(data: bytes, where: str) -> Iterator[tuple[int, _Row]]:
    lines = data.split(b"\n")[:-1]
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield number, _row.decode(line)
            except (ValueError, RecursionError) as error:
                raise _damaged(where, number, str(error)) from error


def _damaged(where: str, number: int, why: str) -> BadInput:
    return BadInput.of(
        "a line of grex's file is damaged", where=f"{where}:{number}", why=why, next="correct that line or take it out"
    )
