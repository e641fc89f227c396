"""What a tree is made of: its packages, by the path at which they lie."""

from msgspec import Struct

from requisition.compiler.manifest import Manifest

ROOT = ""


class Member(Struct, frozen=True):
    """One package of a tree. `path` is relative to the root's folder, with `/`; the root's own is empty.

    `commit` is what is checked out, 40 hex digits; empty for the root and for folders that are no repository of
    their own. `parent` is the path of the member whose manifest names it; `where` is file:line of that entry.
    """

    path: str
    folder: str
    manifest: Manifest
    parent: str = ""
    url: str = ""
    ref: str = ""
    commit: str = ""
    where: str = ""


class Tree(Struct, frozen=True):
    """All members, children before their parents and as their manifests list them; the root is the last.

    `needs` are the paths of the members that must be there before the one at a path: its children, and what its
    `depends_on` names. `problems` of optional children that could not be had are warnings, not here.
    """

    root: str
    members: tuple[Member, ...]
    needs: dict[str, tuple[str, ...]] = {}

    def member(self, path: str) -> Member:
        """The member at a path. Raises KeyError."""
        for one in self.members:
            if one.path == path:
                return one
        raise KeyError(path)
