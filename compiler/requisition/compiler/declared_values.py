"""What the texts of actions mean: variables, paths of the target, files of the package. Each mistake has its place."""

import os
from collections.abc import Mapping
from posixpath import dirname, normpath, relpath

from requisition.compiler.packages import Package
from requisition.compiler.slots import target_path
from requisition.compiler.variables import BadText, NoValue, Value, expand, unknown
from requisition.schemas.diagnostic import BadInput, Diagnostic
from requisition.schemas.findings import Path
from requisition.schemas.strictyaml import Positions
from requisition.schemas.yamlchars import Characters

_HOME = "HOME"
_WHERE = "plan build --checkout DIR, or in package.yaml: projects: {checkout: /where/this/lies}"


class Values:
    """Reads the texts of one package. `session` are the variables that `env` set for what follows."""

    def __init__(self, package: Package, source: str, positions: Positions, file: str) -> None:
        facts = package.facts
        self._package = package
        self._characters = Characters(source)
        self._positions = positions
        self._file = file
        self._children = [child.place for child in package.manifest.children]
        self.session: Mapping[str, str] = {}
        self.warnings: list[tuple[str, Path]] = []
        self._known = {
            "PACKAGE": facts.name,
            "PACKAGE_VERSION": facts.version,
            "OS": facts.platform.os,
            "DISTRO": facts.platform.distro,
            "ARCH": facts.platform.arch,
            **({"PACKAGE_DIR": package.checkout} if package.checkout else {}),
            **{name: shown for name, value in facts.settings.items() if (shown := _shown(value)) is not None},
        }

    def place(self, path: Path) -> tuple[int, int]:
        """Line and column of a value."""
        return self._positions.get(path) or self._positions.of_keys.get(path) or (1, 1)

    def line(self, path: Path) -> str:
        """`file:line` of a value."""
        return f"{self._file}:{self.place(path)[0]}"

    def bad(self, path: Path, what: str, advice: str, why: str = "") -> BadInput:
        """A finding at a value."""
        line, column = self.place(path)
        return BadInput.of(what, where=f"{self._file}:{line}:{column}", why=why, next=advice)

    def unsupported(self, path: Path, name: str) -> None:
        """A condition that only Windows knows."""
        self.warnings.append((f"{name} is known on Windows only, and does not hold here", path))

    # texts ---------------------------------------------------------------------------------------

    def text(self, path: Path, text: str) -> str:
        """Any text: an argument, a value."""
        found = self._expanded(path, text, self._value)
        if "\0" in found:
            raise self.bad(path, "there is a NUL in it, which no program can be given", "remove it")
        return found

    def target(self, path: Path, text: str) -> str:
        """A path below the target root: absolute, or below the home as `~/x` or `$HOME/x`."""
        found = self._expanded(path, text, self._value_in_path)
        home = found == "~" or found.startswith("~/")
        if home and not self._package.home:
            raise self.bad(path, f"{text!r} is in a home, and whose is not known", "write scope: home in package.yaml")
        if not home and self._package.home and found.startswith("/"):
            why = "its scope is home: nothing outside of it is looked at or touched"
            raise self.bad(path, f"{text!r} lies outside of the home", "write it as ~/x, or scope: system", why)
        if not home and not found.startswith("/"):
            advice = "write it as ~/x" if self._package.home else "write it from the root, as /etc/x"
            raise self.bad(path, f"{text!r} is not a path of the target", advice)
        try:
            return target_path(found[1:] or "/" if home else found, "", path[-1] if isinstance(path[-1], str) else "")
        except BadInput as failure:
            raise self.bad(path, failure.diagnostics[0].what.removeprefix(": "), "correct it") from failure

    def link(self, path: Path, text: str, dst: str, *, normal: bool = True) -> str:
        """What a link at `dst` holds: the absolute path of a file of the package, or of any other on the target; one
        in the home is said relative to the link, since the home has no name yet."""
        found = self._expanded(path, text, self._value_in_path)
        if found == "~" or found.startswith("~/"):
            return relpath(self.target(path, text), dirname(dst))
        if found.startswith("/"):
            return normpath(found) if normal else found
        inner = normpath(found)
        if not found or inner == ".." or inner.startswith("../") or "\0" in found or "\\" in found:
            raise self.bad(path, f"{text!r} is not a file of the package", "name one relative to package.yaml")
        if not self._is_there(inner):
            raise self.bad(path, f"the package has no {inner!r} for this target", "add it, or correct the path")
        return f"{self.checkout(path)}/{self._package.files.find(inner) or inner if normal else found}"

    def folder(self, path: Path, text: str) -> tuple[str, str]:
        """Where a command runs: (path below the target root, "") or ("", folder of the package on the target)."""
        found = self._expanded(path, text, self._value_in_path)
        if found.startswith(("/", "~")) and not (self._package.home and found.startswith("/")):
            return self.target(path, text), ""
        if found.startswith("/"):
            return "", normpath(found)
        inner = normpath(found) if found else "."
        if inner == ".." or inner.startswith("../"):
            raise self.bad(path, f"{text!r} leads out of the package", "write it relative to package.yaml, or as ~/x")
        return "", self.checkout(path) + ("" if inner == "." else f"/{inner}")

    def checkout(self, path: Path) -> str:
        """The package's folder on the target. Raises BadInput at a value that needs it."""
        found = self._package.checkout
        if not found.startswith("/"):
            what = "nothing says where this package will lie on the target"
            raise self.bad(path, what, _WHERE, "links to its files, and commands, need its folder there")
        return normpath(found)

    def _is_there(self, inner: str) -> bool:
        """Whether the package has it, and inside of itself. A child's files come with the child, which may not be
        here yet."""
        if self._package.files.find(inner) or any(f"{inner}/".startswith(f"{place}/") for place in self._children):
            return True
        root = os.path.realpath(self._package.folder)
        place = os.path.realpath(f"{root}/{inner}")
        return f"{place}/".startswith(f"{root}/") and os.path.exists(place)

    # variables -----------------------------------------------------------------------------------

    def _expanded(self, path: Path, text: str, value: Value) -> str:
        try:
            return expand(text, value)
        except BadText as error:
            line, column = self._characters.place(self.place(path), error.offset)
            source = self._characters.line(line)
            raise BadInput(
                Diagnostic(
                    what=error.what,
                    where=f"{self._file}:{line}:{column}",
                    excerpt=f"    {source}\n    {' ' * (column - 1)}^",
                    next=error.advice,
                    code="variable",
                )
            ) from error

    def _value(self, name: str, _: int) -> str:
        for known in (self.session, self._known):
            if name in known:
                return known[name]
        root = self._package.facts.target_root
        if name == _HOME and self._package.home and root.startswith("/"):
            return root
        if name == _HOME:
            what = "HOME is not known before the order runs"
            raise NoValue(what, "use it at the start of a path, or let a shell find it: cmd_shell, shell: true")
        raise unknown(name, [*self._known, *self.session, _HOME])

    def _value_in_path(self, name: str, at: int) -> str:
        if name == _HOME and not {_HOME} & {*self.session, *self._known}:
            if at:
                raise NoValue("HOME is a whole path, and stands only at the start of one", "remove what is before it")
            return "~"
        return self._value(name, at)


def _shown(value: object) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, (str, int)) else None
