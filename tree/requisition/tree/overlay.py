"""A tree as it would be after a walk that changes nothing: its folders, together with packages that are elsewhere.

A package may read files of the packages below it. When one of those is read from a scratch folder, because it is not
at its place yet, all packages around it are read from there too: from copies of their files, so that not even the
times of the real ones change.
"""

import os
import shutil
from collections.abc import Collection, Mapping

from msgspec import structs

from requisition.tree.member import Member
from requisition.tree.needs import ancestors
from requisition.tree.paths import KEPT

_LEFT_OUT = frozenset((".git", KEPT))


def overlaid(members: Mapping[str, Member], root: str, scratch: str) -> dict[str, Member]:
    """The members, those around others that are in the scratch folder moved there, their files copied. Raises
    OSError."""
    there = {path for path, member in members.items() if f"{member.folder}/".startswith(f"{scratch}/")}
    around = {outer for path in there for outer in ancestors(members, path)} - there
    if around:
        _copy(root, scratch, {f"{scratch}/{path}" for path in there})
    return {
        path: structs.replace(member, folder=f"{scratch}/{path}".rstrip("/")) if path in around else member
        for path, member in members.items()
    }


def _copy(source: str, target: str, whole: Collection[str]) -> None:
    """Everything but what is git's and ours; `whole` folders of the target are there already."""
    os.makedirs(target, exist_ok=True)
    with os.scandir(source) as entries:
        for entry in entries:
            place = f"{target}/{entry.name}"
            if entry.name in _LEFT_OUT or place in whole:
                continue
            if entry.is_symlink():
                os.symlink(os.readlink(entry.path), place)
            elif entry.is_dir():
                _copy(entry.path, place, whole)
            elif entry.is_file():
                shutil.copy2(entry.path, place)
