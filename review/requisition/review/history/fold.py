"""How a path came to be what it is, decided from what the runs say of it: which of them made it so."""

from collections.abc import Iterable
from typing import NamedTuple

DONE, UNCHANGED, FAILED, ROLLED_BACK, UNDO_FAILED = range(5)
STATUSES = ("done", "unchanged", "failed", "rolled_back", "undo_failed")
"""What became of a node that touched a path, in the order of their numbers. Nodes that were skipped or not reached
touched nothing."""


class Step(NamedTuple):
    """One run's word on a path. `touch` names it. `left` is equal for equal states, `gone`: the path was left absent.
    `began`: seconds; `stands`: the run does; `until`: when something of the run was taken back, 0 for never."""

    touch: int
    status: int
    left: int | None
    gone: bool
    began: int
    stands: bool
    until: int


def maker(steps: Iterable[Step]) -> Step | None:
    """The step that made the path what it is, of all steps in the order of their runs; None when nothing of ours is
    there.

    A run that finds a path as wanted confirms it and does not become its maker. When the maker was taken back after
    that, the run confirmed what is there no more, and its word falls with it.
    """
    made: Step | None = None
    lost: Step | None = None  # what was made, and taken back later
    for step in steps:
        if not (step.stands and step.status in (DONE, UNCHANGED)):
            if step.until and step.status in (ROLLED_BACK, UNDO_FAILED) and step.left is not None:
                lost = step
            continue
        if step.left is None:
            continue
        found = step.status == UNCHANGED
        if lost is not None and found and step.left == lost.left and step.began <= lost.until:
            continue
        lost = None
        if step.gone:
            made = None
        elif made is None or not found or step.left != made.left:
            made = step
    return made
