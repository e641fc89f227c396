"""Opening a package: its manifest, what its scripts may know, and its files as the target gets them."""

import os
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from requisition.compiler import manifest as manifests
from requisition.compiler import settings
from requisition.compiler.manifest import Kind, Manifest
from requisition.compiler.recording import Nested
from requisition.compiler.request import BuildRequest, PackageFacts
from requisition.compiler.sandbox import Start, alone
from requisition.compiler.scripts import SHARED
from requisition.compiler.variants import FilesBeside, PackageFiles
from requisition.schemas.diagnostic import BadInput


class Package(Struct):
    """A package of a build: the outermost, or one that `plan.deploy` nests. `checkout` is where its folder will lie on
    the target; empty when nobody said; `home` whether its target root is a home; `start` starts its evaluation."""

    folder: str
    prefix: str
    manifest: Manifest
    facts: PackageFacts
    files: PackageFiles
    script: str
    checkout: str = ""
    home: bool = False
    start: Start = alone


def open_package(request: BuildRequest) -> Package:
    """Manifest, facts and files of the package that a request names."""
    source = os.path.abspath(request.source)
    if os.path.isfile(source) and source.endswith(".star"):
        folder, script, found = (
            os.path.dirname(source),
            os.path.basename(source),
            manifests.lone_manifest(source),
        )
        where = source
    elif os.path.isdir(source):
        folder, script, found = source, "", manifests.read_manifest(source)
        where = os.path.join(source, manifests.MANIFEST)
    else:
        raise BadInput.of("there is no package", where=request.source, next="name a folder or a .star file")
    manifests.check_platform(found, request.target, where)
    facts = _facts(found, request, request.features, request.without, request.settings, where)
    checkout = request.checkout or found.projects.checkout
    home = found.scope == "home" or facts.target_root == "~"
    return Package(folder, "", found, facts, _files(folder, request, found, script), script, checkout, home)


def open_nested(package: Package, nested: Nested, request: BuildRequest) -> Package:
    """The package that a `plan.deploy` names, in a folder of the package around it. Raises BadInput."""
    path = os.path.normpath(nested.path)
    folder = os.path.realpath(f"{package.folder}/{path}")
    if os.path.isabs(nested.path) or not folder.startswith(os.path.realpath(package.folder) + os.sep):
        raise BadInput.of(f"{nested.path!r} is not a folder of this package", where=nested.location)
    where = f"{folder}/{manifests.MANIFEST}"
    if not os.path.isfile(where):
        what = f"{nested.path!r} holds no package"
        raise BadInput.of(what, where=nested.location, why=f"there is no {path}/{manifests.MANIFEST}")
    found = manifests.read_manifest(folder)
    manifests.check_platform(found, request.target, where)
    _check_scope(found, package, where)
    options = nested.options
    facts = _facts(found, request, options["features"], options["without"], options["settings"], nested.location)
    files, checkout = _files(folder, request, found), _inner_checkout(found, package, path, request)
    return Package(folder, f"{package.prefix}{path}/", found, facts, files, "", checkout, package.home, package.start)


def member_package(root: Package, path: str, folder: str, manifest: Manifest, request: BuildRequest) -> Package:
    """A package of the tree below `root`, built with its defaults for root's target. Raises BadInput."""
    asked, where = replace(request, target_root=root.facts.target_root), f"{folder}/{manifests.MANIFEST}"
    _check_scope(manifest, root, where)
    facts = _facts(manifest, asked, (), (), {}, where)
    files, checkout = _files(folder, request, manifest), _inner_checkout(manifest, root, path, request)
    return Package(folder, f"{path}/", manifest, facts, files, "", checkout, root.home)


def _inner_checkout(found: Manifest, outer: Package, path: str, request: BuildRequest) -> str:
    """Where a package inside of another will lie: where the request says of the outer one, before what its own manifest
    says, which was written for the package alone."""
    inside = f"{outer.checkout}/{path}" if outer.checkout else ""
    return inside if request.checkout else found.projects.checkout or inside


def _check_scope(found: Manifest, outer: Package, where: str) -> None:
    """Raises BadInput for a package of a home in one of the system: what is meant to be below ~ would land below /."""
    if found.scope == "home" and not outer.home:
        raise BadInput.of(
            f"{found.name} is for a home, and {outer.manifest.name}, of which it is a part, is for the system",
            where=where,
            why="one order has one target root",
            next=f"write scope: home in the package.yaml of {outer.manifest.name}, or apply {found.name} on its own",
        )


def kind_of(package: Package) -> Kind:
    """What a package is, by its manifest and by what lies beside it. Raises BadInput when these contradict."""
    manifest = package.manifest
    names = (SHARED, *(f"{phase}.star" for phase in manifest.phases))
    script = package.script or next((name for name in names if package.files.find(name)), "")
    if script and (manifest.actions is not None or manifest.type in ("meta", "declarative")):
        kind = manifest.type if manifest.type in ("meta", "declarative") else "declarative"
        raise BadInput.of(
            f"a package of type {kind} has no scripts, and this one has {script}",
            where=f"{script}:1:1",
            why="it would never be read",
            next="remove it, or remove `actions` and write type: scripted",
        )
    if manifest.type is not None:
        return manifest.type
    if manifest.actions is not None:
        return "declarative"
    alone = not manifest.children and not manifest.depends_on and manifest.teardown is None
    return "scripted" if script or alone else "meta"


def _files(folder: str, request: BuildRequest, found: Manifest, script: str = "") -> PackageFiles:
    """A lone script's folder may be anything, a home directory say: it is not walked."""
    if script:
        return FilesBeside(folder, request.target, script)
    return PackageFiles(folder, request.target, [child.place for child in found.children])


def _facts(
    found: Manifest,
    request: BuildRequest,
    features: Iterable[str],
    without: Iterable[str],
    given: Mapping[str, Any],
    where: str,
) -> PackageFacts:
    root = request.target_root
    if root is None:
        root = found.target_root if found.target_root is not None else "~" if found.scope == "home" else "/"
    return PackageFacts(
        found.name,
        found.version,
        root,
        settings.chosen_features(found, features, without, where),
        settings.chosen_settings(found, given, where),
        request.target,
    )
