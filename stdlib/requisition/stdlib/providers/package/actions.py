"""The actions on packages. Nodes of one action and manager are one command, done and taken back together."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from requisition.schemas.receipt import Left
from requisition.stdlib.action import (
    Asked,
    BaseAction,
    Change,
    Done,
    NotCompensable,
    Quarrel,
    Satisfied,
    SomeFailed,
    action,
)
from requisition.stdlib.host import Host
from requisition.stdlib.providers.package.manager import Options, Trouble, Wish
from requisition.stdlib.providers.package.slots import (
    HoldSlots,
    InstallSlots,
    RemoveSlots,
    UpdateSlots,
    UpgradeSlots,
    agree,
    clauses_of,
    completed,
)
from requisition.stdlib.providers.package.transaction import Packages, Trace, chosen, share, take_back
from requisition.stdlib.providers.package.versions import allows
from requisition.stdlib.spec import Output

S = TypeVar("S", bound=Struct)
Work = Sequence[tuple[Any, Change]]
MINUTE = 60_000
FAMILY = "package"


class PackageAction(BaseAction[S]):
    """What all of them share: agreement beforehand, batches by manager and place, fingerprints by version."""

    def judge(self, asked: Sequence[Asked]) -> tuple[Sequence[Any], Sequence[Quarrel]]:
        """See `Judging`."""
        return agree(asked)

    def batch(self, slots: Any) -> str:
        """One command works on one set of packages, and brings recommended ones or not; what is ephemeral goes
        before the rest, with what it brought."""
        slots = completed(slots)
        options = (getattr(slots, "recommends", False), getattr(slots, "purge", False), getattr(slots, "ephemeral", 0))
        return f"{slots.manager} {slots.into} {options}"

    def join(self, host: Host, work: Work) -> Sequence[Change]:
        """Nothing to add, unless an action says otherwise."""
        return [change for _, change in work]

    def do(self, host: Host, slots: Any, change: Change) -> Done:
        """A batch of one."""
        return self.do_many(host, [(slots, change)])[0]

    def do_many(self, host: Host, work: Work) -> Sequence[Done]:
        """See `Batched`."""
        raise TypeError(f"{type(self).__name__} does not define do_many")

    def undo(self, host: Host, undo: Any) -> None:
        """A batch of one."""
        self.undo_many(host, [undo])

    def undo_many(self, host: Host, undos: Sequence[Any]) -> None:
        """See `Batched`."""
        take_back(host, undos)

    def fingerprint(self, host: Host, left: tuple[Left, ...]) -> tuple[Left, ...]:
        """Present versions, with one look a manager and place."""
        found = []
        for one in left:
            manager, _, rest = one.path.partition(":")
            name, _, place = rest.partition(" in ")
            found.append(Packages(host, manager, place, 0).left(name))
        return tuple(found)


def _packages(host: Host, slots: Any) -> Packages:
    slots = completed(slots)
    return Packages(host, slots.manager, slots.into, slots.lock_timeout)


def _blamed(error: Trouble, names: Sequence[str]) -> Trouble | SomeFailed:
    """The nodes at fault, by the packages that the trouble names."""
    at = tuple(index for index, name in enumerate(names) if name in error.names)
    return SomeFailed(str(error), error.hint, at) if at else error


def _done(packages: Packages, names: Sequence[str]) -> list[Done]:
    """Results of packages that are to be there, looked at once after the effect."""
    packages.look_again()
    missing = tuple(at for at, name in enumerate(names) if not packages.get(name).version)
    if missing:
        what = f"{packages.manager.name} says it is done, and {names[missing[0]]} is not there"
        raise SomeFailed(what, "look at what the package manager logged", missing)
    left = [packages.left(name) for name in names]
    return [Done(_outputs(name, one.token), (one,)) for name, one in zip(names, left, strict=True)]


def _outputs(name: str, version: str) -> Mapping[str, str]:
    return {"name": name, "version": version}


_NAME_AND_VERSION = (
    Output("name", "string", "the package"),
    Output("version", "string", "the version that is there"),
)


class _Putting(PackageAction[S]):
    """Install and upgrade: exact versions are chosen for all nodes together, and put by one command."""

    def _wishes(self, packages: Packages, work: Work) -> list[Wish]:
        """What is to be put, each package once."""
        raise TypeError(f"{type(self).__name__} does not define _wishes")

    def join(self, host: Host, work: Work) -> Sequence[Change]:
        """Choose versions, see what comes along, and note for each node what stood before."""
        packages = _packages(host, work[0][0])
        names = [slots.name for slots, _ in work]
        try:
            put = self._wishes(packages, work)
            options = self._options(packages, work)
            given_up = frozenset(name for slots, _ in work for name in slots.replaces)
            traces = [*packages.traces(put, (), options, given_up), *_only_marked(packages, names)]
        except Trouble as error:
            raise _blamed(error, names) from error
        return [
            msgspec.structs.replace(change, undo=packages.undo(own))
            for (_, change), own in zip(work, share(names, traces), strict=True)
        ]

    def do_many(self, host: Host, work: Work) -> Sequence[Done]:
        """One command for all."""
        packages = _packages(host, work[0][0])
        manager, site = packages.manager, packages.site
        names = [slots.name for slots, _ in work]
        try:
            options = self._options(packages, work)
            if options.again:
                packages.mend()
            put = chosen([change.undo for _, change in work])
            if put:
                manager.change(host, site, put, (), options)
        except Trouble as error:
            raise _blamed(error, names) from error
        marked = [name for name in names if name and packages.get(name).version and packages.get(name).auto]
        manager.mark(host, site, marked, auto=False)
        return self._results(packages, names)

    @staticmethod
    def _options(packages: Packages, work: Work) -> Options:
        broken = any(packages.get(slots.name).broken for slots, _ in work)
        return Options(recommends=work[0][0].recommends, again=broken)

    def _results(self, packages: Packages, names: Sequence[str]) -> Sequence[Done]:
        return _done(packages, names)


def _only_marked(packages: Packages, names: Sequence[str]) -> list[Trace]:
    """Packages that are there, but only because others need them."""
    had = [(name, packages.get(name)) for name in dict.fromkeys(names) if name]
    return [Trace(name, one.version, one.version, one.auto) for name, one in had if one.version and one.auto]


@action(
    "package.install",
    outputs=_NAME_AND_VERSION,
    effect="outside",
    batched=True,
    family=FAMILY,
    ephemeral="ephemeral",
)
class Install(_Putting[InstallSlots]):
    """Have a package. Those of one phase are installed by one command; bounds on versions hold for the whole order.
    Configuration that was edited is kept. A rollback removes what came with it, too."""

    slots = InstallSlots

    def observe(self, host: Host, slots: InstallSlots) -> Satisfied | Change:
        """Is it there, in a version that will do, and not only because another package needs it?"""
        packages = _packages(host, slots)
        had = packages.get(slots.name)
        fits = had.version and allows(clauses_of(slots.version), packages.manager.compare, had.version)
        if fits and not had.broken and not had.auto:
            return Satisfied(_outputs(slots.name, had.version), (packages.left(slots.name),))
        if had.broken:
            return Change(f"{slots.name} is half installed")
        if fits:
            return Change(f"{slots.name} is there only because another package needs it")
        return Change(f"{had.version} will not do" if had.version else f"{slots.name} is not installed")

    def _wishes(self, packages: Packages, work: Work) -> list[Wish]:
        bounds: dict[str, list[Any]] = {}
        for slots, _ in work:
            bounds.setdefault(slots.name, []).extend(clauses_of(slots.version))
        if any(packages.get(name).broken for name in bounds):
            bounds |= {name: [] for name in packages.torn() if name not in bounds}  # they may need each other
        missing = {}
        for name, clauses in bounds.items():
            had = packages.get(name)
            if not had.version or not allows(clauses, packages.manager.compare, had.version):
                missing[name] = clauses
        offers = packages.manager.offers(packages.host, packages.site, list(missing))
        return [Wish(name, packages.choose(name, clauses, offers.get(name, ()))) for name, clauses in missing.items()]


@action("package.upgrade", outputs=_NAME_AND_VERSION, effect="outside", batched=True, family=FAMILY)
class Upgrade(_Putting[UpgradeSlots]):
    """Have the newest version of a package, or of all packages, that the bounds allow.

    Packages that are held stay as they are."""

    slots = UpgradeSlots

    def observe(self, host: Host, slots: UpgradeSlots) -> Satisfied | Change:
        """Is there anything newer?"""
        packages = _packages(host, slots)
        newer = self._newer(packages, slots)
        if newer:
            return Change(
                f"{newer[0].name} {newer[0].version} is there" + (f", and {len(newer) - 1} more" * (len(newer) > 1))
            )
        if not slots.name:
            return Satisfied(_outputs("", ""))
        left = packages.left(slots.name)
        return Satisfied(_outputs(slots.name, left.token), (left,))

    def _newer(self, packages: Packages, slots: UpgradeSlots) -> list[Wish]:
        installed, manager = packages.installed(), packages.manager
        if slots.name and not packages.get(slots.name).version:
            raise Trouble(f"{slots.name} is not installed", "use plan.package.install", (slots.name,))
        key = f"package-offers:{manager.name}:{packages.site.place}"
        offers = packages.host.recall(key, lambda: manager.offers(packages.host, packages.site, packages.not_held()))
        clauses = clauses_of(slots.version)
        found = []
        for name in [manager.same_name(slots.name)] if slots.name else offers:
            best = [version for version in offers.get(name, ()) if allows(clauses, manager.compare, version)][:1]
            if best and manager.compare(best[0], installed[name].version) > 0:
                found.append(Wish(name, best[0]))
        return found

    def _wishes(self, packages: Packages, work: Work) -> list[Wish]:
        wishes = {wish.name: wish for slots, _ in work for wish in self._newer(packages, slots)}
        return list(wishes.values())

    def _results(self, packages: Packages, names: Sequence[str]) -> Sequence[Done]:
        packages.look_again()
        return [_done(packages, [name])[0] if name else Done(_outputs("", "")) for name in names]


@action("package.remove", effect="outside", batched=True, family=FAMILY)
class Remove(PackageAction[RemoveSlots]):
    """Have a package gone. A rollback brings it back at its very version, if a repository still has that."""

    slots = RemoveSlots

    def observe(self, host: Host, slots: RemoveSlots) -> Satisfied | Change:
        """Is it there?"""
        packages = _packages(host, slots)
        if self._gone(packages, slots):
            return Satisfied(left=(Left(packages.resource(slots.name), "absent"),))
        return Change(f"{slots.name} is installed")

    @staticmethod
    def _gone(packages: Packages, slots: RemoveSlots) -> bool:
        name = packages.manager.same_name(slots.name)
        return not packages.get(name).version and not (slots.purge and name in packages.installed())

    def join(self, host: Host, work: Work) -> Sequence[Change]:
        """See what else would go, and note what stands."""
        packages = _packages(host, work[0][0])
        names = list(dict.fromkeys(slots.name for slots, _ in work))
        given_up = frozenset(name for slots, _ in work for name in slots.with_dependents)
        try:
            traces = packages.traces((), names, Options(purge=work[0][0].purge), given_up)
        except Trouble as error:
            raise _blamed(error, [slots.name for slots, _ in work]) from error
        shares = share([slots.name for slots, _ in work], traces)
        return [
            msgspec.structs.replace(change, undo=packages.undo(own) | ({"purged": slots.name} if slots.purge else {}))
            for (slots, change), own in zip(work, shares, strict=True)
        ]

    def undo_many(self, host: Host, undos: Sequence[Any]) -> None:
        """Bring them back, and say where configuration is lost."""
        take_back(host, undos)
        purged = [undo["purged"] for undo in undos if undo.get("purged")]
        if purged:
            raise NotCompensable(f"the configuration of {', '.join(purged)} was purged, and cannot be brought back")

    def do_many(self, host: Host, work: Work) -> Sequence[Done]:
        """One command for all."""
        packages = _packages(host, work[0][0])
        names = list(dict.fromkeys(slots.name for slots, _ in work))
        packages.manager.change(host, packages.site, (), names, Options(purge=work[0][0].purge))
        return [Done(left=(Left(packages.resource(slots.name), "absent"),)) for slots, _ in work]


@action("package.hold", effect="outside", batched=True, family=FAMILY)
class Hold(PackageAction[HoldSlots]):
    """Keep a package at its version whoever upgrades, or let it go again."""

    slots = HoldSlots

    def observe(self, host: Host, slots: HoldSlots) -> Satisfied | Change:
        """Is it held?"""
        packages = _packages(host, slots)
        had = packages.get(slots.name)
        if had.version and had.held == slots.held:
            return Satisfied(left=(self._left(packages, slots.name),))
        undo = {"manager": packages.manager.name, "place": slots.into, "name": slots.name, "held": had.held}
        return Change(f"{slots.name} is {'held' if had.held else 'not held'}", undo=undo)

    @staticmethod
    def _left(packages: Packages, name: str) -> Left:
        had = packages.get(name)
        path = packages.resource(name, "-hold")
        return Left(path, "token", token="held" if had.held else "free") if had.version else Left(path, "absent")

    def do_many(self, host: Host, work: Work) -> Sequence[Done]:
        """One command for all that are held, one for all that are let go."""
        packages = _packages(host, work[0][0])
        missing = tuple(at for at, (slots, _) in enumerate(work) if not packages.get(slots.name).version)
        if missing:
            what = f"{work[missing[0]][0].name} is not installed, so it cannot be held"
            raise SomeFailed(what, "install it before", missing)
        for held in (True, False):
            names = [slots.name for slots, _ in work if slots.held == held]
            packages.manager.hold(host, packages.site, names, held=held)
        packages.look_again()
        return [Done(left=(self._left(packages, slots.name),)) for slots, _ in work]

    def undo_many(self, host: Host, undos: Sequence[Any]) -> None:
        """As it was, where the package is still there."""
        moved: dict[tuple[str, str, bool], list[str]] = {}
        for undo in undos:
            had = Packages(host, undo["manager"], undo["place"], MINUTE).get(undo["name"])
            if had.version and had.held != undo["held"]:
                moved.setdefault((undo["manager"], undo["place"], undo["held"]), []).append(undo["name"])
        for (manager, place, held), names in moved.items():
            packages = Packages(host, manager, place, MINUTE)
            packages.manager.hold(host, packages.site, names, held=held)

    def fingerprint(self, host: Host, left: tuple[Left, ...]) -> tuple[Left, ...]:
        """Whether each is held."""
        found = []
        for one in left:
            kind, _, rest = one.path.partition(":")
            name, _, place = rest.partition(" in ")
            found.append(self._left(Packages(host, kind.removesuffix("-hold"), place, 0), name))
        return tuple(found)


@action("package.update", effect="outside", batched=True, family=FAMILY)
class Update(PackageAction[UpdateSlots]):
    """Refresh the lists of what the repositories have, when they are missing or older than asked.

    A list is missing, too, when its source was changed since. At most once a run; a rollback leaves the newer lists."""

    slots = UpdateSlots

    def observe(self, host: Host, slots: UpdateSlots) -> Satisfied | Change:
        """How old are the lists?"""
        packages = _packages(host, slots)
        key = f"package-age:{packages.manager.name}:{slots.into}"
        age = host.recall(key, lambda: packages.manager.age_ms(host, packages.site))
        if age is None:
            return Change("lists of some source are missing")
        if age <= max(slots.max_age, MINUTE):
            return Satisfied()
        return Change(f"the lists are {age // MINUTE} minutes old")

    def do_many(self, host: Host, work: Work) -> Sequence[Done]:
        """Once for all."""
        packages = _packages(host, work[0][0])
        packages.manager.refresh(host, packages.site)
        return [Done() for _ in work]
