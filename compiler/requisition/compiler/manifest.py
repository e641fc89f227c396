"""package.yaml: what a package is called, offers, needs, and runs on. Checked whole before anything else."""

import os
import re
from typing import Any, Literal

from msgspec import Struct, field

from requisition.compiler.declared_forms import Action
from requisition.compiler.manifest_rules import PHASES, problems
from requisition.compiler.settings import Setting
from requisition.schemas import strictyaml
from requisition.schemas.diagnostic import BadInput
from requisition.schemas.document import Platform
from requisition.schemas.findings import Problem, placed

MANIFEST = "package.yaml"
MAX_DEPTH = 32
EXTENSIONS = "x-*"
Kind = Literal["meta", "declarative", "scripted"]


class Feature(Struct, frozen=True, forbid_unknown_fields=True):
    """Something that can be switched on with `--with`."""

    doc: str = ""
    default: bool = False


class Layer(Struct, frozen=True, forbid_unknown_fields=True):
    """A folder of projects; later layers win over earlier ones."""

    name: str
    path: str


class Projects(Struct, frozen=True, forbid_unknown_fields=True):
    """How the files of layers are deployed. `modes` by target path, octal in quotes. Links need `checkout`:
    where the package's folder will lie on the target, since an order knows no path of the building machine.
    `identity` names the secret that opens encrypted files."""

    deploy: Literal["copy", "link"] = "copy"
    checkout: str = ""
    modes: dict[str, str] = {}
    identity: str = ""


class Child(Struct, frozen=True, forbid_unknown_fields=True):
    """A package of its own below this one: `path` relative to this folder (else the last part of `url`), at `ref`
    (branch, tag or commit) or the newest tag that `version` allows (`>=1.2,<2`)."""

    url: str
    path: str = ""
    ref: str = ""
    version: str = ""
    optional: bool = False

    @property
    def place(self) -> str:
        """Where it lies, relative to its parent's folder."""
        return self.path or self.url.rstrip("/").replace(":", "/").rpartition("/")[2].removesuffix(".git")


class Manifest(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file. Keys that begin with `x-` are for others, and kept in `extensions`."""

    name: str
    schema_version: Literal["1"] = "1"
    type: Kind | None = None
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
    children: list[Child] = []
    depends_on: list[str] = []
    actions: list[Action] | None = None
    teardown: list[Action] | None = None
    extensions: dict[str, Any] = field(default_factory=dict, name=EXTENSIONS)


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
    """The manifest in a text. Raises BadInput with every finding and its place."""
    value, positions = strictyaml.load(text, where, depth=MAX_DEPTH)
    wrong = []
    if isinstance(value, dict):
        version = value.get("schema_version", "1")
        if version != "1":
            value["schema_version"] = "1"
            what = f'schema_version: found {version!r}, expected the text "1"'
            wrong.append(Problem(("schema_version",), what, 'write schema_version: "1", in quotes'))
        others = {key: value.pop(key) for key in [*value] if key.startswith("x-")}
        value |= {EXTENSIONS: others} if others else {}
    try:
        found = strictyaml.typed(value, positions, where, Manifest)
    except BadInput as failure:
        raise BadInput([*(placed(one, positions, where) for one in wrong), *failure.diagnostics]) from failure
    wrong += problems(found)
    if wrong:
        raise BadInput(placed(one, positions, where) for one in wrong)
    return found


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
