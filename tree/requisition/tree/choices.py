"""Which pin counts for a package, and which ref: what is locked, what shall move, what is to be another for once."""

import contextlib
from collections.abc import Mapping, Sequence

from msgspec import structs

from requisition.compiler.manifest import Manifest
from requisition.schemas.diagnostic import BadInput, Diagnostic
from requisition.tree.cache import Wanted
from requisition.tree.entries import Entry, read
from requisition.tree.pins import Pin, Pins
from requisition.tree.versions import within

ALL = "*"
_NAMES = "plan tree ls names them"


class Choices:
    """The pins of a tree, and the names in the options of a walk, which are ticked off as packages are met."""

    def __init__(self, root: str, pins: Pins, update: Sequence[str], refs: Mapping[str, str]) -> None:
        self._root = root
        self._pins = pins
        self._update = frozenset(update)
        self._refs = refs
        self._met: set[str] = {ALL}
        self._applied: set[str] = set()

    def of(self, entry: Entry) -> tuple[Entry, Pin | None]:
        """What is asked for after all, and the pin for it, if it still counts."""
        names = self._names(entry.path)
        given = names & self._refs.keys()
        self._applied |= given
        if given:
            entry = structs.replace(entry, wanted=Wanted(self._refs[min(given)]))
        pin = self._pins.packages.get(entry.path)
        if pin is None or pin.url != entry.url or ALL in self._update or names & self._update:
            return entry, None
        versions, ref = entry.wanted.versions, entry.wanted.ref
        fits = within(pin.ref, versions) if versions else ref in (pin.ref, pin.commit)
        return entry, pin if fits else None

    def meet(self, path: str, manifest: Manifest | None = None) -> None:
        """There is a package at a path."""
        self._met |= {path, path.rpartition("/")[2]} | ({manifest.name} if manifest else set())

    def left(self) -> list[Diagnostic]:
        """Names that nothing has, or that could not be known when they were needed."""
        asked = sorted({*self._update, *self._refs} - self._met - self._applied)
        found = [Diagnostic(what=f"no package is called {name!r}", next=_NAMES) for name in asked]
        for name in sorted(self._refs.keys() & self._met - self._applied):
            what = f"the package {name!r} was not there yet, so that its other ref could not be taken"
            found.append(Diagnostic(what=what, why="only its manifest says its name", next="name it by its path"))
        return found

    def kept(self, lost: Sequence[str]) -> dict[str, Pin]:
        """The pins of packages that could not be had, and of all below them."""
        return {
            path: pin
            for path, pin in self._pins.packages.items()
            if any(path == one or path.startswith(f"{one}/") for one in lost)
        }

    def _names(self, path: str) -> set[str]:
        """What the options may call it: its path, the last part of that, the name in the manifest that is there."""
        if not self._update and not self._refs:
            return set()
        names = {path, path.rpartition("/")[2]}
        with contextlib.suppress(BadInput):
            names.add(read(f"{self._root}/{path}")[0].name)
        return names
