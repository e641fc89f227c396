"""Order among nodes of a phase that touch the same paths: computed in one pass, near-linear.

a path that another node writes      wait for it; two nodes that both claim it are an error, unless one
                                     waits for the other anyway or they say exactly the same
a path below one that is written     wait for the nearest such node (its directory)
removing or moving a directory       wait for everything below
writing what another node reads      wait for the reader
"""

from collections.abc import Iterable, Iterator

from msgspec import Struct

from requisition.schemas.diagnostic import BadInput, Diagnostic


class Use(Struct, frozen=True):
    """One path slot of a node."""

    path: str
    writes: bool
    claims: bool


class PathOrder:
    """Feed nodes in the order they were written; get what each waits for."""

    def __init__(self) -> None:
        self._writer: dict[str, int] = {}
        self._claimed: dict[str, int] = {}
        self._readers: dict[str, list[int]] = {}
        self._children: dict[str, list[str]] = {}
        self._listed: set[str] = set()

    def add(self, node: int, uses: Iterable[Use]) -> tuple[set[int], list[int]]:
        """(nodes to wait for, earlier claimants of the same path)."""
        needs: set[int] = set()
        clashes: list[int] = []
        for use in uses:
            self._look_up(use.path, needs)
            if use.writes:
                needs.update(self._readers.pop(use.path, ()))
                if not use.claims:
                    needs.update(self._below(use.path))
                if use.claims and use.path in self._claimed:
                    clashes.append(self._claimed[use.path])
                self._write(use, node)
            else:
                self._readers.setdefault(use.path, []).append(node)
        needs.discard(node)
        return needs, clashes

    def _look_up(self, path: str, needs: set[int]) -> None:
        """The node at the path, or at the nearest parent that a node writes."""
        while path:
            found = self._writer.get(path)
            if found is not None:
                needs.add(found)
                return
            path = path.rpartition("/")[0]

    def _write(self, use: Use, node: int) -> None:
        self._writer[use.path] = node
        if use.claims:
            self._claimed[use.path] = node
        else:
            self._claimed.pop(use.path, None)
        path = use.path
        if path in self._listed:
            return
        while path:
            self._listed.add(path)
            parent = path.rpartition("/")[0]
            siblings = self._children.get(parent)
            if siblings is not None:
                siblings.append(path)
                return
            self._children[parent] = [path]
            path = parent if parent not in self._listed else ""

    def _below(self, path: str) -> Iterator[int]:
        pending = list(self._children.get(path, ()))
        while pending:
            inner = pending.pop()
            if inner in self._writer:
                yield self._writer[inner]
            yield from self._readers.get(inner, ())
            pending.extend(self._children.get(inner, ()))


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
