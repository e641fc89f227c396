"""`plan why`: which spots of which roots a person may mean by a path, and what there is about each."""

import os
import sqlite3
from collections.abc import Iterable

from requisition.review.history import questions
from requisition.review.history.questions import Event, Filter


def meant(text: str, cwd: str, roots: Iterable[str]) -> list[tuple[str, str]]:
    """(root, path below it) for each root that a path of this machine lies in. `text` may be relative to `cwd`."""
    place = os.path.normpath(os.path.join(cwd, text))
    found = []
    for root in roots:
        above = root.rstrip("/")
        if place == root or place.startswith(above + "/"):
            found.append((root, place[len(above) :] or "/"))
    return found


def of_path(connection: sqlite3.Connection, text: str, cwd: str, chosen: Filter) -> list[Event]:
    """All that is known of what a person calls `text`: a path of this machine, one below a target root as orders have
    it, or a resource that is no file (`apt:nginx`). The first of these readings that any run speaks of is taken."""
    known = [chosen.root] if chosen.root else questions.roots(connection, chosen.host)
    spots = meant(text, cwd, known)
    found = [
        event
        for event in questions.events(connection, chosen, [path for _, path in spots])
        if (event.ran.root, event.path) in spots
    ]
    return found or questions.events(connection, chosen, [text])
