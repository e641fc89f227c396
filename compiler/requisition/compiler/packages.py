"""Opening a package: its manifest, what its scripts may know, and its files as the target gets them."""

import os
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct

from requisition.compiler import manifest as manifests
from requisition.compiler import settings
from requisition.compiler.manifest import Manifest
from requisition.compiler.recording import Nested
from requisition.compiler.request import BuildRequest, PackageFacts
from requisition.compiler.variants import FilesBeside, PackageFiles
from requisition.schemas.diagnostic import BadInput


class Package(Struct):
    """A package of a build: the outermost, or one that `plan.deploy` nests."""

    folder: str
    prefix: str
    manifest: Manifest
    facts: PackageFacts
    files: PackageFiles
    script: str


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
    return Package(folder, "", found, facts, _files(folder, request, script), script)


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
    options = nested.options
    facts = _facts(found, request, options["features"], options["without"], options["settings"], nested.location)
    return Package(folder, f"{package.prefix}{path}/", found, facts, PackageFiles(folder, request.target), "")


def _files(folder: str, request: BuildRequest, script: str) -> PackageFiles:
    """A lone script's folder may be anything, a home directory say: it is not walked."""
    return FilesBeside(folder, request.target, script) if script else PackageFiles(folder, request.target)


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
