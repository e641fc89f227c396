"""Which packages must be there before which: children before parents, and what `depends_on` names. Pure."""

from collections.abc import Iterable, Mapping

from requisition.tree.member import ROOT, Member


def named(members: Iterable[Member]) -> dict[str, list[Member]]:
    """The members that `depends_on` may mean, by name, path and address."""
    found: dict[str, list[Member]] = {}
    for member in members:
        for name in {member.manifest.name, member.path, member.url} - {""}:
            found.setdefault(name, []).append(member)
    return found


def needs_of(members: Iterable[Member], children: Mapping[str, Iterable[str]]) -> dict[str, tuple[str, ...]]:
    """The paths that each member needs: its children first, then what its `depends_on` names, each once. Names that
    nothing has are left out (`validate.py` tells of them)."""
    members = tuple(members)
    by_name = named(members)
    needs: dict[str, tuple[str, ...]] = {}
    for member in members:
        asked = [other.path for name in member.manifest.depends_on for other in by_name.get(name, ())]
        needs[member.path] = tuple(dict.fromkeys([*children.get(member.path, ()), *asked]))
    return needs


def ancestors(members: Mapping[str, Member], path: str) -> list[str]:
    """The paths of the members that a member lies under, from its parent to the root."""
    found = []
    while path != ROOT:
        path = members[path].parent
        found.append(path)
    return found
