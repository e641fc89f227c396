"""One order of many packages: those of a tree, each built by itself, their phases one after the other.

Names of packages are unique in a tree, so that ids of nodes are. Paths of inputs begin with the path of their
package. Two packages that put something at one path are found here, before anything runs.
"""

import os
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from msgspec import Struct
from msgspec.structs import replace

from requisition.compiler import manifest as manifests
from requisition.compiler.manifest import Manifest
from requisition.compiler.nursery import Nursery
from requisition.compiler.packages import Package, member_package, open_package
from requisition.compiler.pipeline import Parts, all_is_kept, build_package, order_of
from requisition.compiler.prelude import prelude
from requisition.compiler.request import BuildRequest, BuildResult
from requisition.schemas.diagnostic import BadInput, Diagnostic
from requisition.schemas.document import Node, TreeMember
from requisition.stdlib import catalogue as catalogues
from requisition.stdlib.catalogue import Catalogue

FEW = 4
"""Packages that are not worth a nursery."""


class Planted(Struct, frozen=True):
    """A package of the tree: what the order will say of it, where it lies now, and its manifest."""

    record: TreeMember
    folder: str
    manifest: Manifest


def build_tree(request: BuildRequest, planted: Sequence[Planted], jobs: int = 4) -> BuildResult:
    """The order of these packages, which are listed children first. `request` is the root's: its settings, features
    and target root; the others are built with their defaults for the same target. Raises BadInput with the findings
    of all packages at once."""
    with all_is_kept():
        catalogue = catalogues.load()
        root = open_package(request)
        parts, findings = _build_all(request, root, planted, catalogue, jobs)
        if findings:
            raise BadInput(findings)
        whole = Parts.joined(parts)
        clashes = list(_clashes(planted, parts, catalogue))
        if clashes:
            raise BadInput(clashes)
        order = order_of(root, request, whole)
    members = tuple(one.record for one in planted)
    return BuildResult(replace(order, members=members), tuple(whole.warnings), whole.contents)


def _build_all(
    request: BuildRequest, root: Package, planted: Sequence[Planted], catalogue: Catalogue, jobs: int
) -> tuple[list[Parts], list[Diagnostic]]:
    """Each package by itself, `jobs` at a time; a thread has a nursery of its own when it evaluates many."""
    local = threading.local()

    def one(member: Planted) -> Parts | BadInput:
        try:
            package = _package(request, root, member)
            package.start = nursery(local).run if len(planted) > FEW else package.start
            parts = build_package(package, _asked(request, member), catalogue, ())
        except BadInput as failure:
            return failure
        parts.linked.phases = [replace(phase, member=member.record.path) for phase in parts.linked.phases]
        return parts

    with ExitStack() as nurseries:

        def nursery(mine: threading.local) -> Nursery:
            if not hasattr(mine, "nursery"):
                mine.nursery = nurseries.enter_context(Nursery(catalogue.values(), prelude(catalogue)))
            found: Nursery = mine.nursery
            return found

        with ThreadPoolExecutor(max(1, min(jobs, os.cpu_count() or 1)), "build") as pool:
            built = list(pool.map(one, planted))
    findings = [finding for result in built if isinstance(result, BadInput) for finding in result.diagnostics]
    return [result for result in built if isinstance(result, Parts)], findings


def _package(request: BuildRequest, root: Package, member: Planted) -> Package:
    if not member.record.path:
        return root
    where = os.path.join(member.folder, manifests.MANIFEST)
    manifests.check_platform(member.manifest, request.target, where)
    return member_package(root, member.record.path, member.folder, member.manifest, request)


def _asked(request: BuildRequest, member: Planted) -> BuildRequest:
    """Features and settings are the root's alone."""
    if not member.record.path:
        return request
    return replace(request, source=member.folder, features=(), without=(), settings={}, segments=())


def _clashes(planted: Sequence[Planted], parts: Iterable[Parts], catalogue: Catalogue) -> Iterable[Diagnostic]:
    """Two packages that both put something at one path, unless they say exactly the same."""
    claims = {name: [slot.name for slot in spec.slots if slot.claims] for name, spec in catalogue.items()}
    first: dict[str, tuple[str, Node]] = {}
    for member, part in zip(planted, parts, strict=True):
        for node in part.linked.nodes:
            for slot in claims.get(node.action, ()):
                path = node.slots.get(slot)
                if not isinstance(path, str) or not path or node.slots.get("keep"):
                    continue  # a folder that is only to be there (file.mkdir with `keep`) is nobody's
                owner, other = first.setdefault(path, (member.record.path, node))
                if owner != member.record.path and not _same(node, other):
                    yield Diagnostic(
                        what=f"{other.id} and {node.id} both put something at {path}",
                        where=node.location,
                        why=f"the other one is at {other.location}, and packages do not wait for each other's files",
                        next="let one of the two packages put it there, and the other depend on that one",
                    )


def _same(one: Node, other: Node) -> bool:
    return one.action == other.action and one.slots == other.slots
