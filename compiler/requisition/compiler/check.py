"""Static checks: what can be said of scripts before anything is evaluated. Runs in the evaluation child.

Starlark's checker knows names that are defined or loaded, but nothing of `plan.file.copy`, a field of a
struct. So the checked text says `plan_file_copy` instead: as long as the original, so that every position
stays true, and loaded, at the end of the file, from typed stubs that the catalogue gives.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any

import starlark

from requisition.compiler.prelude import EVERY_CALL, FLOW, GLOBALS
from requisition.compiler.scripterror import excerpt
from requisition.compiler.tokens import code_only
from requisition.schemas.diagnostic import Diagnostic
from requisition.stdlib.spec import ActionSpec

_ANY = "typing.Any"
_TYPES = {
    "string": "str",
    "int": "int",
    "bool": "bool",
    "path": "str",
    "input": "str",
    "content": "str",
    "mode": "int",
    "duration": "str | int",
    "strings": f"list[{_ANY}]",
    "dict": f"dict[{_ANY}, {_ANY}]",
    "any": _ANY,
}
_UNIVERSAL = {"after": _ANY, "retry": _ANY, "on_conflict": "str", "id": "str", "note": "str"}
_FLOW_STUBS = {
    "gather": f"items: {_ANY}, body: {_ANY}, limit: int = 0, *, UNIVERSAL",
    "choose": f"input: {_ANY} = None, cases: list[{_ANY}] = [], default: {_ANY} = None, *, UNIVERSAL",
    "wait_until": f"input: {_ANY}, predicate: str, timeout: str | int = 0, interval: str | int = 0, *, UNIVERSAL",
    "complete": "message: str = '', *, UNIVERSAL",
    "degraded": "message: str = '', *, UNIVERSAL",
    "fatal": "message: str = '', *, UNIVERSAL",
    "elevate": f"body: {_ANY}",
    "retry": "max_attempts: int, backoff: str = '', initial_delay: str | int = 0, max_delay: str | int = 0",
    "field": f"item: {_ANY}, name: str",
    "source": "path: str",
    "secret": "name: str",
    "deploy": f"package: str, features: list[str] = [], without: list[str] = [], settings: dict[str, {_ANY}] = {{}}",
    "projects": f"layers: {_ANY} = None, data: dict[str, {_ANY}] = {{}}",
}
_CALL = re.compile(r"(?<![\w.])plan((?:\s*\.\s*[A-Za-z_]\w*)+)")
_SHADOW = re.compile(
    r"^[ \t]*(?:def[ \t]+)?(plan|note|warn|error|success|fail)[ \t]*(?:=(?!=)|\((?=[^()\n]*\)[^\n]*:[ \t]*$))",
    re.M,
)
_LINTS = ("missing-return", "unreachable", "duplicate-key", "unused-load", "unused-assign")
_MESSAGE = re.compile(r"^error: (.*?)$", re.MULTILINE)
_SPAN = re.compile(r"^ *--> .+?:(\d+):(\d+)", re.MULTILINE)
_LIBRARIES = (
    "StructType",
    "RecordType",
    "EnumType",
    "Map",
    "Filter",
    "Partial",
    "Json",
    "Typing",
    "CallStack",
)
_EMPTY = "PLACEHOLDER = 0\n"


def check_files(
    files: Mapping[str, str], std: Mapping[str, str], catalogue: Mapping[str, ActionSpec]
) -> list[Diagnostic]:
    """Findings in all files, by file and line."""
    return _Checker(files, std, catalogue).run()


def stubs(catalogue: Mapping[str, ActionSpec]) -> str:
    """Typed stubs of everything that `plan` has. What a call returns may stand for any value."""
    every = ", ".join(f"{name}: {_UNIVERSAL[name]} | None = None" for name in EVERY_CALL)
    made = []
    for name, spec in catalogue.items():
        if name.startswith(FLOW):
            continue
        parameters = [
            f"{slot.name}: {_TYPES[slot.type]}" + ("" if slot.required else " | None = None") for slot in spec.slots
        ]
        made.append(f"def {_flat(name)}({', '.join([*parameters, '*', every])}) -> {_ANY}:\n    pass\n")
    for name, signature in _FLOW_STUBS.items():
        made.append(f"def plan_{name}({signature.replace('UNIVERSAL', every)}) -> {_ANY}:\n    pass\n")
    made += [f"def {name}(text: {_ANY}):\n    pass\n" for name in GLOBALS if name != "plan"]
    return "".join(made)


def _flat(action: str) -> str:
    return "plan_" + action.replace(".", "_").replace("-", "_")


class _Checker:
    def __init__(self, files: Mapping[str, str], std: Mapping[str, str], catalogue: Mapping[str, ActionSpec]) -> None:
        self._files = files
        self._std = std
        self._catalogue = catalogue
        self._dialect = starlark.Dialect.extended()
        extensions = [getattr(starlark.LibraryExtension, name) for name in _LIBRARIES]
        self._globals = starlark.Globals.extended_by(extensions)
        self._interfaces: dict[str, Any] = {}
        self._findings: list[Diagnostic] = []
        self._plan = self._interface("@plan", stubs(catalogue), {})

    def run(self) -> list[Diagnostic]:
        for name in self._files:
            self._check(name, ())
        order = list(self._files)
        return sorted(self._findings, key=lambda one: (order.index(one.where.split(":")[0]), _numbers(one.where)))

    def _check(self, name: str, above: tuple[str, ...]) -> Any:
        """The interface of a file, after checking it and what it loads."""
        if name in self._interfaces:
            return self._interfaces[name]
        own = name in self._files
        text = self._files[name] if own else self._std.get(name.removeprefix("@std//"), _EMPTY)
        self._interfaces[name] = self._plan  # stands in while a cycle is being looked at
        try:
            tree = starlark.parse(name, text, self._dialect)
        except starlark.StarlarkError as error:
            self._report(name, str(error))
            return self._interfaces[name]
        loads = {"@plan": self._plan}
        for load in tree.loads():
            found = self._loaded(name, load.module_id, above)
            if found is not None:
                loads[load.module_id] = found
        code = code_only(text)
        if own:
            self._lint(name, tree, text)
            self._shadows(name, code, text)
        rewritten = self._rewrite(name, text, code) if own else self._rewrite("", text, code)
        if len(loads) == len({load.module_id for load in tree.loads()}) + 1:
            self._interfaces[name] = self._interface(name, rewritten, loads)
        return self._interfaces[name]

    def _loaded(self, name: str, wanted: str, above: tuple[str, ...]) -> Any:
        if wanted in above or wanted == name:
            self._at(name, 1, 1, f"{wanted} is loaded in a circle: {' → '.join([*above, name, wanted])}", "load")
            return None
        if wanted in self._files or wanted.removeprefix("@std//") in self._std:
            return self._check(wanted, (*above, name))
        line = next((n for n, t in enumerate(self._files.get(name, "").splitlines(), 1) if wanted in t), 1)
        near = difflib.get_close_matches(wanted, [*self._files, *(f"@std//{one}" for one in self._std)], 1)
        advice = f"did you mean {near[0]!r}?" if near else "only files of the package and of @std can be loaded"
        self._at(name, line, 1, f"there is no {wanted!r} to load", "load", advice)
        return None

    def _interface(self, name: str, text: str, loads: Mapping[str, Any]) -> Any:
        try:
            errors, interface, _ = starlark.parse(name, text, self._dialect).typecheck(self._globals, dict(loads))
        except starlark.StarlarkError as error:
            self._report(name, str(error))
            return self._interfaces.get(name)
        for found in errors:
            self._report(name, str(found))
        return interface

    # single checks -------------------------------------------------------------------------------

    def _rewrite(self, name: str, text: str, code: str) -> str:
        """`plan.file.copy` becomes `plan_file_copy` wherever it is code; unknown actions are reported."""
        parts, end, used = [], 0, set()
        for found in _CALL.finditer(code):
            fields = [field.strip() for field in found[1].split(".")[1:]]
            flat = self._known(fields)
            if flat is None:
                if name:
                    self._unknown(name, code, found, fields)
                continue
            length = len(flat) if " " not in found[0] else 0
            if length and code.startswith(found[0], found.start()):
                parts += [text[end : found.start()], flat]
                end = found.start() + length
                used.add(flat)
        rewritten = "".join([*parts, text[end:]])
        names = sorted(used | {one for one in GLOBALS if one != "plan" and re.search(rf"\b{one}\s*\(", code)})
        loads = ", ".join(f'"{one}"' for one in names)
        return f'{rewritten.rstrip()}\nload("@plan", {loads})\n' if names else rewritten

    def _known(self, fields: list[str]) -> str | None:
        for count in (2, 1):
            action = ".".join(fields[:count])
            if (count == 2 and action in self._catalogue) or (count == 1 and action in _FLOW_STUBS):
                return _flat(action)
        return None

    def _unknown(self, name: str, code: str, found: re.Match[str], fields: list[str]) -> None:
        namespaces = {action.partition(".")[0] for action in self._catalogue if not action.startswith(FLOW)}
        if fields == fields[:1] and fields[0] in namespaces:
            return  # the namespace itself, passed on as a value
        wanted = ".".join(fields[:2]) if fields[0] in namespaces or len(fields) > 1 else fields[0]
        known = [action for action in self._catalogue if not action.startswith(FLOW)] + list(_FLOW_STUBS)
        near = difflib.get_close_matches(wanted, known, 1)
        line = code.count("\n", 0, found.start()) + 1
        column = found.start() - code.rfind("\n", 0, found.start())
        advice = f"did you mean plan.{near[0]}?" if near else "plan actions lists them all"
        self._at(name, line, column, f"there is no plan.{wanted}", "unknown-action", advice)

    def _lint(self, name: str, tree: Any, text: str) -> None:
        for lint in tree.lint():
            if lint.short_name not in _LINTS or "Unused assignment of `_" in lint.problem:
                continue
            place = lint.resolved_location.span.begin
            where = f"{name}:{place.line + 1}:{place.column + 1}"
            self._findings.append(
                Diagnostic(
                    what=lint.problem.replace("due to " + name, "because of line"),
                    where=where,
                    severity="warning",
                    code=lint.short_name,
                    excerpt=excerpt(text, place.line + 1, place.column + 1),
                )
            )

    def _shadows(self, name: str, code: str, text: str) -> None:
        for found in _SHADOW.finditer(code):
            if text[found.start() : found.end()].strip() != code[found.start() : found.end()].strip():
                continue
            if found[0].endswith("(") and not found[0].lstrip().startswith("def"):
                continue
            line = code.count("\n", 0, found.start(1)) + 1
            column = found.start(1) - code.rfind("\n", 0, found.start(1))
            advice = "choose another name"
            self._at(name, line, column, f"{found[1]!r} is a name of the language of packages", "shadow", advice)

    # reporting -----------------------------------------------------------------------------------

    def _report(self, name: str, text: str) -> None:
        """An error of Starlark's, in a file of the package; those in stubs and @std are ours to test."""
        if name not in self._files:
            return
        message, span = _MESSAGE.search(text), _SPAN.search(text)
        what = message[1].removeprefix("Parse error: ") if message else text.strip().splitlines()[0]
        line, column = (int(span[1]), int(span[2])) if span else (1, 1)
        self._at(name, line, column, what, "syntax" if "Parse error" in text else "type")

    def _at(self, name: str, line: int, column: int, what: str, code: str, advice: str = "") -> None:
        if name not in self._files:
            return
        where = f"{name}:{line}:{column}"
        shown = excerpt(self._files[name], line, column)
        finding = Diagnostic(what=what, where=where, next=advice, excerpt=shown, code=code)
        if finding not in self._findings:
            self._findings.append(finding)


def _numbers(where: str) -> Iterable[int]:
    return tuple(int(part) for part in where.split(":")[1:] if part.isdigit())
