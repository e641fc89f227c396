"""plan.lock against the tree as it stands: which of them is the newer one, and checkouts that were cut off.

Read from files alone. What `.git/requisition` says that we put there tells whether a package is behind its pin, which
the next sync mends, or was moved by a person, which it does not touch.
"""

import os
from collections.abc import Iterator, Sequence

from requisition.schemas.diagnostic import BadInput
from requisition.stdlib.action import ActionError
from requisition.tree import checkout, leftovers, pins
from requisition.tree.finding import Finding, Kind, Mended, done, gone, left
from requisition.tree.git import Control, Git
from requisition.tree.member import Tree

KINDS: tuple[Kind, ...] = ("checkout cut off",)
_SHOWN = 5


def find(root: str, tree: Tree | None) -> Iterator[Finding]:
    """Findings about pins and checkouts. With the tree also about what is pinned and not in it, or the reverse.
    Changes nothing."""
    try:
        pinned = pins.read(os.path.join(root, pins.LOCK_NAME)).packages
    except BadInput as error:
        told = error.diagnostics[0]
        yield Finding(kind="pins unreadable", root=root, path=told.where, text=told.what, next=told.next)
        return
    behind = []
    for path, pin in sorted(pinned.items()):
        folder = os.path.join(root, path)
        try:
            state = checkout.look(folder)
        except ActionError as error:
            yield Finding(kind="not checked out", root=root, path=path, text=str(error), next=error.hint)
            continue
        if state is None:
            behind.append(f"{path} is not there")
        elif state.moving:
            text = f"it was being moved from {state.commit[:12]} to {state.moving[:12]}"
            yield Finding(
                kind="checkout cut off", root=root, path=path, text=text, mend="the move is ended", other=state.moving
            )
        elif state.commit != pin.commit and state.mark is not None and state.mark.commit == state.commit:
            behind.append(f"{path} is at {state.commit[:12]}, not {pin.commit[:12]}")
        elif state.commit != pin.commit:
            yield Finding(
                kind="plan.lock is older",
                root=root,
                path=path,
                text=f"somebody moved it to {state.commit[:12] or 'a branch without commits'}",
                next=f"save your work, then: git -C {folder} checkout --detach {pin.commit}",
            )
    if behind:
        yield _newer(root, behind)
    if tree is not None:
        yield from _strangers(root, tree, pinned)


def mend(findings: Sequence[Finding]) -> Iterator[Mended]:
    """End moves that were cut off. What is neither as before nor as after is left to a person, by name."""
    for one in findings:
        folder = os.path.join(one.root, one.path)
        with leftovers.no_walk(one.root) as free:
            try:
                state = checkout.look(folder) if free else None
                if not free:
                    yield left(one, "git still works in it; the next walk ends the move")
                elif state is None or state.moving != one.other:
                    yield gone(one)
                else:
                    checkout.mend(state, folder, Git(folder, Control()))
                    yield done(one)
            except ActionError as error:
                yield left(one, f"{error}; {error.hint}" if error.hint else str(error))


def _newer(root: str, behind: Sequence[str]) -> Finding:
    more = f" and {len(behind) - _SHOWN} more" if len(behind) > _SHOWN else ""
    return Finding(
        kind="plan.lock is newer",
        root=root,
        path=pins.LOCK_NAME,
        text=", ".join(behind[:_SHOWN]) + more,
        next="plan sync brings all of them to their pins",
    )


def _strangers(root: str, tree: Tree, pinned: dict[str, pins.Pin]) -> Iterator[Finding]:
    there = {member.path for member in tree.members if member.url}
    for path in sorted(there ^ pinned.keys()):
        text = "it is pinned, and no manifest names it" if path in pinned else "it is not pinned"
        yield Finding(kind="plan.lock is older", root=root, path=path, text=text, next="plan sync corrects plan.lock")
