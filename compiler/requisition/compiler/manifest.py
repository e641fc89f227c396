"""package.yaml: what a package is called, offers, needs, and runs on. Checked whole before anything else."""

import os
import re
from typing import Any, Literal

from msgspec import Struct

from requisition.schemas import strictyaml
from requisition.schemas.diagnostic import BadInput, Diagnostic
from requisition.schemas.document import Platform

MANIFEST = "package.yaml"
PHASES = ("prepare", "install", "provision", "verify")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}\Z")
_OPTION = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,62}\Z")


class Feature(Struct, frozen=True, forbid_unknown_fields=True):
    """Something that can be switched on with `--with`."""

    doc: str = ""
    default: bool = False


class Setting(Struct, frozen=True, forbid_unknown_fields=True):
    """A typed value: a JSON Schema fragment (2020-12), of which these keywords are understood."""

    type: Literal["string", "integer", "boolean", "array", "object"] = "string"
    description: str = ""
    default: Any = None
    enum: list[Any] | None = None
    minimum: int | None = None
    maximum: int | None = None
    pattern: str | None = None
    items: dict[str, Any] | None = None


class Layer(Struct, frozen=True, forbid_unknown_fields=True):
    """A folder of projects; later layers win over earlier ones."""

    name: str
    path: str


class Projects(Struct, frozen=True, forbid_unknown_fields=True):
    """How the files of layers are deployed. `modes` by target path, octal in quotes. Links need `checkout`:
    where the package's folder will lie on the target, since an order knows no path of the building machine."""

    deploy: Literal["copy", "link"] = "copy"
    checkout: str = ""
    modes: dict[str, str] = {}


class Manifest(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    name: str
    version: str = ""
    description: str = ""
    serial: int = 0
    scope: Literal["home", "system"] = "system"
    target_root: str | None = None
    platforms: list[str] = []
    features: dict[str, Feature] = {}
    settings: dict[str, Setting] = {}
    secrets: dict[str, str] = {}
    phases: tuple[str, ...] = PHASES
    layers: list[Layer] = []
    projects: Projects = Projects()
    hosts: list[str] = []


def read_manifest(folder: str) -> Manifest:
    """The manifest of a package folder. Raises BadInput with every finding."""
    path = os.path.join(folder, MANIFEST)
    try:
        with open(path, "rb") as file:
            text = file.read(strictyaml.MAX_BYTES + 1)
    except OSError as error:
        raise BadInput.of(
            f"the package has no readable {MANIFEST}: {error.strerror}",
            where=path,
            next="plan init makes one",
        ) from error
    return parse_manifest(text, path)


def parse_manifest(text: bytes | str, where: str) -> Manifest:
    """The manifest in a text."""
    found = strictyaml.load_typed(text, where, Manifest)
    problems = [
        *_names(found, where),
        *_checkout(found, where),
        *(
            Diagnostic(what=f"{phase!r} is not a phase", where=where, next=f"phases are {', '.join(PHASES)}")
            for phase in found.phases
            if not _OPTION.match(phase)
        ),
    ]
    if problems:
        raise BadInput(problems)
    return found


def _checkout(found: Manifest, where: str) -> list[Diagnostic]:
    if found.projects.deploy == "copy" or found.projects.checkout.startswith(("/", "~/")):
        return []
    what = "projects are deployed as links, and `checkout` does not say where to"
    return [Diagnostic(what=what, where=where, next="projects: {deploy: link, checkout: /path/of/this/package}")]


def _names(found: Manifest, where: str) -> list[Diagnostic]:
    bad = []
    if not _NAME.match(found.name):
        bad.append(f"{found.name!r} cannot name a package")
    bad += [
        f"{name!r} cannot name a {kind}" for kind, names in _named(found) for name in names if not _OPTION.match(name)
    ]
    layers = [layer.name for layer in found.layers]
    bad += [f"the layer {name!r} stands here twice" for name in set(layers) if layers.count(name) > 1]
    return [Diagnostic(what=what, where=where, next="use letters, digits, - and _") for what in bad]


def _named(found: Manifest) -> list[tuple[str, list[str]]]:
    return [("feature", list(found.features)), ("setting", list(found.settings)), ("secret", list(found.secrets)),
            ("layer", [layer.name for layer in found.layers])]  # fmt: skip


def lone_manifest(script: str) -> Manifest:
    """A lone .star file is the smallest package: named for the file."""
    name = re.sub(r"[^a-z0-9._-]", "-", os.path.basename(script).removesuffix(".star").lower()) or "package"
    return Manifest(name=name.lstrip("._-") or "package")


def check_platform(manifest: Manifest, target: Platform, where: str) -> None:
    """Raises BadInput when the package is not made for the target."""
    if not manifest.platforms:
        return
    here = "/".join(part for part in (target.os, target.distro) if part)
    for wanted in manifest.platforms:
        if here == wanted or here.startswith(wanted + "/"):
            return
    raise BadInput.of(
        f"{manifest.name} is not made for {here}",
        where=where,
        why=f"its platforms are {', '.join(manifest.platforms)}",
        next="build for one of them with --target",
    )
