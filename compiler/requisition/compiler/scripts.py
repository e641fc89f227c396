"""The Starlark files of a package: read once, bounded, and matched to phases."""

import os
import re

from requisition.compiler.manifest import Manifest
from requisition.compiler.nesting import nesting_depth
from requisition.compiler.request import Limits
from requisition.compiler.variants import PackageFiles
from requisition.schemas.diagnostic import BadInput, Diagnostic

MAX_DEPTH = 200
SHARED = "package.star"
TEARDOWN = "teardown"
_LIKE_A_PHASE = re.compile(r"^def ([a-zA-Z]\w*)\s*\(\s*package\s*,\s*phase\s*\)", re.MULTILINE)


def read_scripts(files: PackageFiles, limits: Limits) -> dict[str, str]:
    """Text of every script that the target gets, by its path in the package. Raises BadInput for text that
    is not UTF-8, too large, or nested so deeply that the parser could be hurt."""
    texts: dict[str, str] = {}
    findings: list[Diagnostic] = []
    total = 0
    for name, place in files.scripts().items():
        try:
            with open(os.path.join(files.folder, place), "rb") as file:
                data = file.read(limits.script_bytes + 1)
            total += len(data)
            if total > limits.script_bytes:
                raise BadInput.of(f"the scripts are larger than {limits.script_bytes} bytes together", where=name)
            texts[name] = data.decode("utf-8")
            if "\0" in texts[name]:
                raise UnicodeError("it holds a NUL")
        except (UnicodeError, OSError) as error:
            findings.append(Diagnostic(what=f"the script is not readable UTF-8 text: {error}", where=name))
            continue
        depth, line = nesting_depth(texts[name])
        if depth > MAX_DEPTH:
            findings.append(
                Diagnostic(
                    what=f"nested deeper than {MAX_DEPTH}",
                    where=f"{name}:{line}:1",
                    next="use a list, a loop or a function",
                )
            )
    if findings:
        raise BadInput(findings)
    return texts


def phase_scripts(
    manifest: Manifest, scripts: dict[str, str], lone: str, phases: tuple[str, ...]
) -> list[tuple[str, str]]:
    """(phase, script that defines its function), in the order of `phases`. Raises BadInput when there is none."""
    shared = lone or SHARED
    if shared in scripts:
        _check_forgotten(manifest, shared, scripts[shared])
    found = []
    for phase in phases:
        own = f"{phase}.star"
        for script in (lone,) if lone else (own, SHARED):
            if script in scripts and definition(phase, scripts[script]):
                found.append((phase, script))
                break
        else:
            if not lone and own in scripts:
                raise BadInput.of(
                    f"{own} does not define the function {phase}",
                    where=f"{own}:1:1",
                    next=f"write: def {phase}(package, phase):",
                )
    if not found:
        raise BadInput.of(
            "the package has no phase",
            where=lone or SHARED,
            why=f"none of {', '.join(phases)} is defined",
            next=f"write: def {'install' if 'install' in phases else phases[0]}(package, phase):",
        )
    return found


def _check_forgotten(manifest: Manifest, script: str, text: str) -> None:
    """Raises BadInput for a function that has the form of a phase, is none, and is used nowhere: it would be left
    out without a word."""
    for match in _LIKE_A_PHASE.finditer(text):
        name = match[1]
        if name not in (*manifest.phases, TEARDOWN) and len(re.findall(rf"\b{name}\b", text)) == 1:
            raise BadInput.of(
                f"{name} looks like a phase, and is none",
                where=f"{script}:{text.count(chr(10), 0, match.start()) + 1}:5",
                why=f"the phases are {', '.join(manifest.phases)}",
                next="list it under `phases` in package.yaml, or begin its name with _ if it is not meant as one",
            )


def definition(phase: str, text: str) -> re.Match[str] | None:
    """Where a script defines the function of a phase."""
    return re.search(rf"^def {re.escape(phase)}\s*\(", text, re.MULTILINE)
