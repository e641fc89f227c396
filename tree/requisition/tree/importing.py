"""From grex: `.grex/pack.yaml` and `REPOS.json` as the text of a package.yaml, and what could not be carried over.

Pure: text in, text out. What grex left to chance is said plainly instead: a variable that it took from the environment
becomes a setting; a hook becomes a command; keys that it never read are named and left out.
"""

import os
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
import yaml
from msgspec import Struct

from requisition.compiler.declared_forms import Action, Predicate
from requisition.compiler.manifest import MANIFEST, parse_manifest
from requisition.compiler.variables import BadText, expand, names_in
from requisition.schemas import strictyaml
from requisition.schemas.diagnostic import BadInput, Conflicted, Diagnostic
from requisition.schemas.findings import Path, Problem, placed

HOOKS = ".grex/hooks"
_KEYS = ("schema_version", "name", "type", "version", "depends_on", "children", "actions", "teardown")
_HOME = re.compile(r"(?:\$HOME|\$\{HOME\}|%HOME%|%USERPROFILE%|\$\{?USERPROFILE\}?)(?![A-Za-z0-9_])")
_BUILT_IN = ("HOME", "PATH")
_PATHS = {("symlink", "src"), ("symlink", "dst"), ("mkdir", "path"), ("rmdir", "path"), ("symlink_ok", "dst")}


class Imported(Struct, frozen=True):
    """The text of a package.yaml; `notes` tell what is not as it was (`warn`), or must be mended first (`error`)."""

    text: str
    notes: tuple[Diagnostic, ...] = ()


def save(folder: str, imported: Imported) -> str:
    """Write the package.yaml of a folder that has none; its path. Raises Conflicted when there is one."""
    path = os.path.join(folder, MANIFEST)
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(imported.text)
    except FileExistsError as error:
        raise Conflicted.of(
            f"there is a {MANIFEST} already, and it is left as it is",
            where=path,
            next="move it away first, or copy into it what you need",
        ) from error
    return path


def pack(text: str, where: str, hooks: Iterable[str] = ()) -> Imported:
    """A `.grex/pack.yaml`; `hooks` are the names of the files in `.grex/hooks`. Raises BadInput for a text that is
    not YAML, or no pack."""
    found, positions = strictyaml.load(text, where)
    if not isinstance(found, dict) or not isinstance(found.get("name"), str):
        raise BadInput.of("this is not a pack: it has no name", where=f"{where}:1:1", next="name a .grex/pack.yaml")
    reading = _Pack(found)
    manifest = reading.manifest(sorted(hooks))
    notes = [msgspec.structs.replace(placed(one, positions, where), severity="warn") for one in reading.notes]
    return _checked(manifest, notes)


def repos(text: str, where: str, name: str) -> Imported:
    """A `REPOS.json` ([{url, path, platform?}]) as a package of this name whose children they are. Raises BadInput."""
    try:
        listed = msgspec.json.decode(text, type=list[_Repo])
    except msgspec.MsgspecError as error:
        advice = 'expected [{"url": "…", "path": "…"}]'
        raise BadInput.of(f"this is not a list of repositories: {error}", where=where, next=advice) from error
    children: list[dict[str, Any]] = []
    notes: list[Diagnostic] = []
    taken: dict[str, str] = {}
    for at, one in enumerate(listed):
        path = "/".join(part for part in (one.platform, one.path) if part)
        if path in taken:
            what = f"{where}[{at}]: {one.url} would lie at {path!r}, as {taken[path]} does"
            notes.append(Diagnostic(what=what, next="give it another path, and add it by hand", severity="warn"))
            continue
        taken[path] = one.url
        children.append({"url": one.url, **({"path": path} if path else {})})
        if one.platform:
            what = f"{where}[{at}]: {one.url} is for {one.platform} only, and a child is fetched everywhere"
            advice = "let its own package.yaml say so: platforms, or `when: {os: …}`"
            notes.append(Diagnostic(what=what, next=advice, severity="warn"))
    return _checked({"name": name, "schema_version": "1", "type": "meta", "children": children}, notes)


class _Repo(Struct):
    url: str
    path: str = ""
    platform: str = ""


def _checked(manifest: dict[str, Any], notes: Sequence[Diagnostic]) -> Imported:
    """As text, with what is wrong with it: that was wrong before, and nobody looked."""
    text = yaml.safe_dump(manifest, sort_keys=False, allow_unicode=True, width=1 << 20)
    try:
        parse_manifest(text, MANIFEST)
    except BadInput as failure:
        return Imported(text, (*notes, *failure.diagnostics))
    return Imported(text, tuple(notes))


class _Pack:
    def __init__(self, found: dict[str, Any]) -> None:
        self._found = found
        self._variables: dict[str, None] = {}
        self._in_home = False
        self.notes: list[Problem] = []

    def manifest(self, hooks: Sequence[str]) -> dict[str, Any]:
        """The new file, key by key in the order in which people read it."""
        found = self._found
        for key in found:
            if key not in _KEYS and not key.startswith("x-"):
                self._note((key,), f"the key {key!r} means nothing", "it is left out")
        kind = found.get("type", "meta")
        done: dict[str, Any] = {
            key: self._actions(found[key], (key,)) for key in ("actions", "teardown") if key in found
        }
        if kind != "declarative" and done.pop("actions", None):
            self._note(("actions",), f"grex does not do the actions of a {kind} pack", "they are left out")
        if kind == "scripted":
            kind, done = "declarative", {"actions": [], **done, **self._hooks(hooks, done)}
        elif kind == "declarative":
            done = {"actions": [], **done}
        out: dict[str, Any] = {"name": found["name"], "schema_version": "1", "type": kind}
        if found.get("version") is not None:
            out["version"] = str(found["version"])
        if self._in_home:
            out["scope"] = "home"
        settings = {name: {"description": "was taken from the environment"} for name in self._variables}
        out |= {"settings": settings} if settings else {}
        out |= {key: found[key] for key in ("depends_on",) if found.get(key)}
        children = found.get("children") or []
        if isinstance(children, list):
            children = [self._child(one, at) for at, one in enumerate(children)]
        out |= {"children": children} if children else {}
        return {**out, **done, **{key: value for key, value in found.items() if key.startswith("x-")}}

    def _note(self, path: Path, what: str, advice: str) -> None:
        self.notes.append(Problem(path, what, advice))

    def _hooks(self, names: Sequence[str], done: dict[str, Any]) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for name in names:
            stem, _, ending = name.partition(".")
            key = {"sync": "actions", "teardown": "teardown"}.get(stem)
            if key is None or ending != "sh" or (key == "teardown" and key in done):
                self._note(("type",), f"the hook {name} is not carried over", "say what it does under `actions`")
                continue
            out[key] = [{"exec": {"cmd": [f"./{HOOKS}/{name}"]}}]
            why = "it runs at every sync, and cannot be taken back: give it `creates` or `unless`, and `undo`"
            self._note(("type",), f"the hook {name} is now a command", why)
        return out

    def _child(self, child: Any, at: int) -> Any:
        """`ref` may be branch@commit, of which the commit is what counts."""
        if not isinstance(child, dict) or "@" not in str(child.get("ref") or ""):
            return child
        branch, _, commit = str(child["ref"]).partition("@")
        self._note(("children", at, "ref"), f"the branch {branch} is dropped", f"the child stays at {commit}")
        return {**child, "ref": commit}

    # actions -------------------------------------------------------------------------------------

    def _actions(self, listed: Any, path: Path) -> Any:
        if not isinstance(listed, list):
            return listed
        return [self._entry(one, Action, (*path, at)) for at, one in enumerate(listed)]

    def _entry(self, entry: Any, record: type[Struct], path: Path) -> Any:
        """An action or a condition: a key, and what it takes."""
        if not isinstance(entry, dict):
            return entry
        forms = {one.encode_name: one.type for one in msgspec.structs.fields(record)}
        out = {}
        for name, value in entry.items():
            form = strictyaml.record_of(forms.get(name))
            out[name] = (
                self._record(name, value, form, (*path, name))
                if form
                else self._value(name, name, value, (*path, name))
            )
        return out

    def _record(self, name: str, value: Any, form: type[Struct], path: Path) -> Any:
        if not isinstance(value, dict):
            return value
        out = {}
        for key, inner in value.items():
            if key not in form.__struct_fields__:
                self._note((*path, key), f"grex does not read {key!r} in {name}", "it is left out")
                continue
            out[key] = self._value(name, key, inner, (*path, key))
        if name == "exec":
            self._shell(out, path)
        if name == "require" and out.get("on_fail") == "skip":
            self._note((*path, "on_fail"), "skip did nothing", "it now leaves out all that follows in its list")
        if name == "env" and out.get("scope") == "machine":
            self._note((*path, "scope"), "grex set this on Windows only", "it is now set on every system")
        return out

    def _value(self, name: str, key: str, value: Any, path: Path) -> Any:
        if key == "actions":
            return self._actions(value, path)
        if key in ("all_of", "any_of", "none_of") and isinstance(value, list):
            return [self._entry(one, Predicate, (*path, at)) for at, one in enumerate(value)]
        if key == "mode" and type(value) is int:
            return str(value)
        if key == "cmd_shell":
            return value
        if isinstance(value, str):
            return self._text(value, path, whole=(name, key) in _PATHS or key in ("path_exists", "cwd"))
        if isinstance(value, list):
            return [self._text(one, (*path, at)) if isinstance(one, str) else one for at, one in enumerate(value)]
        if isinstance(value, dict):
            return {k: self._text(v, (*path, k)) if isinstance(v, str) else v for k, v in value.items()}
        return value

    def _text(self, text: str, path: Path, *, whole: bool = False) -> str:
        """With the one name that the home has here; `whole`: it is a path."""
        text = _HOME.sub("$HOME", text)
        if whole and text.startswith(("$HOME", "~")):
            self._in_home = True
        try:
            names = names_in(text)
        except BadText as error:
            self._note(path, error.what, error.advice)
            return text
        self._ask_for(names, path)
        return text

    def _ask_for(self, names: Iterable[str], path: Path) -> None:
        for name in names:
            if name not in _BUILT_IN and name not in self._variables:
                self._variables[name] = None
                advice = f"it is a setting now: --set {name}=…, or give it a default"
                self._note(path, f"{name} came from the environment of whoever ran grex", advice)

    def _shell(self, command: dict[str, Any], path: Path) -> None:
        """grex replaced variables in a line before the shell saw it; here the shell does, and is given them."""
        line = command.get("cmd_shell")
        if not isinstance(line, str):
            return
        asked: list[str] = []
        try:
            command["cmd_shell"] = expand(line, _for_shell(asked.append))
        except BadText as error:
            self._note((*path, "cmd_shell"), error.what, "grex refused this line; the shell now gets it as it stands")
            return
        self._ask_for(asked, (*path, "cmd_shell"))
        given = {name: f"${{{name}}}" for name in dict.fromkeys(asked) if name not in _BUILT_IN}
        if given:
            command["env"] = {**given, **(command.get("env") or {})}


def _for_shell(ask: Callable[[str], None]) -> Callable[[str, int], str]:
    """A variable as a shell writes it; `ask` is told of each."""

    def put(name: str, _: int) -> str:
        name = "HOME" if name == "USERPROFILE" else name
        ask(name)
        return f"${{{name}}}"

    return put
