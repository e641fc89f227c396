"""Layers of projects: plain files that mirror the target, and which of several wins a target.

Below a layer's folder each project is a folder whose files lie as they will lie below the target root.
Suffixes choose by platform (`gitconfig.Linux.Debian`), `.tmpl` is rendered, `.age` and `.sops.*` are decrypted
(`token.Linux.age` → `token`, `app.Linux.sops.yaml` → `app.yaml`). The rule where several files
want one target: the later layer wins; within a layer the more specific suffix; then the later project by
name. Every loser is recorded as a collision.
"""

import os
from collections.abc import Iterable, Mapping
from posixpath import basename, dirname
from typing import Any, Literal

from msgspec import Struct

from requisition.compiler.manifest import Layer, Manifest
from requisition.compiler.packages import Package
from requisition.compiler.recording import Call, LayersCall
from requisition.compiler.request import PackageFacts
from requisition.compiler.variants import PackageFiles, specificity, split_suffixes
from requisition.schemas.diagnostic import BadInput
from requisition.schemas.document import Collision, Source

_SOPS = (".sops.yaml", ".sops.yml", ".sops.json", ".sops.env")
_SECRET_MODE = 0o600


class Candidate(Struct, frozen=True):
    """A file that wants a target."""

    target: str
    path: str
    layer: str
    project: str
    rank: tuple[int, int, str]
    form: Literal["plain", "template", "encrypted"]

    def source(self, prefix: str) -> Source:
        """For the collision record; `prefix` is the folder of a nested package."""
        return Source(prefix + self.path, self.layer, self.rank[1])


class Deployed(Struct, frozen=True):
    """The calls that deploy a set of layers, each with (project, layer), and what lost."""

    calls: list[tuple[Call, str, str]]
    collisions: list[Collision]


def deploy(asked: LayersCall, package: Package, segments: tuple[str, ...]) -> Deployed:
    """Expand one `plan.projects`. Raises BadInput for unknown layers, and for encrypted files without a key."""
    manifest, facts, prefix = package.manifest, package.facts, package.prefix
    layers = _chosen(asked, manifest)
    wanting: dict[str, list[Candidate]] = {}
    for candidate in _candidates(layers, facts, package.files, segments, asked.location):
        wanting.setdefault(candidate.target, []).append(candidate)
    chosen: list[Candidate] = []
    collisions: list[Collision] = []
    for target in sorted(wanting):
        *losers, winner = sorted(wanting[target], key=lambda one: one.rank)
        chosen.append(winner)
        collisions += [Collision(target, winner.source(prefix), loser.source(prefix)) for loser in losers]
    _need_identity(chosen, manifest, asked.location)
    data = _template_data(facts, asked.options.get("data") or {})
    modes = {path: int(mode, 8) for path, mode in manifest.projects.modes.items()}
    checkout = package.checkout if manifest.projects.deploy == "link" else ""
    calls = list(_calls(chosen, asked, checkout, data, modes, manifest.projects.identity))
    return Deployed(calls, collisions)


def _chosen(asked: LayersCall, manifest: Manifest) -> list[Layer]:
    names = asked.options.get("layers")
    if names is None:
        return manifest.layers
    known = {layer.name: layer for layer in manifest.layers}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise BadInput.of(
            f"the package has no layer {unknown[0]!r}",
            where=asked.location,
            why=f"its layers are {', '.join(known) or 'none'}",
            next="declare it under `layers` in package.yaml",
        )
    return [layer for layer in manifest.layers if layer.name in names]


def _candidates(
    layers: Iterable[Layer],
    facts: PackageFacts,
    files: PackageFiles,
    segments: tuple[str, ...],
    location: str,
) -> Iterable[Candidate]:
    for rank, layer in enumerate(layers):
        prefix = layer.path.strip("/") + "/"
        if not os.path.isdir(f"{files.folder}/{prefix}"):
            what = f"the layer {layer.name!r} has no folder {layer.path!r}"
            raise BadInput.of(what, where=location, next="make it, or correct the layer's path in package.yaml")
        for path in files.below(prefix):
            project, _, inner = path.removeprefix(prefix).partition("/")
            if not inner:
                continue  # a file beside the projects: a README, a licence
            if not path.isprintable():
                what = f"{path!r} cannot be deployed: its name is not printable UTF-8"
                raise BadInput.of(what, where=location, next="rename it, or leave it out of the layer")
            form, stem, ending = _form(inner, path, location)
            plain, suffixes = split_suffixes(basename(stem), segments)
            score = specificity(suffixes, facts.platform, segments)
            if score is not None:
                folder = dirname(stem)
                target = f"/{folder}/{plain}{ending}" if folder else f"/{plain}{ending}"
                yield Candidate(target, path, layer.name, project, (rank, score, project), form)


def _form(inner: str, path: str, location: str) -> tuple[Literal["plain", "template", "encrypted"], str, str]:
    """(how the file is put in place, its name without the suffix that says so, the ending it keeps)."""
    sops = next((suffix for suffix in _SOPS if inner.endswith(suffix)), "")
    if sops and basename(inner) in (".sops.yaml", ".sops.yml"):
        what = f"{path} says how sops encrypts, and is no file for the target"
        raise BadInput.of(what, where=location, next="move it above the layer's projects")
    if sops:
        return "encrypted", inner.removesuffix(sops), sops.removeprefix(".sops")
    if inner.endswith(".tmpl.age"):
        what = f"{path} is an encrypted template, and templates are rendered as they lie in the package"
        raise BadInput.of(what, where=location, next="encrypt the value, and give it to plan.template.render as data")
    if inner.endswith(".age"):
        return "encrypted", inner.removesuffix(".age"), ""
    return ("template", inner.removesuffix(".tmpl"), "") if inner.endswith(".tmpl") else ("plain", inner, "")


def _need_identity(chosen: list[Candidate], manifest: Manifest, location: str) -> None:
    encrypted = next((one.path for one in chosen if one.form == "encrypted"), "")
    if encrypted and not manifest.projects.identity:
        raise BadInput.of(
            f"{encrypted} is encrypted, and nothing says which secret opens it",
            where=location,
            next="in package.yaml: projects: {identity: age_key} and secrets: {age_key: what it is}",
        )


def _template_data(facts: PackageFacts, data: Mapping[str, Any]) -> dict[str, Any]:
    """What every template of a layer may use: settings, features by name, the platform, and `data`."""
    known = {"os": facts.platform.os, "distro": facts.platform.distro, "arch": facts.platform.arch}
    return {**known, "features": list(facts.features), **facts.settings, **data}


def _calls(
    chosen: list[Candidate],
    asked: LayersCall,
    checkout: str,
    data: dict[str, Any],
    modes: Mapping[str, int],
    identity: str,
) -> Iterable[tuple[Call, str, str]]:
    made: set[str] = set()
    for one in chosen:
        for folder in _folders(one.target):
            if folder not in made:
                made.add(folder)
                mkdir = {"path": folder, "mode": modes.get(folder, 0o755)}
                yield _call("file.mkdir", mkdir, asked), one.project, one.layer
        slots: dict[str, Any] = {"source": one.path, "path": one.target}
        action = "file.copy"
        if one.target in modes:
            slots["mode"] = modes[one.target]
        if one.form == "encrypted":
            action = "encryption.decrypt"
            slots = {"mode": _SECRET_MODE, **slots, "identity": {"_secret": identity}}
        elif one.form == "template":
            action, slots = "template.render", {**slots, "data": data}
        elif checkout:
            action, slots = "file.link", {"target": f"{checkout.rstrip('/')}/{one.path}", "path": one.target}
        yield _call(action, slots, asked), one.project, one.layer


def _call(action: str, slots: dict[str, Any], asked: LayersCall) -> Call:
    return Call(action, slots, None, None, None, None, None, asked.location, asked.phase)


def _folders(target: str) -> list[str]:
    found, parent = [], dirname(target)
    while parent != "/":
        found.append(parent)
        parent = dirname(parent)
    return found[::-1]
