"""What `plan history`, `why` and `blame` print with --json."""

import os
from collections.abc import Iterable, Iterator

from msgspec import Struct

from requisition.review.history.inventory import standing_receipt
from requisition.review.history.origin import on_machine
from requisition.review.history.present import changed_since, unmanaged
from requisition.review.history.questions import Event, Ran


class History(Struct, frozen=True):
    """Runs, or what they did to paths; oldest first."""

    runs: tuple[Ran, ...] = ()
    events: tuple[Event, ...] = ()


class Origin(Struct, frozen=True, omit_defaults=True):
    """Why one path is as it is. `made` is None when nothing there is of a run that stands. `receipt` is the file that
    says so; `changes` what somebody changed since, None where that cannot be seen from here. `before` and `after` are
    the rest of its history."""

    made: Event | None = None
    receipt: str = ""
    changes: tuple[str, ...] | None = None
    before: tuple[Event, ...] = ()
    after: tuple[Event, ...] = ()


class Why(Struct, frozen=True):
    """One path may be there below several target roots, and on several machines."""

    paths: tuple[Origin, ...]


class Blame(Struct, frozen=True):
    """Paths with what made them so. `missing` are those of this machine that are not there now, `unmanaged` those that
    no run made; a folder of these ends with a slash."""

    paths: tuple[Event, ...]
    missing: tuple[str, ...] = ()
    unmanaged: tuple[str, ...] = ()


def blamed(events: Iterable[Event], folders: Iterable[str]) -> Blame:
    """With a look at this machine: at every path, and below `folders` for what no run made."""
    found = tuple(events)
    managed = {on_machine(event.ran.root, event.path) for event in found if not event.ran.host}
    gone = (path for path in managed if path.startswith("/") and not os.path.lexists(path))
    others = {os.fsencode(path).decode(errors="backslashreplace") for path in unmanaged(folders, managed)}
    return Blame(found, tuple(sorted(gone)), tuple(sorted(others)))


def origins(events: Iterable[Event], state_dir: str) -> Iterator[Origin]:
    """The origin of every path that events are of. Looks at those of this machine."""
    spots: dict[tuple[str, str, str], list[Event]] = {}
    for event in events:
        spots.setdefault((event.ran.host, event.ran.root, event.path), []).append(event)
    for told in spots.values():
        yield _origin(told, state_dir)


def _origin(told: list[Event], state_dir: str) -> Origin:
    """Root has the receipt of what it left: its node is taken at its word, where it is the last that did anything."""
    last = told[-1]
    made = next((one for one in told if one.stands), None)
    if made is None and last.status == "done" and last.left is None:
        made = last
    if made is None:
        return Origin(before=tuple(told))
    at = told.index(made)
    changes = None
    if made.left is not None and made.left.kind != "token" and not made.ran.host:
        changes = tuple(changed_since(state_dir, made.ran.root, made.left))
    receipt = standing_receipt(state_dir, (made.ran.host, made.ran.run))
    return Origin(made, receipt, changes, tuple(told[:at]), tuple(told[at + 1 :]))
