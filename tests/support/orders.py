"""Orders made without the compiler: for tests of the runtime, which must not need one."""

import hashlib
import os
from pathlib import Path

from requisition.schemas import orderfile
from requisition.schemas.document import Context, Input, Node, Order, Phase, Platform, TreeMember
from requisition.schemas.version import TOOL


class OrderBuilder:
    """Collects nodes of one package whose inputs lie in `folder`; `write` makes the order file."""

    def __init__(self, folder: Path, target_root: Path, *, package: str = "demo", serial: int = 0):
        self.folder = folder
        self.target_root = target_root
        self.package = package
        self.serial = serial
        self.nodes: list[Node] = []
        self.phases: list[Phase] = []
        self.members: list[TreeMember] = []
        self._inputs: dict[str, Input] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def member(self, path: str, needs=()) -> str:
        """From here on phases and nodes are of a package of a tree; returns its path."""
        self.package = path.replace("/", "-") or "top"
        self.members.append(TreeMember(path, self.package, "0" * 64, needs=tuple(needs)))
        return path

    def phase(self, name: str, **fields) -> str:
        """Declare a phase; returns its id."""
        member = self.members[-1].path if self.members else ""
        phase = Phase(f"{self.package}/{name}", name, member=member, **fields)
        if all(known.id != phase.id for known in self.phases):
            self.phases.append(phase)
        return phase.id

    def node(self, action: str, *, phase: str = "install", needs=(), name: str = "", slots=None, **fields) -> str:
        """Add a node whose slots are the remaining keywords, and `slots`; returns its id."""
        extra = {key: fields.pop(key) for key in ("retry", "on_conflict", "elevate") if key in fields}
        place = self.phase(phase)
        ident = f"{place}/{action}:{name or fields.get('path') or len(self.nodes)}"
        location = f"package.star:{len(self.nodes) + 1}"
        fields |= slots or {}
        self.nodes.append(Node(ident, action, place, fields, tuple(sorted(needs)), location=location, **extra))
        return ident

    def input(self, name: str, content: bytes, mode: int = 0o644) -> str:
        """Write a file of the package and pin it."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self._inputs[name] = Input(name, hashlib.sha256(content).hexdigest(), len(content), mode)
        return name

    def order(self, **fields) -> Order:
        """The order so far."""
        context = Context(self.package, target_root=str(self.target_root), **fields.pop("context", {}))
        document = {
            "version": 1,
            "name": f"{self.package}.order",
            "tool": TOOL,
            "platform": Platform(os.uname().sysname.lower()),
            "context": context,
            "phases": tuple(self.phases),
            "nodes": tuple(self.nodes),
            "inputs": tuple(self._inputs[name] for name in sorted(self._inputs)),
            "serial": self.serial,
            "members": tuple(self.members),
        }
        return Order(**(document | fields))

    def write(self, name: str = "order.plan", **fields) -> Path:
        """Write the order beside its inputs."""
        path = self.folder / name
        orderfile.write(str(path), orderfile.seal(self.order(**fields)))
        return path
