"""What a crash left of a tree: found, told once, and mended where that is safe.

`scan` looks and changes nothing; `mend` is for who holds the claim of the root, as a sync does. Mending looks again
before it changes anything, so that it may be repeated, and what was mended is not found again.
"""

import os
from collections.abc import Iterable

from requisition.runtime.places import default_state
from requisition.tree import cutoff, leftovers, local, runs, standing
from requisition.tree.finding import Finding, Mended, left
from requisition.tree.local import Clock
from requisition.tree.member import Tree

__all__ = ["Finding", "Mended", "mend", "scan"]


def scan(root: str, tree: Tree | None = None, *, state_dir: str = "") -> list[Finding]:
    """All findings of the tree at a root's folder, each artefact once. While another process works on the tree,
    what it is about cannot be told from what was cut off: then it is the only finding."""
    root = os.path.abspath(root)
    state_dir = state_dir or default_state()
    at_work = [*leftovers.in_use(root), *runs.in_use(root, state_dir)]
    if at_work:
        return at_work
    return [
        *cutoff.find(root),
        *runs.find(root, state_dir),
        *leftovers.find(root),
        *standing.find(root, tree),
    ]


def mend(findings: Iterable[Finding], *, clock: Clock = local.now) -> list[Mended]:
    """Do what is safe about findings of one tree; one answer each, in their order."""
    asked = list(findings)
    answers: dict[int, Mended] = {}
    for kinds, repair in (
        (cutoff.KINDS, lambda ours: cutoff.mend(ours, clock)),
        (leftovers.KINDS, leftovers.mend),
        (runs.KINDS, runs.mend),
        (standing.KINDS, standing.mend),
    ):
        ours = [one for one in asked if one.kind in kinds]
        if ours:
            answers.update((id(answer.finding), answer) for answer in repair(ours))
    return [answers.get(id(one)) or left(one) for one in asked]
