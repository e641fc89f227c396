"""`.plan/`: what a tree's root folder holds of this machine only, ignored by git.

.plan/.gitignore        `*`
.plan/events.jsonl      what happened (`events.py`)
.plan/installed.json    what is installed (`installed.py`)
.plan/locks/            who works on which package (`claims.py`)
.plan/trash/            what was moved out of the way
"""

import os
from collections.abc import Callable
from datetime import UTC, datetime

from requisition.runtime.layout import sync_directory, write_durably
from requisition.schemas.diagnostic import BadInput

FOLDER = ".plan"
Clock = Callable[[], datetime]


def path(root: str, *names: str) -> str:
    """A path in `.plan/`, which need not be there."""
    return os.path.join(root, FOLDER, *names)


def make(root: str, *names: str) -> str:
    """The folder at that path in `.plan/`, made with all above it, durably. Raises BadInput."""
    folder = path(root)
    try:
        if not _is_folder(folder):
            os.mkdir(folder, 0o755)
            write_durably(path(root, ".gitignore"), b"*\n", 0o644)
            sync_directory(root)
        for name in names:
            inner = os.path.join(folder, name)
            if not _is_folder(inner):
                os.mkdir(inner, 0o755)
                sync_directory(folder)
            folder = inner
    except FileExistsError:
        return make(root, *names)  # another process was faster
    except OSError as error:
        raise BadInput.of(
            f"{FOLDER} cannot be made: {error.strerror}", where=folder, next="the tree's folder must be yours to write"
        ) from error
    return folder


def now() -> datetime:
    """The time, where no other clock is given."""
    return datetime.now(UTC)


def stamp(time: datetime) -> str:
    """RFC 3339 in UTC, to the second."""
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _is_folder(folder: str) -> bool:
    if os.path.islink(folder) or (os.path.lexists(folder) and not os.path.isdir(folder)):
        raise BadInput.of("this must be a folder, and no link", where=folder, next="move it away")
    return os.path.lexists(folder)
