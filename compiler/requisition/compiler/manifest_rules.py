"""What a manifest must keep to beyond its types: names, paths, phases, and settings that can be met."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from requisition.compiler.child_rules import child_problems
from requisition.compiler.declared_rules import action_problems
from requisition.compiler.settings import check_fragment, check_value
from requisition.schemas.findings import Problem

if TYPE_CHECKING:
    from requisition.compiler.manifest import Manifest

PHASES = ("prepare", "install", "provision", "verify")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}\Z")
_OPTION = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,62}\Z")
_PHASE = re.compile(r"[a-z_][a-z0-9_]{0,62}\Z")
_PLATFORM = re.compile(r"[a-z0-9_]+(/[a-z0-9._-]+)?\Z")
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}\Z")
_MODE = re.compile(r"[0-7]{3,4}\Z")
_MAX_SERIAL = 1 << 53
_LETTERS = "use letters, digits, - and _"


def problems(found: "Manifest") -> list[Problem]:
    """Everything, in the order of the manifest's fields."""
    return [
        *_identity(found),
        *_names(found),
        *_settings(found),
        *_phases(found),
        *_layers(found),
        *child_problems(found),
        *_actions(found),
    ]


def _identity(found: "Manifest") -> Iterator[Problem]:
    if not _NAME.match(found.name):
        yield Problem(("name",), f"{found.name!r} cannot name a package", "use small letters, digits, . - and _")
    if not 0 <= found.serial <= _MAX_SERIAL:
        yield Problem(("serial",), f"found {found.serial}, expected a number that only grows, from 0", "correct it")
    root = found.target_root
    if root and not root.startswith(("/", "~")):
        yield Problem(("target_root",), f"{root!r} is not a target root", "write /a/folder, ~, or nothing")
    for at, platform in enumerate(found.platforms):
        if not _PLATFORM.match(platform):
            yield Problem(("platforms", at), f"{platform!r} is not a platform", "write it as linux or linux/debian")
    for at, host in enumerate(found.hosts):
        if not _HOST.match(host):
            yield Problem(("hosts", at), f"{host!r} is not a host name", "write it as the machine's hostname says it")


def _names(found: "Manifest") -> Iterator[Problem]:
    for kind, names in (("features", found.features), ("settings", found.settings), ("secrets", found.secrets)):
        for name in names:
            if not _OPTION.match(name):
                yield Problem((kind, name), f"{name!r} cannot name one of {kind}", _LETTERS)


def _settings(found: "Manifest") -> Iterator[Problem]:
    for name, setting in found.settings.items():
        try:
            check_fragment(setting)
        except (ValueError, msgspec.ValidationError) as error:
            yield Problem(("settings", name), f"setting {name!r}: {error}", "see docs/package.md for its keywords")
            continue
        try:
            if setting.default is not None:
                check_value(setting, setting.default)
        except ValueError as error:
            yield Problem(("settings", name, "default"), f"the default of {name!r}: {error}", "correct it")


def _phases(found: "Manifest") -> Iterator[Problem]:
    for at, phase in enumerate(found.phases):
        if not _PHASE.match(phase):
            yield Problem(("phases", at), f"{phase!r} cannot name a phase", f"the usual ones are {', '.join(PHASES)}")
        elif phase in found.phases[:at]:
            yield Problem(("phases", at), f"the phase {phase!r} stands here twice", "remove one")


def _layers(found: "Manifest") -> Iterator[Problem]:
    seen: set[str] = set()
    for at, layer in enumerate(found.layers):
        if not _OPTION.match(layer.name):
            yield Problem(("layers", at, "name"), f"{layer.name!r} cannot name a layer", _LETTERS)
        if layer.name in seen:
            yield Problem(("layers", at, "name"), f"the layer {layer.name!r} stands here twice", "remove one")
        seen.add(layer.name)
        parts = layer.path.rstrip("/").split("/")
        if not all(parts) or {".", ".."} & set(parts):
            yield Problem(("layers", at, "path"), f"{layer.path!r} is not a folder of the package", "write it as base")
    for path, mode in found.projects.modes.items():
        where = ("projects", "modes", path)
        if not path.startswith("/"):
            yield Problem(where, f"{path!r} is not a target path", "write it from the target root, as /.ssh/config")
        if not _MODE.match(mode):
            yield Problem(where, f"{mode!r} is not a mode", 'write it in octal, as "0600"')
    if found.projects.identity and found.projects.identity not in found.secrets:
        name = found.projects.identity
        what = f"the secret {name!r} that opens encrypted files is not declared"
        yield Problem(("projects", "identity"), what, f"secrets: {{{name}: what it is}}")
    if found.projects.deploy == "link" and not found.projects.checkout.startswith("/"):
        what = "projects are deployed as links, and `checkout` does not say where to"
        yield Problem(("projects",), what, "projects: {deploy: link, checkout: /path/of/this/package}")


def _actions(found: "Manifest") -> Iterator[Problem]:
    if found.type in ("meta", "scripted") and found.actions is not None:
        what = f"a package of type {found.type} has no actions of its own"
        yield Problem(("actions",), what, "remove them, or write type: declarative")
    if found.type == "declarative" and found.actions is None:
        yield Problem(("type",), "a declarative package says what it does under `actions`", "add it; [] is nothing")
    yield from action_problems(found.actions or (), ("actions",))
    yield from action_problems(found.teardown or (), ("teardown",))
