"""A sync, decided: which packages of a walked tree are to be installed, as one order; and what became of them.

The functions here look and decide; who calls them runs the order (`cli`). What is skipped is skipped for the real
state: what was installed by this very content is only left out while all of it is as it was left.
"""

import os
from collections.abc import Collection, Iterable, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from requisition.compiler.forest import Planted
from requisition.compiler.manifest import Manifest
from requisition.compiler.request import BuildRequest
from requisition.schemas.diagnostic import Diagnostic
from requisition.schemas.document import TreeMember
from requisition.schemas.receipt import Receipt
from requisition.schemas.treeevent import Completed, Halted, Known
from requisition.tree.contents import digest
from requisition.tree.installed import Installed
from requisition.tree.member import Member, Tree
from requisition.tree.order import once, post_order
from requisition.tree.selection import selected

GONE = frozenset(("failed", "rolled_back", "undo_failed"))


class Choice(Struct, frozen=True):
    """Packages to be installed, children first, and those that need nothing."""

    install: tuple[TreeMember, ...]
    skipped: tuple[str, ...]


def records(tree: Tree, request: BuildRequest) -> dict[str, TreeMember]:
    """What the order would say of every package, by path. `request` is the root's; raises OSError for a package
    whose files cannot be read."""
    paths = [member.path for member in tree.members]
    found = {}
    for member in tree.members:
        prefix = f"{member.path}/" if member.path else ""
        below = [path[len(prefix) :] for path in paths if path != member.path and path.startswith(prefix)]
        chosen: dict[str, object] = {}
        if member.manifest.actions is not None or member.manifest.projects.deploy == "link":
            chosen["checkout"] = request.checkout  # their orders say where they lie
        if not member.path:
            chosen |= {
                "features": sorted(request.features),
                "without": sorted(request.without),
                "settings": dict(request.settings),
                "segments": list(request.segments),
            }
        found[member.path] = TreeMember(
            member.path,
            member.manifest.name,
            digest(member.folder, below, request.target, request.target_root or "", chosen),
            member.url,
            member.commit,
            tuple(tree.needs.get(member.path, ())),
        )
    return found


def choose(
    tree: Tree,
    known: Mapping[str, TreeMember],
    installed: Mapping[str, Installed],
    stands: Collection[str],
    drifted: Collection[str],
    *,
    only: str = "",
    force: bool = False,
) -> Choice:
    """Pure. `stands` are the ids of runs whose effects were not taken back; `drifted` the names of packages of which
    something is no longer as it was left. `only` is a pattern on paths and names (fnmatch(3)): those packages, and
    what they need. One repository at one commit is installed once, wherever it lies. Raises BadInput when it matches
    nothing."""
    twins = once(tree)
    wanted = _selected(tree, only, twins)
    install, skipped = [], []
    for member in post_order(tree):
        if member.path not in wanted:
            continue
        record, before = known[member.path], installed.get(member.path)
        same = before is not None and before.hash == record.digest and before.receipt in stands
        if same and not force and record.name not in drifted:
            skipped.append(member.path)
        else:
            install.append(record)
    chosen = {record.path for record in install}
    trimmed = tuple(replace(record, needs=_reduced(record.path, tree, chosen, twins)) for record in install)
    return Choice(trimmed, tuple(skipped))


def _selected(tree: Tree, only: str, twins: Mapping[str, str]) -> set[str]:
    if not only:
        return {member.path for member in tree.members} - twins.keys()
    first = [member.path for member in selected(tree, only)]
    found: set[str] = set()
    while first:
        path = first.pop()
        path = twins.get(path, path)
        if path not in found:
            found.add(path)
            first.extend(tree.needs.get(path, ()))
    return found


def _reduced(path: str, tree: Tree, chosen: Collection[str], twins: Mapping[str, str]) -> tuple[str, ...]:
    """What a package needs of those that are installed with it, over those that are not."""
    found: list[str] = []
    pending, seen = list(tree.needs.get(path, ())), set()
    while pending:
        need = pending.pop(0)
        need = twins.get(need, need)
        if need in seen:
            continue
        seen.add(need)
        if need in chosen:
            found.append(need)
        else:
            pending += tree.needs.get(need, ())
    return tuple(sorted(found))


def planted(tree: Tree, chosen: Iterable[TreeMember]) -> list[Planted]:
    """For the compiler."""
    members: dict[str, Member] = {member.path: member for member in tree.members}
    return [Planted(one, members[one.path].folder, members[one.path].manifest) for one in chosen]


def outcomes(receipt: Receipt, chosen: Sequence[TreeMember], problems: Sequence[Diagnostic]) -> list[Known]:
    """Pure. What became of each package, from the receipt of the run: completed or halted, and why."""
    homes = {phase.id: phase.member for phase in receipt.order.phases}
    wrong: dict[str, tuple[str, str, str]] = {}
    for run in receipt.nodes:
        node = receipt.order.nodes[run.node]
        member = homes.get(node.phase, "")
        if run.status == "failed":
            told = next((one for one in problems if one.what.startswith(node.id)), None)
            wrong[member] = (node.id, run.error, told.next if told else "")
        elif run.status in GONE:
            wrong.setdefault(member, (node.id, receipt.message or "taken back", ""))
        elif run.status == "skipped" and run.reason.startswith("halted: "):
            wrong.setdefault(member, ("", run.reason.removeprefix("halted: "), "mend that package and sync again"))
    wrong |= dict(_empty_above(chosen, wrong))
    if receipt.state == "rolled_back" and not wrong:
        wrong = {one.path: ("", receipt.message, "") for one in chosen}
    found: list[Known] = []
    for one in chosen:
        if one.path in wrong:
            action, why, todo = wrong[one.path]
            found.append(Halted(path=one.path, commit=one.commit, hash=one.digest, action=action, why=why, next=todo))
        else:
            found.append(Completed(path=one.path, commit=one.commit, hash=one.digest))
    return found


def _empty_above(
    chosen: Sequence[TreeMember], wrong: Mapping[str, tuple[str, str, str]]
) -> Iterable[tuple[str, tuple[str, str, str]]]:
    """Packages without nodes of their own that need what failed."""
    stopped = set(wrong)
    for one in chosen:
        cause = next((need for need in one.needs if need in stopped), None)
        if cause is not None and one.path not in stopped:
            stopped.add(one.path)
            yield one.path, ("", f"{cause or 'the root'} failed", "mend that package and sync again")


def updated(
    installed: Mapping[str, Installed], ended: Iterable[Known], skipped: Collection[str], run_id: str
) -> dict[str, Installed]:
    """Pure. What is installed after a run."""
    found = dict(installed)
    for event in ended:
        if isinstance(event, Completed):
            found[event.path] = Installed(event.commit, event.hash, run_id)
        elif isinstance(event, Halted) and event.path not in skipped:
            found.pop(event.path, None)
    return found


def resolved_root(manifest: Manifest, asked: str | None) -> str:
    """The target root of the whole tree: what was asked for, else what the root's package says."""
    if asked is not None:
        return asked
    if manifest.target_root is not None:
        return manifest.target_root
    return "~" if manifest.scope == "home" else "/"


def on_this_machine(root: str) -> str:
    """A target root as a path."""
    return os.path.abspath(os.path.expanduser(root or "/"))
