"""Which paths a child may have, judged before anything is cloned; and the folders that a tree keeps for itself."""

import contextlib
import os
import stat
import unicodedata

from requisition.stdlib.action import ActionError

KEPT = ".plan"
_RESERVED = {".git", KEPT}
_DEPTH = 32
_LENGTH = 1000


def path_fault(path: str) -> str:
    """What is wrong with a child's path, relative and with `/`; "" when nothing is."""
    parts = path.split("/")
    if not path or path.startswith("/") or not all(parts) or {".", ".."} & set(parts):
        return "the path must lead to a folder below its package, without . or .."
    if not path.isprintable() or ":" in path or "\\" in path:
        return "the path holds a character that cannot be shown, a colon or a backslash"
    if _RESERVED & {part.casefold() for part in parts}:
        return "the path leads into .git or .plan, which are not a package's to have"
    if any(part.startswith("-") or part.endswith((" ", ".")) or part[0] in " ~" for part in parts):
        return "a part of the path begins with - or ~, or begins or ends with a space, or ends with a dot"
    if len(parts) > _DEPTH or len(os.fsencode(path)) > _LENGTH or any(len(os.fsencode(part)) > 200 for part in parts):
        return "the path is too long"
    return ""


def same_name(path: str) -> str:
    """Paths that some file system takes for one have this in common."""
    return unicodedata.normalize("NFC", path).casefold()


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
