"""The build: package in, order out. Passes in one direction, each taking the last one's record whole.

manifest → files for the target → check and evaluate (child), or read actions (declared) → layers → link → order
"""

import gc
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files as resources
from typing import Self

from msgspec import Struct
from msgspec.structs import replace

from requisition.compiler import declared, projects, settings
from requisition.compiler.evaluate import Job
from requisition.compiler.inputs import InputTable
from requisition.compiler.link import Linked, Linker, Origin
from requisition.compiler.manifest import MANIFEST
from requisition.compiler.packages import Package, kind_of, open_nested, open_package
from requisition.compiler.prelude import prelude
from requisition.compiler.recording import Recording
from requisition.compiler.request import BuildRequest, BuildResult, Limits
from requisition.compiler.sandbox import run_child
from requisition.compiler.scripts import TEARDOWN, phase_scripts, read_scripts
from requisition.schemas.canonical import encode
from requisition.schemas.diagnostic import BadInput, Diagnostic
from requisition.schemas.document import ORDER_VERSION, Collision, Context, Input, Order, Secret
from requisition.schemas.version import TOOL
from requisition.stdlib import catalogue as catalogues
from requisition.stdlib.catalogue import Catalogue

MAX_NESTING = 8
INSTALL = "install"


class Parts(Struct):
    """What packages gather for the order."""

    linked: Linked
    inputs: dict[str, Input] = {}
    contents: dict[str, str] = {}
    collisions: list[Collision] = []
    secrets: dict[str, str] = {}
    warnings: list[Diagnostic] = []
    layers: list[str] = []

    @classmethod
    def joined(cls, several: Iterable[Self]) -> Self:
        """What several packages gather together."""
        whole = cls(Linked([], []))
        for one in several:
            whole.linked.phases += one.linked.phases
            whole.linked.nodes += one.linked.nodes
            whole.inputs.update(one.inputs)
            whole.contents.update(one.contents)
            whole.collisions += one.collisions
            whole.secrets.update(one.secrets)
            whole.warnings += one.warnings
            whole.layers += one.layers
        return whole


def build(request: BuildRequest) -> BuildResult:
    """Build an order. Raises BadInput with every finding of the step that failed."""
    with all_is_kept():
        catalogue = catalogues.load()
        package = open_package(request)
        parts = build_package(package, request, catalogue, ())
        order = order_of(package, request, parts)
        encode(order.context)  # what the caller gave must be text; slots and settings were looked at one by one
    return BuildResult(order, tuple(parts.warnings), parts.contents)


@contextmanager
def all_is_kept() -> Iterator[None]:
    """No garbage collection: nearly all that a build makes it keeps, and walking it again and again would
    cost as much as the build."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def check(request: BuildRequest) -> tuple[Diagnostic, ...]:
    """Static findings of a package, without evaluating its scripts. Raises BadInput for a bad manifest, and for
    actions that could not be done."""
    package = open_package(request)
    catalogue = catalogues.load()
    package = replace(package, checkout=package.checkout or package.folder)  # any will do: no order is kept
    findings: list[Diagnostic] = []
    if kind_of(package) == "scripted":
        job = _job(package, request.limits, catalogue, package.manifest.phases)
        findings += run_child(job, request.limits, catalogue, check_only=True, start=package.start)[0]
    else:
        findings += build_package(package, replace(request, teardown=False), catalogue, ()).warnings
    if package.manifest.teardown is not None:
        findings += build_package(package, replace(request, teardown=True), catalogue, ()).warnings
    return tuple(dict.fromkeys(findings))


def build_package(package: Package, request: BuildRequest, catalogue: Catalogue, outer: tuple[str, ...]) -> Parts:
    """What one package gives to an order; `outer` are the names of those that nest it. Raises BadInput."""
    findings, recording = _recorded(package, request, catalogue)
    written = list(range(len(recording.calls)))
    origins, collisions = _deploy_layers(package, recording, request, written)
    inputs = InputTable(package.files, package.prefix)
    for path, location in recording.pinned:
        inputs.pin(path, location)
    name = "/".join([*outer, package.manifest.name])
    linker = Linker(name, recording, catalogue, inputs, origins, written)
    parts = Parts(linker.link(), inputs.inputs(), inputs.places(), collisions, warnings=findings)
    parts.secrets = _secrets(package, recording, parts.linked.secrets)
    parts.layers = [layer.name for layer in package.manifest.layers] if recording.layers else []
    return _with_nested(parts, package, recording, request, catalogue, (*outer, package.manifest.name))


def _recorded(package: Package, request: BuildRequest, catalogue: Catalogue) -> tuple[list[Diagnostic], Recording]:
    """(what is worth a warning, the recording), with the places of a nested package below its folder. Raises
    BadInput when the check found errors, a script failed, or it said `error`."""
    try:
        findings, recording = _read(package, request, catalogue)
    except BadInput as failure:
        raise BadInput(_below(package, failure.diagnostics)) from failure
    findings = _below(package, findings)
    if recording is not None:
        recording.below(package.prefix)
        findings += [Diagnostic(what=one.text, where=one.location, severity=one.kind) for one in recording.said]
    errors = [one for one in findings if one.severity == "error"]
    if errors or recording is None:
        raise BadInput(errors)
    return findings, recording


def _read(package: Package, request: BuildRequest, catalogue: Catalogue) -> tuple[list[Diagnostic], Recording | None]:
    """What a package's actions or scripts ask for."""
    manifest, kind, teardown = package.manifest, kind_of(package), request.teardown
    if teardown and kind != "scripted" and manifest.teardown is None:
        raise BadInput.of(
            f"{manifest.name} has no teardown of its own",
            where=MANIFEST,
            why="without one, a package is taken away by what its receipt says was done",
            next="write what is to be done under `teardown`",
        )
    if teardown and manifest.teardown is not None:
        return _mismatches(package, request, catalogue), declared.record(package, "teardown", TEARDOWN)
    if kind == "scripted":
        phases = (TEARDOWN,) if teardown else manifest.phases
        job = _job(package, request.limits, catalogue, phases)
        return run_child(job, request.limits, catalogue, check_only=False, start=package.start)
    return _mismatches(package, request, catalogue), declared.record(package, "actions", INSTALL)


def _mismatches(package: Package, request: BuildRequest, catalogue: Catalogue) -> list[Diagnostic]:
    """Settings that do not match their patterns, which only the child tries."""
    if not settings.pattern_checks(package.manifest, package.facts.settings):
        return []
    job = _job(package, request.limits, catalogue, ())
    return run_child(job, request.limits, catalogue, check_only=True, start=package.start)[0]


def _below(package: Package, findings: Iterable[Diagnostic]) -> list[Diagnostic]:
    if not package.prefix:
        return list(findings)
    return [replace(one, where=package.prefix + one.where) if one.where else one for one in findings]


def _job(package: Package, limits: Limits, catalogue: Catalogue, phases: tuple[str, ...]) -> Job:
    """An evaluation of these phases; of none, only settings are checked."""
    facts = package.facts
    scripts = read_scripts(package.files, limits) if phases else {}
    return Job(
        scripts,
        standard_library(),
        prelude(catalogue),
        phase_scripts(package.manifest, scripts, package.script, phases) if phases else [],
        settings.pattern_checks(package.manifest, facts.settings),
        {
            "name": facts.name,
            "version": facts.version,
            "target_root": facts.target_root,
            "features": list(facts.features),
            "declared": sorted(package.manifest.features),
            "settings": facts.settings,
            "os": facts.platform.os,
            "distro": facts.platform.distro,
            "arch": facts.platform.arch,
        },
        limits.cpu_seconds,
        limits.call_depth,
        limits.nodes,
        limits.order_bytes,
    )


def standard_library() -> dict[str, str]:
    """The files of `@std//`, by name."""
    folder = resources("requisition.stdlib").joinpath("star")
    return {one.name: one.read_text("utf-8") for one in folder.iterdir() if one.name.endswith(".star")}


def _deploy_layers(
    package: Package, recording: Recording, request: BuildRequest, written: list[int]
) -> tuple[dict[int, Origin], list[Collision]]:
    """Add the calls that each `plan.projects` stands for. Calls keep their numbers, which promises name;
    `written` gains the new ones at the place of the `plan.projects`, so that order is as written."""
    origins: dict[int, Origin] = {}
    collisions: list[Collision] = []
    for asked in reversed(recording.layers):
        first = len(recording.calls)
        deployed = projects.deploy(asked, package, request.segments)
        collisions += deployed.collisions
        for call, project, layer in deployed.calls:
            origins[len(recording.calls)] = Origin(project, layer)
            recording.calls.append(call)
        written[asked.position : asked.position] = range(first, len(recording.calls))
    return origins, collisions


def _secrets(package: Package, recording: Recording, used: Mapping[str, str]) -> dict[str, str]:
    declared = package.manifest.secrets
    places = {**dict(recording.secrets), **used}
    unknown = [name for name in used if name not in declared and not package.script]
    if unknown:
        raise BadInput(
            Diagnostic(
                what=f"the secret {name!r} is not declared",
                where=places[name],
                next=f"add it to package.yaml: secrets: {{{name}: what it is}}",
            )
            for name in unknown
        )
    return {name: declared.get(name, "") for name in used}


def _with_nested(
    parts: Parts,
    package: Package,
    recording: Recording,
    request: BuildRequest,
    catalogue: Catalogue,
    outer: tuple[str, ...],
) -> Parts:
    """Phases of a nested package come before the phase that asked for it."""
    if len(outer) > MAX_NESTING:
        raise BadInput.of(f"packages are nested deeper than {MAX_NESTING}", where=" → ".join(outer))
    before: dict[int, list[Linked]] = {}
    for nested in recording.nested:
        inner = build_package(open_nested(package, nested, request), request, catalogue, outer)
        before.setdefault(nested.phase, []).append(inner.linked)
        parts.inputs.update(inner.inputs)
        parts.contents.update(inner.contents)
        parts.collisions += inner.collisions
        parts.secrets.update(inner.secrets)
        parts.warnings += inner.warnings
    if before:
        own = parts.linked
        phases = []
        for number, phase in enumerate(own.phases):
            phases += [inner for linked in before.get(number, ()) for inner in linked.phases]
            phases.append(phase)
        names = [phase.id for phase in phases]
        if len(set(names)) != len(names):
            raise BadInput.of("a package is deployed twice in one order", where=recording.nested[-1].location)
        nodes = [node for linked in before.values() for one in linked for node in one.nodes]
        parts.linked = Linked(phases, nodes + own.nodes)
    return parts


def order_of(package: Package, request: BuildRequest, parts: Parts) -> Order:
    """The order of a package with all that was gathered for it."""
    target, facts = request.target, package.facts
    name = "-".join(part for part in (facts.name, target.os, target.distro, target.arch) if part)
    return Order(
        ORDER_VERSION,
        f"{name}.{TEARDOWN}.order" if request.teardown else f"{name}.order",
        TOOL,
        target,
        Context(
            facts.name,
            facts.version,
            package.manifest.scope,
            facts.target_root,
            facts.features,
            facts.settings,
            request.segments,
            tuple(parts.layers),
            tuple(sorted({node.project for node in parts.linked.nodes if node.project})),
            tuple(sorted(request.hosts or package.manifest.hosts)),
        ),
        tuple(parts.linked.phases),
        tuple(parts.linked.nodes),
        tuple(parts.inputs[path] for path in sorted(parts.inputs)),
        tuple(parts.collisions),
        tuple(Secret(secret, parts.secrets[secret]) for secret in sorted(parts.secrets)),
        package.manifest.serial if request.serial is None else request.serial,
        request.expires,
    )
