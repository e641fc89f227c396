"""What a package manager is to the actions: a few verbs over whole sets of packages, the same for all of them.

A manager looks (`installed`, `offers`, `foresee`, `age_ms`) and changes (`change`, `mark`, `hold`, `refresh`); it never
decides. Reading a tool's output is done by pure functions of its module, so that they are tested with recorded
transcripts. Every verb takes all packages at once: one command, however many nodes.
"""

import os
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import ClassVar, Protocol

from msgspec import Struct

from requisition.stdlib.action import ActionError
from requisition.stdlib.host import Host

_HERE = "requisition.stdlib.providers.package"

MANAGERS: dict[str, str] = {
    "apt": f"{_HERE}.apt:Apt",
}
"""Name → `module:class`; imported when an order first uses one."""

_NATIVE = {"apt": "/usr/bin/apt-get"}
"""Managers that own a machine, and the program that tells."""


class Site(Struct, frozen=True):
    """Which set of packages. `root` is the target root on this machine ("/"); `place` a path below it for managers
    that keep packages in a folder (a venv, an npm prefix), else empty; `lock_ms` how long to wait for a lock."""

    root: str = "/"
    place: str = ""
    lock_ms: int = 60_000

    @property
    def real_place(self) -> str:
        """The folder's path on this machine."""
        return self.root.rstrip("/") + self.place


class Installed(Struct, frozen=True, gc=False):
    """One package that is there; `version` is empty where only its configuration is left. `auto`: only because
    another needed it; `held`: not to be upgraded; `broken`: half installed, not configured."""

    version: str
    auto: bool = False
    held: bool = False
    broken: bool = False


class Wish(Struct, frozen=True):
    """One package wanted at exactly this version, one of its `offers`."""

    name: str
    version: str


class Step(Struct, frozen=True, gc=False, array_like=True):
    """What one command will do to one package; a version is empty where the package is absent."""

    name: str
    before: str
    after: str


class Options(Struct, frozen=True):
    """How to install. `recommends`: also what is only recommended; `purge`: remove configuration too."""

    recommends: bool = False
    purge: bool = False


class Trouble(ActionError):
    """A package operation failed. `names` are the packages at fault; empty when it is nobody's (a lock, a mirror)."""

    def __init__(self, message: str, hint: str = "", names: Sequence[str] = ()) -> None:
        super().__init__(message, hint)
        self.names = tuple(names)


class Manager(Protocol):
    """One package manager. Instances are stateless and shared between threads; names were checked before."""

    name: ClassVar[str]
    places: ClassVar[bool]
    """Whether its packages live in a folder that the node must name (`into`)."""

    def valid_name(self, name: str) -> bool:
        """Whether it can be a package's name. False for whatever a program could take for an option or pattern."""
        ...

    def same_name(self, name: str) -> str:
        """The one spelling under which `installed` has it: pip's `Foo_Bar` is `foo-bar`."""
        ...

    def compare(self, one: str, other: str) -> int:
        """Negative, 0 or positive, in this manager's order of versions. Pure. Raises ValueError for no version."""
        ...

    # looking: through host.ask, which also answers at preflight ------------------------------------

    def installed(self, host: Host, site: Site) -> Mapping[str, Installed]:
        """All packages that are there, by name, with one command. Whoever asks keeps the answer (`host.recall`)."""
        ...

    def offers(self, host: Host, site: Site, names: Sequence[str]) -> Mapping[str, Sequence[str]]:
        """Versions that can be had, the one that the manager prefers first; no entry for an unknown package."""
        ...

    def foresee(
        self, host: Host, site: Site, put: Sequence[Wish], drop: Sequence[str], options: Options
    ) -> Sequence[Step]:
        """All that `change` would do, with what it pulls in or pushes out, by the tool's own simulation. Changes
        nothing. Raises Trouble when it cannot be done."""
        ...

    def age_ms(self, host: Host, site: Site) -> int | None:
        """How old the lists of what can be had are; None: there are none. 0 for managers without lists."""
        ...

    # changing: through host.run --------------------------------------------------------------------

    def change(self, host: Host, site: Site, put: Sequence[Wish], drop: Sequence[str], options: Options) -> None:
        """Install, upgrade or downgrade `put` and remove `drop`, in one command. Raises Trouble."""
        ...

    def mark(self, host: Host, site: Site, names: Sequence[str], *, auto: bool) -> None:
        """Say that packages are there only because others need them, or on their own. Nothing where a manager has
        no such mark."""
        ...

    def hold(self, host: Host, site: Site, names: Sequence[str], *, held: bool) -> None:
        """Keep packages at their version, or no longer. Raises Trouble where a manager cannot."""
        ...

    def refresh(self, host: Host, site: Site) -> None:
        """Get the lists of what can be had anew. Raises Trouble."""
        ...

    def mend(self, host: Host, site: Site) -> None:
        """Finish what a killed run of the tool left half done. Raises Trouble."""
        ...


@cache
def manager_named(name: str) -> Manager:
    """The manager of that name. Raises ActionError."""
    place = MANAGERS.get(name)
    if place is None:
        raise ActionError(f"there is no package manager {name!r}", f"managers: {', '.join(sorted(MANAGERS))}")
    module, _, attribute = place.partition(":")
    manager: Manager = getattr(import_module(module), attribute)()
    return manager


@cache
def native() -> str:
    """The manager that owns this machine; empty when none is known."""
    return next((name for name, program in _NATIVE.items() if os.access(program, os.X_OK)), "")
