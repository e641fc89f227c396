"""Order among the nodes of a phase that touch the same paths: as written, computed in one pass.

a path that another node wrote          wait for it; two nodes that both claim it are an error, unless one
                                        waits for the other anyway or they say exactly the same
a path below one that was written       wait for the nearest such node (its directory)
writing what another node read          wait for the reader
writing above what others touched       wait for all of them

The last rule visits each node below once: from then on the later node stands for all of them, so that the
whole is near-linear, and a path below waits for it too.
"""

from requisition.schemas.diagnostic import BadInput, Diagnostic


class PathOrder:
    """Feed nodes in the order they were written; get what each waits for."""

    def __init__(self) -> None:
        self._writer: dict[str, int] = {}
        self._claimed: dict[str, int] = {}
        self._readers: dict[str, list[int]] = {}
        self._children: dict[str, set[str]] = {}

    def add(self, node: int, path: str, writes: bool, claims: bool, needs: set[int]) -> int:
        """Add to `needs` what a node waits for because of one of its paths (which may name the node itself, when
        two of its paths meet); the earlier claimant, or -1."""
        clash = -1
        nearest = self._nearest(path)
        if nearest >= 0:
            needs.add(nearest)
        if not writes:
            self._readers.setdefault(path, []).append(node)
            self._list(path)
            return clash
        if path in self._readers:
            needs.update(self._readers.pop(path))
        if path in self._children:
            self._take_over(path, needs, claims)
        if claims:
            clash = self._claimed.get(path, -1)
            self._claimed[path] = node
        else:
            self._claimed.pop(path, None)
        if path not in self._writer:
            self._list(path)
        self._writer[path] = node
        return clash

    def _nearest(self, path: str) -> int:
        """The node that wrote the path, or else the nearest parent; -1 when none did."""
        writer = self._writer
        while path:
            if path in writer:
                return writer[path]
            path = path[: path.rfind("/")]
        return writer.get("/", -1)

    def _list(self, path: str) -> None:
        """Make the path known to the folders above it."""
        while path and path != "/":
            parent = path[: path.rfind("/")] or "/"
            below = self._children.get(parent)
            if below is not None:
                below.add(path)
                return
            self._children[parent] = {path}
            path = parent

    def _take_over(self, path: str, needs: set[int], claims: bool) -> None:
        """Wait for everything below, and forget it: whoever comes later finds the node that waits now."""
        pending = list(self._children.pop(path))
        while pending:
            inner = pending.pop()
            if inner in self._writer:
                needs.add(self._writer.pop(inner))
            needs.update(self._readers.pop(inner, ()))
            if not claims:
                self._claimed.pop(inner, None)
            pending.extend(self._children.pop(inner, ()))


def clash(path_owner: str, other: str, where: str, other_where: str) -> BadInput:
    """Two nodes that claim one path."""
    return BadInput(
        Diagnostic(
            what=f"{path_owner} and {other} both put something at the same path",
            where=where,
            why=f"the other one is at {other_where}, and nothing says which comes last",
            next="remove one, or write after = […] on the one that shall win",
        )
    )
