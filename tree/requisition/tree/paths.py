"""Places in a tree: where packages can lie, ways to them that lead through no link, what the tree keeps for itself."""

import contextlib
import os
import stat

from requisition.compiler.child_rules import bad_path
from requisition.stdlib.action import ActionError

KEPT = ".plan"
_DEPTH = 64
_LENGTH = 1000
_NAME = 200


def path_fault(path: str) -> str:
    """Why no package can lie at a path below a root; "" when one can. Manifests say the last part of it, so that the
    whole has bounds of its own."""
    if path.count("/") >= _DEPTH or len(os.fsencode(path)) > _LENGTH:
        return "it is too long"
    if any(len(os.fsencode(part)) > _NAME for part in path.split("/")):
        return "a part of it is too long"
    return bad_path(path)


def check_no_links(root: str, path: str) -> None:
    """Raises ActionError when a part of the way from the root's folder to a path below it is a link or no folder."""
    at = root
    for part in path.split("/"):
        at = f"{at}/{part}"
        try:
            mode = os.lstat(at).st_mode
        except FileNotFoundError:
            return
        if stat.S_ISLNK(mode):
            raise ActionError(
                f"{at} is a link: a package is not put behind one", "remove the link, or name another path"
            )
        if not stat.S_ISDIR(mode):
            raise ActionError(f"{at} is not a folder", "move it away, or name another path")


def kept_folder(root: str, *parts: str) -> str:
    """A folder below `.plan/` of the root, made when missing; git is told to ignore all of it."""
    inner = "/".join((KEPT, *parts))
    check_no_links(root, inner)
    os.makedirs(f"{root}/{inner}", exist_ok=True)
    with contextlib.suppress(FileExistsError), open(f"{root}/{KEPT}/.gitignore", "x", encoding="ascii") as file:
        file.write("*\n")
    return f"{root}/{inner}"
