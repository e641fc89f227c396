"""`.plan/`: what a tree's root folder holds of this machine only, ignored by git.

.plan/.gitignore        `*`
.plan/events.jsonl      what happened (`events.py`)
.plan/events.lock       held by who writes there
.plan/installed.json    what is installed (`installed.py`)
.plan/locks/            who works on which package (`claims.py`); `.walk`: who walks (`walk.py`)
.plan/clones/           what is being cloned (`checkout.py`)
"""

import os
from collections.abc import Callable
from datetime import UTC, datetime

from requisition.runtime.layout import sync_directory
from requisition.schemas.diagnostic import BadInput
from requisition.stdlib.action import ActionError
from requisition.tree.paths import KEPT, kept_folder

Clock = Callable[[], datetime]


def path(root: str, *names: str) -> str:
    """A path in `.plan/`, which need not be there."""
    return os.path.join(root, KEPT, *names)


def make(root: str, *names: str) -> str:
    """The folder at that path in `.plan/`, made with all above it; `.plan/` durably. Raises BadInput."""
    new = not os.path.lexists(path(root))
    try:
        folder = kept_folder(root, *names)
        if new:
            sync_directory(path(root))
            sync_directory(root)
    except ActionError as error:
        raise BadInput.of(str(error), where=path(root, *names), next=error.hint) from error
    except OSError as error:
        raise BadInput.of(
            f"{KEPT} cannot be made: {error.strerror}", where=root, next="the tree's folder must be yours to write"
        ) from error
    return folder


def now() -> datetime:
    """The time, where no other clock is given."""
    return datetime.now(UTC)


def stamp(time: datetime) -> str:
    """RFC 3339 in UTC, to the second."""
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
