"""What is wrong with a tree as a whole, all of it at once: dependencies that nothing has, cycles, names that clash.

What a single manifest says of its children (paths, addresses, places that overlap) is judged during the walk, before
anything is cloned (`entries.py`), and so are packages that contain themselves (`walk.py`).
"""

from collections.abc import Mapping

from requisition.compiler.manifest import MANIFEST
from requisition.schemas.diagnostic import Diagnostic
from requisition.tree.member import Member, Tree
from requisition.tree.needs import ancestors, named


def validate(tree: Tree) -> list[Diagnostic]:
    """Every finding, in the order of the members."""
    members = {member.path: member for member in tree.members}
    return [*_dependencies(tree, members), *_cycles(tree, members), *_clashes(tree)]


def shown(path: str) -> str:
    """A member's path for people: the root's own is `.`."""
    return path or "."


def _dependencies(tree: Tree, members: Mapping[str, Member]) -> list[Diagnostic]:
    """What `depends_on` cannot mean: nothing, the package itself, or one that waits for it."""
    known = named(tree.members)
    found = []
    for member in tree.members:
        above = set(ancestors(members, member.path))
        for name in member.manifest.depends_on:
            meant = {one.path for one in known.get(name, ())}
            if not meant:
                found.append(_wrong(member, f"depends on {name!r}, which no package of the tree is called", _NAMES))
            elif member.path in meant:
                found.append(_wrong(member, f"depends on itself, as {name!r}", "remove that"))
            elif meant & above:
                outer = shown(min(meant & above))
                what = f"depends on {name!r} at {outer}, which contains it and is installed after it"
                found.append(_wrong(member, what, "remove that: children come before their parents"))
    return found


def _cycles(tree: Tree, members: Mapping[str, Member]) -> list[Diagnostic]:
    """Cycles of needs, each with the way around, as if the needs that were told of already were taken out."""
    needs = {
        path: tuple(need for need in tree.needs.get(path, ()) if need not in {path, *ancestors(members, path)})
        for path in members
    }
    found = []
    for cycle in cycles(needs):
        way = " → ".join(shown(path) for path in [*cycle, cycle[0]])
        found.append(_wrong(members[cycle[0]], f"packages wait for each other: {way}", "remove one depends_on"))
    return found


def cycles(needs: Mapping[str, tuple[str, ...]]) -> list[list[str]]:
    """The ways around that a search depth-first meets, each beginning at the member that it came to first. Empty
    exactly when the needs have an order."""
    found = []
    state: dict[str, int] = {}
    for start in needs:
        if start in state:
            continue
        trail = [start]
        state[start] = 0
        ahead = [iter(needs[start])]
        while trail:
            following = next(ahead[-1], None)
            if following is None:
                state[trail.pop()] = 1
                ahead.pop()
            elif following not in state:
                state[following] = 0
                trail.append(following)
                ahead.append(iter(needs.get(following, ())))
            elif state[following] == 0:
                found.append(trail[trail.index(following) :])
    return found


def _clashes(tree: Tree) -> list[Diagnostic]:
    """Two packages of one name, unless they are one repository at one commit, lying at two paths."""
    first: dict[str, Member] = {}
    found = []
    for member in tree.members:
        other = first.setdefault(member.manifest.name, member)
        if other is member or (member.url and (member.url, member.commit) == (other.url, other.commit)):
            continue
        here, there = (f"{shown(one.path)} ({_version(one)})" for one in (member, other))
        what = f"two packages are called {member.manifest.name}: {there} and {here}"
        same = member.url and member.url == other.url
        found.append(_wrong(member, what, "name the same ref for both" if same else "rename one of them"))
    return found


def _version(member: Member) -> str:
    return f"{member.url} at {member.commit[:12]}" if member.url else "the root" if not member.path else "a folder"


_NAMES = "write the name, path or address of a package in the tree; plan tree ls names them"


def _wrong(member: Member, what: str, hint: str) -> Diagnostic:
    return Diagnostic(what=f"{shown(member.path)}: {what}", where=f"{member.folder}/{MANIFEST}", next=hint)
