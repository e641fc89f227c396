"""A teardown, decided: which installed packages go, in which order, and how each.

Parents go before their children. A package that says how it is taken away (its `teardown`) is, by an order of its own;
of any other that is taken back which the receipts say was done. Nothing here changes anything.
"""

import os
from collections.abc import Iterable, Mapping

from msgspec import Struct

from requisition.compiler import manifest as manifests
from requisition.compiler.forest import Planted
from requisition.schemas.diagnostic import BadInput, Diagnostic
from requisition.schemas.document import TreeMember
from requisition.tree.installed import Installed
from requisition.tree.member import ROOT, Member
from requisition.tree.needs import needs_of


class Step(Struct, frozen=True):
    """Packages that go together: by their own teardown, which is one order, or back by the receipts of runs."""

    own: bool
    paths: tuple[str, ...]


class Removal(Struct, frozen=True):
    """The whole teardown, in its order, and what stays because another package depends on it."""

    steps: tuple[Step, ...]
    kept: tuple[Diagnostic, ...] = ()


def present(root: str, installed: Iterable[str]) -> dict[str, Member]:
    """The installed packages whose folders and manifests are still there. No git process, no remote."""
    found: dict[str, Member] = {}
    for path in sorted({ROOT, *installed}):
        folder = os.path.join(root, path) if path else root
        try:
            manifest = manifests.read_manifest(folder)
        except BadInput:
            continue  # it left the tree, or is no longer whole: its receipts tell what it did
        found[path] = Member(path, folder, manifest, _parent(path, found))
    return found


def _parent(path: str, known: Mapping[str, Member]) -> str:
    """The nearest package whose manifest names it."""
    for above in sorted(known, key=len, reverse=True):
        prefix = f"{above}/" if above else ""
        if path.startswith(prefix) and path[len(prefix) :] in [child.place for child in known[above].manifest.children]:
            return above
    return ROOT


def plan_removal(installed: Mapping[str, Installed], known: Mapping[str, Member], name: str = "") -> Removal:
    """Pure. Of all packages, or of one, by path or name, and those below it. Raises BadInput for a name that is not
    installed."""
    children = {path: [p for p, m in known.items() if p != path and m.parent == path] for path in known}
    needs = needs_of(known.values(), children)
    chosen = _chosen(installed, known, children, name)
    kept = []
    for path in sorted(chosen):
        user = next(
            (p for p in installed if p not in chosen and path in needs.get(p, ()) and path not in children[p]), None
        )
        if user is not None:
            what = f"{path} stays: {user or 'the root'} depends on it"
            kept.append(Diagnostic(what=what, severity="warning", next=f"plan teardown {user} first"))
            chosen.discard(path)
    steps: list[Step] = []
    for path in _parents_first(chosen, needs):
        own = path in known and known[path].manifest.teardown is not None
        if steps and steps[-1].own == own:
            steps[-1] = Step(own, (*steps[-1].paths, path))
        else:
            steps.append(Step(own, (path,)))
    return Removal(tuple(steps), tuple(kept))


def _chosen(
    installed: Mapping[str, Installed], known: Mapping[str, Member], children: Mapping[str, list[str]], name: str
) -> set[str]:
    if not name:
        return set(installed)
    first = [path for path in installed if path == name or (path in known and known[path].manifest.name == name)]
    if not first:
        there = ", ".join(path or "the root" for path in list(installed)[:8]) or "nothing"
        raise BadInput.of(f"{name!r} is not installed", next=f"installed: {there}")
    found: set[str] = set()
    while first:
        path = first.pop()
        if path not in found:
            found.add(path)
            first.extend(children.get(path, ()))
    return found & installed.keys()


def _parents_first(chosen: set[str], needs: Mapping[str, Iterable[str]]) -> list[str]:
    """Reverse of an order in which what is needed comes first; what is not known goes first of all."""
    order: list[str] = []
    seen: set[str] = set()
    for start in sorted(chosen):
        pending = [(start, False)]
        while pending:
            path, ready = pending.pop()
            if ready:
                order.append(path)
            elif path not in seen:
                seen.add(path)
                pending.append((path, True))
                pending.extend((need, False) for need in sorted(needs.get(path, ()), reverse=True) if need not in seen)
    return [path for path in reversed(order) if path in chosen]


def planted(step: Step, known: Mapping[str, Member]) -> list[Planted]:
    """For the compiler: the teardowns of these packages, each after the one before it."""
    found: list[Planted] = []
    for path in step.paths:
        member = known[path]
        before = (found[-1].record.path,) if found else ()
        found.append(
            Planted(TreeMember(path, member.manifest.name, "0" * 64, needs=before), member.folder, member.manifest)
        )
    return found
