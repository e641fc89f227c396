"""What a person may mean by a path: which spots below which target roots, and what is known of them."""

import os
import sqlite3
from collections.abc import Iterable

from msgspec.structs import replace

from requisition.review.history import questions
from requisition.review.history.questions import Event, Filter

Spot = tuple[str, str]
"""A target root, and a path below it as orders have it: with a slash before it; empty for the root itself."""


def meant(text: str, cwd: str, roots: Iterable[str], *, inside: bool = False) -> list[Spot]:
    """The spot below each root that a path of this machine lies in; with `inside` also the roots that lie in it. `text`
    may be relative to `cwd`."""
    place = questions.writable(os.path.normpath(os.path.join(cwd, text)))
    found = []
    for root in roots:
        above = root.rstrip("/")
        if place == root or place.startswith(above + "/"):
            found.append((root, place[len(above) :].rstrip("/")))
        elif inside and root.startswith(place.rstrip("/") + "/"):
            found.append((root, ""))
    return found


def of_path(connection: sqlite3.Connection, text: str, cwd: str, chosen: Filter, *, below: bool = False) -> list[Event]:
    """What was done to what a person calls `text`, and with `below` to all below it: a path of this machine, one below
    a target root as orders have it, or a resource that is no file (`apt:nginx`). The first of these readings that any
    run tells of is taken."""
    ask = questions.events_below if below else questions.events
    found = [
        event
        for root, path in meant(text, cwd, _roots(connection, chosen), inside=below)
        for event in ask(connection, replace(chosen, root=root), path)
    ]
    return found or ask(connection, chosen, text.rstrip("/"))


def below(connection: sqlite3.Connection, text: str, cwd: str, chosen: Filter) -> tuple[list[str], list[Event]]:
    """What stands at and below what a person calls `text`; with it the folders of this machine that this is."""
    roots = _roots(connection, chosen)
    spots = meant(text, cwd, roots, inside=True)
    found = _standing(connection, chosen, spots)
    if not found and text.startswith("/"):
        others = [(root, text.rstrip("/")) for root in roots]
        found = _standing(connection, chosen, others)
        spots = others if found else spots
    return [on_machine(root, path) or "/" for root, path in spots], found


def on_machine(root: str, path: str) -> str:
    """A path below a target root as this machine has it; the name of a resource that is no file as it is."""
    return root.rstrip("/") + path if path.startswith("/") or not path else path


def _standing(connection: sqlite3.Connection, chosen: Filter, spots: Iterable[Spot]) -> list[Event]:
    return [
        event
        for root, path in spots
        for event in questions.standing_below(connection, replace(chosen, root=root), path)
    ]


def _roots(connection: sqlite3.Connection, chosen: Filter) -> list[str]:
    return [chosen.root] if chosen.root else questions.roots(connection, chosen.host)
