"""What several nodes come to together: versions chosen, side effects foreseen, and everything that undo needs.

A node's undo data says of each package what stood before and what was left. The first node of a transaction answers
for what comes along with all of them (dependencies): it is taken back last.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from requisition.schemas.receipt import Left
from requisition.stdlib.action import NotCompensable, UndoConflict
from requisition.stdlib.host import Host
from requisition.stdlib.providers.package.manager import (
    Installed,
    Manager,
    Options,
    Site,
    Step,
    Trouble,
    Wish,
    manager_named,
)
from requisition.stdlib.providers.package.versions import Clause, allows, spelled

ABSENT = Installed("")


class Trace(Struct, frozen=True, array_like=True):
    """One package before and after; a version is empty where it is absent. `auto`: its mark before; `residue`: its
    configuration was there before. `along`: nobody asked for it by name."""

    name: str
    before: str
    after: str
    auto: bool = False
    residue: bool = False
    along: bool = False


class Undo(Struct, frozen=True):
    """A node's undo data."""

    manager: str
    place: str
    traces: tuple[Trace, ...]
    lock_ms: int = 60_000

    def plain(self) -> Any:
        """As JSON values."""
        return msgspec.to_builtins(self)


class Packages:
    """One manager on one site, as nodes see it: what is there is asked once a run."""

    def __init__(self, host: Host, manager: str, place: str, lock_ms: int) -> None:
        self.host = host
        self.manager: Manager = manager_named(manager)
        root = host.real_path("/").rstrip("/") or "/"
        self.site = Site(root, place, lock_ms)
        self._after: Mapping[str, Installed] | None = None

    def look_again(self) -> None:
        """After an effect: `host.recall` forgets between nodes, not within one."""
        self._after = self.manager.installed(self.host, self.site)

    def mend(self) -> None:
        """Let the manager finish what it can of what was left half done; the rest is for the command that follows."""
        try:
            self.manager.mend(self.host, self.site)
        except Trouble as error:
            self.host.log(str(error))
        self.look_again()

    def torn(self) -> list[str]:
        """Packages of which parts are there that cannot be used."""
        return [name for name, one in self.installed().items() if one.broken and not one.version and ":" not in name]

    def not_held(self) -> list[str]:
        """Packages that may be upgraded."""
        found = self.installed().items()
        return [name for name, one in found if one.version and not one.held and ":" not in name]

    def installed(self) -> Mapping[str, Installed]:
        """Everything that is there."""
        if self._after is not None:
            return self._after
        key = f"package:{self.manager.name}:{self.site.place}"
        return self.host.recall(key, lambda: self.manager.installed(self.host, self.site))

    def get(self, name: str) -> Installed:
        """One package; `ABSENT` when it is not there."""
        return self.installed().get(self.manager.same_name(name), ABSENT)

    def resource(self, name: str, kind: str = "") -> str:
        """Its name in the state view: `apt:nginx`, `pip:requests in /srv/venv`, `apt-hold:nginx`."""
        where = f" in {self.site.place}" if self.site.place else ""
        return f"{self.manager.name}{kind}:{self.manager.same_name(name)}{where}"

    def left(self, name: str) -> Left:
        """Its present state."""
        version = self.get(name).version
        path = self.resource(name)
        return Left(path, "token", token=version) if version else Left(path, "absent")

    def choose(self, name: str, clauses: Sequence[Clause], offers: Sequence[str]) -> str:
        """The version to install. Raises Trouble saying what can be had."""
        if not offers:
            raise Trouble(
                f"{self.manager.name} knows no package {name}",
                "check the name; if it is right, add a repository or plan.package.update() before it",
                (name,),
            )
        for version in offers:
            if allows(clauses, self.manager.compare, version):
                return version
        shown = ", ".join(offers[:5])
        raise Trouble(
            f"no version of {name} is {spelled(clauses)}; {self.manager.name} has {shown}",
            "ask for another version, or refresh the lists with plan.package.update() before it",
            (name,),
        )

    # forward -------------------------------------------------------------------------------------

    def traces(
        self,
        put: Sequence[Wish],
        drop: Sequence[str],
        options: Options,
        expendable: frozenset[str] = frozenset(),
    ) -> tuple[Trace, ...]:
        """Before and after of everything that a change will touch. Raises Trouble when that would remove what
        nobody gave up."""
        steps = self.manager.foresee(self.host, self.site, put, drop, options) if put or drop else ()
        named = {wish.name for wish in put} | set(drop)
        gone = [step.name for step in steps if not step.after and step.name not in named | expendable]
        if gone:
            one = put[0].name if put else drop[0]
            what = f"installing {one}" if put else f"removing {one}"
            also = ", ".join(gone[:5])
            raise Trouble(
                f"{what} would remove {also} too",
                f"say so, if it is meant: {'replaces' if put else 'with_dependents'} = [{', '.join(map(repr, gone))}]",
                (one,),
            )
        return tuple(self._trace(step, named) for step in steps)

    def _trace(self, step: Step, named: set[str]) -> Trace:
        had = self.get(step.name)
        residue = not had.version and self.manager.same_name(step.name) in self.installed()
        return Trace(step.name, had.version, step.after, had.auto, residue, step.name not in named)

    def undo(self, traces: Sequence[Trace]) -> Any:
        """Undo data, plain."""
        return Undo(self.manager.name, self.site.place, tuple(traces), self.site.lock_ms).plain()


def chosen(undos: Sequence[Any]) -> list[Wish]:
    """What `join` chose for nodes, from their undo data: done is what was made durable, nothing else."""
    traces = [trace for plain in undos for trace in msgspec.convert(plain, Undo).traces]
    return [Wish(one.name, one.after) for one in traces if one.after not in ("", one.before) and not one.along]


def share(names: Sequence[str], traces: Sequence[Trace]) -> list[list[Trace]]:
    """The traces of each node, by the package it names; the first one also has all that comes along."""
    own: list[list[Trace]] = [[] for _ in names]
    index: dict[str, int] = {}
    for at, name in enumerate(names):
        index.setdefault(name, at)
    for trace in traces:
        own[index.get(trace.name, 0)].append(trace)
    return own


def take_back(host: Host, undos: Sequence[Any]) -> None:
    """Take back nodes, the last one first: one command a manager and place. Looks at what is really there, so it
    may be repeated, and come after a kill. Raises UndoConflict, NotCompensable, Trouble."""
    sites: dict[tuple[str, str], list[Undo]] = {}
    for plain in undos:
        undo = msgspec.convert(plain, Undo)
        sites.setdefault((undo.manager, undo.place), []).append(undo)
    for (manager, place), found in sites.items():
        packages = Packages(host, manager, place, max(undo.lock_ms for undo in found))
        _take_back(packages, _merged([trace for undo in found for trace in undo.traces]))


def _merged(traces: Sequence[Trace]) -> list[Trace]:
    """Several changes of one package, the last one first, as one."""
    merged: dict[str, Trace] = {}
    for trace in traces:
        later = merged.get(trace.name)
        along = trace.along and (later is None or later.along)
        after = trace.after if later is None else later.after
        merged[trace.name] = msgspec.structs.replace(trace, after=after, along=along)
    return list(merged.values())


def _take_back(packages: Packages, traces: Sequence[Trace]) -> None:
    if any(packages.get(trace.name).broken for trace in traces):
        packages.mend()
    found = [(trace, packages.get(trace.name)) for trace in traces]
    moved = [trace for trace, now in found if now.version != trace.before or now.broken]
    for trace in moved:
        now = packages.get(trace.name)
        if now.version != trace.after and not now.broken:
            was, is_now = trace.after or "absent", now.version or "absent"
            raise UndoConflict(f"{trace.name} was left at {was}, and is {is_now} now")
    drop = [trace for trace in moved if not trace.before]
    put, lost = _still_to_be_had(packages, [trace for trace in moved if trace.before])
    drop = _not_needed(packages, put, drop)
    _restore(packages, put, drop)
    _remark(packages, traces)
    if lost:
        names = ", ".join(f"{trace.name} {trace.before}" for trace in lost)
        raise NotCompensable(f"{names} can no longer be had from {packages.manager.name}'s sources")


def _still_to_be_had(packages: Packages, traces: Sequence[Trace]) -> tuple[list[Wish], list[Trace]]:
    """What stood before at its very version, and what no repository has any more."""
    if not traces:
        return [], []
    offers = packages.manager.offers(packages.host, packages.site, [trace.name for trace in traces])
    lost = [trace for trace in traces if trace.before not in offers.get(trace.name, ())]
    had = [trace for trace in traces if trace.before in offers.get(trace.name, ())]
    return [Wish(trace.name, trace.before) for trace in had], lost


def _not_needed(packages: Packages, put: Sequence[Wish], drop: list[Trace]) -> list[Trace]:
    """Those of `drop` that nobody else needs by now. Raises UndoConflict for one that was asked for by name."""
    if not drop:
        return drop
    for chosen in (drop, [trace for trace in drop if not trace.along]):
        names = [trace.name for trace in chosen]
        if not names:
            return []
        steps = packages.manager.foresee(packages.host, packages.site, put, names, Options())
        others = [step.name for step in steps if not step.after and step.name not in names]
        if not others:
            return chosen
    raise UndoConflict(f"{', '.join(others[:5])} was installed since, and needs {', '.join(names[:5])}")


def _restore(packages: Packages, put: Sequence[Wish], drop: Sequence[Trace]) -> None:
    """One command; a second one only where configuration of removed packages stood there before."""
    clean = [trace.name for trace in drop if not trace.residue]
    residue = [trace.name for trace in drop if trace.residue]
    if put or clean:
        _put_and_drop(packages, put, clean)
    if residue:
        packages.manager.change(packages.host, packages.site, (), residue, Options())


def _put_and_drop(packages: Packages, put: Sequence[Wish], drop: Sequence[str]) -> None:
    """One command. What only goes needs no mirror: it goes though what is to come back cannot be had just now."""
    purge = Options(purge=True)
    try:
        packages.manager.change(packages.host, packages.site, put, drop, purge)
    except Trouble:
        packages.look_again()
        names = [name for name in drop if packages.get(name).version]
        if put and names:
            steps = packages.manager.foresee(packages.host, packages.site, (), names, Options())
            if all(step.name in names for step in steps):
                packages.manager.change(packages.host, packages.site, (), names, purge)
        raise


def _remark(packages: Packages, traces: Sequence[Trace]) -> None:
    """Marks as they were, of what is there."""
    stood = [trace for trace in traces if trace.before]
    if not stood:
        return
    packages.look_again()
    for auto in (True, False):
        names = [
            trace.name
            for trace in stood
            if trace.auto == auto and packages.get(trace.name).version and packages.get(trace.name).auto != auto
        ]
        packages.manager.mark(packages.host, packages.site, names, auto=auto)
