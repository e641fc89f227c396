"""What nodes ask of packages, and how nodes agree on it before anything is touched."""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Struct

from requisition.stdlib.action import ActionError, Asked, Quarrel
from requisition.stdlib.providers.package.manager import Manager, manager_named, native
from requisition.stdlib.providers.package.versions import Clause, parse, quarrel, spelled
from requisition.stdlib.spec import slot

_MANAGER = slot("string", "apt, dnf, pip, …; by default the one that owns the machine")
_INTO = slot("path", "the venv of pip, the prefix of npm; nothing for the packages of the machine")
_LOCK = slot("duration", "how long to wait while another program works on packages")


class InstallSlots(Struct, frozen=True):
    name: Annotated[str, slot("string", "the package")]
    version: Annotated[str, slot("string", "which ones will do: `=1.2-3`, `>=1.2,<2`; by default any")] = ""
    manager: Annotated[str, _MANAGER] = ""
    into: Annotated[str, _INTO] = ""
    recommends: Annotated[bool, slot("bool", "install what it recommends, too")] = False
    replaces: Annotated[list[str], slot("strings", "packages that may be removed to make room for it")] = []
    ephemeral: Annotated[
        bool, slot("bool", "only for nodes of this phase that need it; removed at the end when no one else holds it")
    ] = False
    lock_timeout: Annotated[int, _LOCK] = 60_000


class UpgradeSlots(Struct, frozen=True):
    name: Annotated[str, slot("string", "the package, which must be there; by default all that are not held")] = ""
    version: Annotated[str, slot("string", "which ones will do: `>=1.2,<2`; by default any")] = ""
    manager: Annotated[str, _MANAGER] = ""
    into: Annotated[str, _INTO] = ""
    recommends: Annotated[bool, slot("bool", "install what it recommends, too")] = False
    replaces: Annotated[list[str], slot("strings", "packages that may be removed to make room for it")] = []
    lock_timeout: Annotated[int, _LOCK] = 60_000


class RemoveSlots(Struct, frozen=True):
    name: Annotated[str, slot("string", "the package")]
    with_dependents: Annotated[list[str], slot("strings", "packages that may go with it, because they need it")] = []
    manager: Annotated[str, _MANAGER] = ""
    into: Annotated[str, _INTO] = ""
    purge: Annotated[bool, slot("bool", "remove its configuration too, which no rollback brings back")] = False
    lock_timeout: Annotated[int, _LOCK] = 60_000


class HoldSlots(Struct, frozen=True):
    name: Annotated[str, slot("string", "the package, which must be there")]
    held: Annotated[bool, slot("bool", "keep it at its version; False lets it go")] = True
    manager: Annotated[str, _MANAGER] = ""
    into: Annotated[str, _INTO] = ""
    lock_timeout: Annotated[int, _LOCK] = 60_000


class UpdateSlots(Struct, frozen=True):
    max_age: Annotated[int, slot("duration", "refresh when the lists are older; a minute at the least")] = 86_400_000
    manager: Annotated[str, _MANAGER] = ""
    into: Annotated[str, _INTO] = ""
    lock_timeout: Annotated[int, _LOCK] = 60_000


def clauses_of(version: str) -> tuple[Clause, ...]:
    """A `version` slot as clauses. Raises ActionError."""
    try:
        return parse(version)
    except ValueError as error:
        raise ActionError(f"version: {error}", 'write bounds with commas between: ">=1.2,<2"') from error


def completed(slots: Any) -> Any:
    """The same slots with the manager named and everything checked that needs no machine. Raises ActionError."""
    named = slots.manager or native()
    if not named:
        raise ActionError("no package manager of this machine is known", "name one: manager = ...")
    manager = manager_named(named)
    if manager.places and not slots.into:
        raise ActionError(f"{named} needs to know where", "name the folder: into = ...")
    if slots.into and not manager.places:
        raise ActionError(f"{named} works on the whole machine", "leave out `into`")
    name = getattr(slots, "name", "")
    others = [*getattr(slots, "replaces", ()), *getattr(slots, "with_dependents", ())]
    for one in ([name] if name or not isinstance(slots, UpgradeSlots | UpdateSlots) else []) + others:
        if not manager.valid_name(one):
            raise ActionError(f"{one!r} is no name of a package for {named}", "give the name alone, without options")
    for clause in clauses_of(getattr(slots, "version", "")):
        try:
            manager.compare(clause.version, clause.version)
        except ValueError as error:
            raise ActionError(f"version: {error}", f"write versions as {named} does") from error
    return slots if slots.manager == named else msgspec.structs.replace(slots, manager=named)


def agree(asked: Sequence[Asked]) -> tuple[list[Any], list[Quarrel]]:
    """Slots as all nodes together want them: the bounds on a package's version are those of all who ask for it, and
    it is ephemeral only when no one wants it for good. Who cannot agree is named."""
    agreed: list[Any] = [one.slots for one in asked]
    quarrels: list[Quarrel] = []
    groups: dict[tuple[str, str, str], list[int]] = {}
    for at, one in enumerate(asked):
        try:
            agreed[at] = slots = completed(one.slots)
        except ActionError as error:
            quarrels.append(Quarrel(at, str(error), error.hint))
            continue
        if name := getattr(slots, "name", ""):
            manager = manager_named(slots.manager)
            groups.setdefault((slots.manager, slots.into, manager.same_name(name)), []).append(at)
    for (named, _, name), members in groups.items():
        quarrels += _agree_on(name, manager_named(named), members, asked, agreed)
    return agreed, quarrels


def _agree_on(
    name: str, manager: Manager, members: Sequence[int], asked: Sequence[Asked], agreed: list[Any]
) -> list[Quarrel]:
    wanted = [at for at in members if isinstance(agreed[at], InstallSlots | UpgradeSlots)]
    removed = [at for at in members if isinstance(agreed[at], RemoveSlots)]
    if wanted and removed:
        what = f"{name} is to be removed here, and is wanted by {_who(asked[wanted[0]])}"
        return [Quarrel(removed[0], what, "leave one of the two out")]
    bounds = [(clause, at) for at in wanted for clause in clauses_of(agreed[at].version)]
    against = quarrel([clause for clause, _ in bounds], manager.compare)
    if against:
        return [_disagreement(name, against, bounds, asked)]
    version = spelled(clause for clause, _ in bounds)
    lasting = any(not getattr(agreed[at], "ephemeral", False) for at in members)
    for at in wanted:
        if agreed[at].version != version:
            agreed[at] = msgspec.structs.replace(agreed[at], version=version)
        if lasting and getattr(agreed[at], "ephemeral", False):
            agreed[at] = msgspec.structs.replace(agreed[at], ephemeral=False)
    return []


def _disagreement(
    name: str, against: Sequence[Clause], bounds: Sequence[tuple[Clause, int]], asked: Sequence[Asked]
) -> Quarrel:
    places = {clause: next(at for one, at in bounds if one == clause) for clause in against}
    here = max(places.values())
    mine = " and ".join(str(clause) for clause, at in places.items() if at == here)
    if set(places.values()) == {here}:
        return Quarrel(here, f"no version of {name} is {mine}", "ask for something that can be")
    others = ", and ".join(f"{clause} by {_who(asked[at])}" for clause, at in places.items() if at != here)
    what = f"no version of {name} will do: {mine} is asked for here, and {others}"
    return Quarrel(here, what, "let all ask for what suits all, or leave one out")


def _who(one: Asked) -> str:
    return f"{one.node} ({one.where})" if one.where else one.node
