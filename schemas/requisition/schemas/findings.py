"""A finding in a hand-written file: at a path of its keys, and from there at a line and column."""

from msgspec import Struct

from requisition.schemas.diagnostic import Diagnostic
from requisition.schemas.strictyaml import Positions

Path = tuple[str | int, ...]


class Problem(Struct, frozen=True):
    """A finding at a path of the file."""

    path: Path
    what: str
    next: str
    why: str = ""


def placed(problem: Problem, positions: Positions, file: str) -> Diagnostic:
    """The finding with its place: of the value, else of the key, else of what is around it."""
    path = problem.path
    place = None
    while place is None and path:
        place = positions.get(path) or positions.of_keys.get(path)
        path = path[:-1]
    line, column = place or (1, 1)
    return Diagnostic(what=problem.what, where=f"{file}:{line}:{column}", why=problem.why, next=problem.next)
