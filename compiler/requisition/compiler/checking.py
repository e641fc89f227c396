"""Static checks: what can be said of scripts before anything is evaluated. Runs in the evaluation child.

Starlark's checker knows names that are defined or loaded, but nothing of `plan.file.copy`, a field of a
struct. So the checked text says `plan_file_copy` instead: as long as the original, so that every position
stays true, and loaded, at the end of the file, from typed stubs that the catalogue gives.

It checks what stands in functions. Statements at the top of a file are only parsed and linted.
"""

import difflib
import re
from collections.abc import Mapping
from typing import Any

import msgspec
import starlark

from requisition.compiler.bodies import copies
from requisition.compiler.dialect import dialect, library
from requisition.compiler.prelude import FLOW, GLOBALS
from requisition.compiler.scripterror import excerpt
from requisition.compiler.shadowing import RESERVED, shadowing
from requisition.compiler.stubs import callable_names, stub_name, stubs
from requisition.compiler.tokens import code_only, position, unclosed
from requisition.schemas.diagnostic import Diagnostic
from requisition.stdlib.spec import ActionSpec

_PLAN = re.compile(r"(?<![\w.])plan((?:\s*\.\s*[A-Za-z_]\w*)+)")
_FIELD = re.compile(r"[A-Za-z_]\w*")
_LOAD = re.compile(r"(?<![\w.])load\s*\([^)]*\)")
_SPOKEN = re.compile(rf"(?<![\w.])({'|'.join(GLOBALS)})\b")
_LINTS = frozenset(("missing-return", "unreachable", "duplicate-key", "unused-load", "unused-assign"))
_ALTERNATIVES = re.compile(r"(?: here)?, expected one of .*,.*")
_PLAINER = (
    ("Parse error: ", ""),
    ("`None | ", "`"),
    (" | tuple[str, ...]", ""),
    ("[typing.Never]", ""),
    ("[typing.Never, typing.Never]", ""),
)
_MESSAGE = re.compile(r"^error: (.*?)$", re.MULTILINE)
_SHOWN = re.compile(r"^\d+ +\|", re.MULTILINE)
_SPAN = re.compile(r"^ *--> .+?:(\d+):(\d+)", re.MULTILINE)
_STD = "@std//"


def interface_of(catalogue: Mapping[str, ActionSpec]) -> Any:
    """The types of everything that `plan` has: what the checks of many packages may share."""
    return starlark.parse("@plan", stubs(catalogue), dialect()).typecheck(library(), {})[1]


def check_files(
    files: Mapping[str, str], std: Mapping[str, str], catalogue: Mapping[str, ActionSpec], interface: Any = None
) -> list[Diagnostic]:
    """Findings in all `files` (path in the package → text), by file and place; errors, and lints as warnings.
    `std` holds what may be loaded as `@std//NAME`, `interface` the catalogue's if it is made already. The texts have
    passed `nesting_depth`."""
    return _Checker(files, std, catalogue, interface or interface_of(catalogue)).run()


class _Checker:
    def __init__(
        self, files: Mapping[str, str], std: Mapping[str, str], catalogue: Mapping[str, ActionSpec], interface: Any
    ) -> None:
        self._files = files
        self._lines = {name: text.split("\n") for name, text in files.items()}
        self._texts = {**files, **{_STD + name: text for name, text in std.items()}}
        self._calls = callable_names(catalogue)
        self._namespaces = {name.partition(".")[0] for name in self._calls if "." in name}
        self._dialect = dialect()
        self._globals = library()
        self._found: dict[str, list[tuple[int, int, Diagnostic]]] = {name: [] for name in files}
        self._stubs = interface
        self._interfaces: dict[str, Any] = {}

    def run(self) -> list[Diagnostic]:
        for name in self._files:
            self._check(name, ())
        return [one for found in self._found.values() for _, _, one in sorted(found, key=lambda at: at[:2])]

    def _check(self, name: str, above: tuple[str, ...]) -> Any:
        """The interface of a file, after checking it and what it loads; None if it cannot be read. A load
        without an interface gives values of any type."""
        if name in self._interfaces:
            return self._interfaces[name]
        text = self._texts[name]
        self._interfaces[name] = None
        try:
            tree = starlark.parse(name, text, self._dialect)
        except starlark.StarlarkError as error:
            self._syntax(name, str(error))
            return None
        code = code_only(text)
        interfaces = {"@plan": self._stubs}
        for load in tree.loads():
            found = self._loaded(name, code, load, above)
            if found is not None:
                interfaces[load.module_id] = found
        self._lint(name, tree)
        for offset in shadowing(code):
            word = _FIELD.match(code, offset)
            assert word is not None
            self._shadow(name, offset, word[0])
        self._interfaces[name] = self._interface(name, *self._rewritten(name, text, code), interfaces)
        return self._interfaces[name]

    def _interface(self, name: str, text: str, load: str, interfaces: Mapping[str, Any]) -> Any:
        copied = copies(text)
        tree = starlark.parse(name, text + copied.functions + load, self._dialect)
        errors, interface, _ = tree.typecheck(self._globals, dict(interfaces))
        lines = text.count("\n")
        for error in errors:
            what, line, column = _said(str(error))
            if line <= lines:
                self._add(name, line, column, Diagnostic(what=what, code="type"))
            elif not what.startswith("Variable "):  # variables around a lambda are unknown to its copy
                place = copied.origin(line - lines, column)
                if place is not None:
                    self._add(name, *place, Diagnostic(what=what, code="type"))
        return interface

    # calls of plan -------------------------------------------------------------------------------

    def _rewritten(self, name: str, text: str, code: str) -> tuple[str, str]:
        """`plan.file.copy` becomes `plan_file_copy` wherever it is code; unknown actions are reported.
        Returns that text, and the statement that loads the stubs."""
        parts: list[str] = []
        end, used = 0, set[str]()
        for found in _PLAN.finditer(code):
            fields = list(_FIELD.finditer(code, found.start(1), found.end()))
            known = self._known(fields)
            if known is None:
                self._unknown(name, found.start(), [field[0] for field in fields[:2]])
                continue
            stub, stop = known
            parts += [text[end : found.start()], stub, _gap(code[found.start() : stop], len(stub))]
            end = stop
            used.add(stub)
        used.update(_SPOKEN.findall(code))
        parts.append(text[end:])
        load = f'load("@plan", {", ".join(sorted(map(repr, used)))})\n' if used else ""
        return "".join(parts) + "\n", load

    def _known(self, fields: list[re.Match[str]]) -> tuple[str, int] | None:
        """(the stub, where its name ends in the text) of an action or flow function."""
        for count in (2, 1):
            call = ".".join(field[0] for field in fields[:count])
            if call in self._calls:
                return stub_name(call), fields[:count][-1].end()
        return None

    def _unknown(self, name: str, offset: int, fields: list[str]) -> None:
        if fields[0] in self._namespaces and len(fields) == 1:
            return  # the namespace itself, used as a value
        wanted = ".".join(fields)
        near = difflib.get_close_matches(wanted, sorted(self._calls), 1)
        advice = f"did you mean plan.{near[0]}?" if near else "`plan actions` lists what there is"
        if wanted.startswith(FLOW) and wanted.removeprefix(FLOW) in self._calls:
            advice = f"write plan.{wanted.removeprefix(FLOW)}"
        self._at(name, offset, f"there is no plan.{wanted}", "unknown-action", advice)

    # loads, lints, shadowing ---------------------------------------------------------------------

    def _loaded(self, name: str, code: str, load: Any, above: tuple[str, ...]) -> Any:
        wanted, text = load.module_id, self._texts[name]
        spans = (found.span() for found in _LOAD.finditer(code))
        offset = next((start for start, end in spans if wanted in text[start:end]), 0)
        for local in RESERVED.intersection(load.symbols):
            self._shadow(name, offset, local)
        if wanted in (name, *above):
            chain = (*above, name)
            circle = " → ".join([*chain[chain.index(wanted) :], wanted])
            self._at(name, offset, f"{wanted!r} is loaded in a circle: {circle}", "load")
            return None
        if wanted in self._texts:
            return self._check(wanted, (*above, name))
        known = [other for other in self._texts if other != name]
        near = [_STD + wanted] if _STD + wanted in known else difflib.get_close_matches(wanted, known, 1)
        advice = f"did you mean {near[0]!r}?" if near else f"only files of the package and of {_STD} can be loaded"
        self._at(name, offset, f"there is no {wanted!r} to load", "load", advice)
        return None

    def _lint(self, name: str, tree: Any) -> None:
        for lint in tree.lint():
            if lint.short_name not in _LINTS or "Unused assignment of `_" in lint.problem:
                continue
            place = lint.resolved_location.span.begin  # from 0, unlike everywhere else
            what = re.sub(rf"{re.escape(name)}:(\d+)[\d:-]*", r"line \1", lint.problem)
            what = what.replace("due to line", "because of line")
            finding = Diagnostic(what=what, severity="warning", code=lint.short_name)
            self._add(name, place.line + 1, place.column + 1, finding)

    def _shadow(self, name: str, offset: int, word: str) -> None:
        what = f"{word!r} is a word of the language of packages; it cannot be given another meaning"
        self._at(name, offset, what, "shadow", "choose another name")

    # reporting -----------------------------------------------------------------------------------

    def _syntax(self, name: str, report: str) -> None:
        what, line, column = _said(report)
        text = self._texts[name]
        if _SHOWN.search(report) is None:  # Starlark met the end of the file, and says 1:1
            opened = unclosed(code_only(text))
            offset = len(text.rstrip()) if opened is None else opened
            what = "the file ends too early" if opened is None else f"this {text[opened]} is never closed"
            self._at(name, offset, what, "syntax")
        else:
            self._add(name, line, column, Diagnostic(what=what, code="syntax"))

    def _at(self, name: str, offset: int, what: str, code: str, advice: str = "") -> None:
        line, column = position(self._texts[name], offset)
        self._add(name, line, column, Diagnostic(what=what, next=advice, code=code))

    def _add(self, name: str, line: int, column: int, finding: Diagnostic) -> None:
        if name not in self._found:
            return  # in @std, which is ours to test
        shown = excerpt(self._lines[name][line - 1], 1, column)
        finding = msgspec.structs.replace(finding, where=f"{name}:{line}:{column}", excerpt=shown)
        self._found[name].append((line, column, finding))


def _said(report: str) -> tuple[str, int, int]:
    """Starlark's report of an error, reduced to its message, line and column."""
    message, span = _MESSAGE.search(report), _SPAN.search(report)
    what = _plain(message[1] if message else report.strip().partition("\n")[0])
    return (what, int(span[1]), int(span[2])) if span else (what, 1, 1)


def _gap(said: str, length: int) -> str:
    """What follows a stub's name so that all after it stays in its place."""
    lines = said.splitlines(keepends=True)
    return " " * (len(said) - length) if len(lines) == 1 else "\n" * (len(lines) - 1) + " " * len(lines[-1])


def _plain(message: str) -> str:
    """Starlark's words without those that mean nothing to the author of a package."""
    if "must enable f-strings" in message:
        return 'f-strings are not part of the language: write "%s" % value'
    for words, plainer in _PLAINER:
        message = message.replace(words, plainer)
    return _ALTERNATIVES.sub("", message)
