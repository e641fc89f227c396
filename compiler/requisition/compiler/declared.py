"""Packages without Starlark: `actions` and `teardown` of package.yaml as the recording that a script would make.

One thing is done after the other, as written. What the target's platform decides is decided here, so that an order
holds nothing for other systems; what its files and programs decide is a node of its own (`require.condition`), and the
actions of a `when` are the body of a `flow.choose` on it.
"""

import hashlib
import os
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from posixpath import dirname
from typing import Any

from msgspec import Struct

from requisition.compiler.declared_forms import Action, Env, Exec, Mkdir, Require, Rmdir, Symlink, When, given
from requisition.compiler.declared_tests import Tests
from requisition.compiler.declared_values import Values
from requisition.compiler.manifest import MANIFEST
from requisition.compiler.packages import Package
from requisition.compiler.recording import Body, Call, PhaseRecord, Recording, Said
from requisition.schemas import strictyaml
from requisition.schemas.diagnostic import BadInput, Diagnostic
from requisition.schemas.findings import Path

_LONGEST_NAME = 64  # of a block of variables (env.user)


def record(package: Package, key: str, phase: str) -> Recording:
    """What the actions under a key of package.yaml ask for, in one phase. Raises BadInput with every finding."""
    with open(os.path.join(package.folder, MANIFEST), "rb") as file:
        text = file.read(strictyaml.MAX_BYTES + 1)
    _, positions = strictyaml.load(text, MANIFEST)
    actions: list[Action] = getattr(package.manifest, key) or []
    source = text.decode("utf-8-sig", "replace")  # only to show where a mistake is
    writer = _Writer(package, Values(package, source, positions, MANIFEST))
    writer.recording.phases.append(PhaseRecord(phase, "forward"))
    writer.list_of(actions, (key,), _first_place())
    if writer.findings:
        raise BadInput(writer.findings)
    return writer.recording


class _LeftOut(Exception):
    """A requirement that is known not to be met: what follows in its list is left out."""


class _Place(Struct):
    """Where calls go: their phase, the call before, the variables of the session, and which paths and variables were
    taken (and where), and directories made, by this list or those around it."""

    phase: int
    last: int
    session: Mapping[str, str]
    taken: ChainMap[tuple[str, str], str]
    made: ChainMap[str, None]

    def inner(self, phase: int) -> "_Place":
        """Of the list of a `when`."""
        return _Place(phase, -1, self.session, self.taken.new_child(), self.made.new_child())


def _first_place() -> _Place:
    return _Place(0, -1, {}, ChainMap(), ChainMap())


class _Writer:
    def __init__(self, package: Package, values: Values) -> None:
        self._name, self._home = package.manifest.name, package.home
        self._values = values
        self._tests = Tests(package.facts.platform.os, values)
        self._here = _first_place()
        self.recording = Recording([], [], [], [], [], [], [], [], [])
        self.findings: list[Diagnostic] = []
        self._of: dict[type[Struct], Callable[[Any, Path], None]] = {
            Symlink: self._symlink,
            Env: self._env,
            Mkdir: self._mkdir,
            Rmdir: self._rmdir,
            Require: self._require,
            When: self._when,
            Exec: self._exec,
        }

    def list_of(self, actions: Sequence[Action], path: Path, place: _Place) -> None:
        """One list, as written; a mistake in one action hides none of the next."""
        outer, self._here = self._here, place
        for at, action in enumerate(actions):
            ((name, value),) = given(action)
            self._values.session = self._here.session
            try:
                self._of[type(value)](value, (*path, at, name))
            except BadInput as failure:
                self.findings += failure.diagnostics
            except _LeftOut:
                break
            for text, where in self._values.warnings:
                self._say("warn", text, where)
            self._values.warnings.clear()
        self._here = outer

    # calls ---------------------------------------------------------------------------------------

    def _call(
        self,
        action: str,
        slots: dict[str, Any],
        path: Path,
        *,
        on_conflict: str | None = None,
        about: str | None = None,
    ) -> int:
        here, number = self._here, len(self.recording.calls)
        after = {"_ref": here.last} if here.last >= 0 else None
        where = self._values.line(path)
        self.recording.calls.append(Call(action, slots, after, None, on_conflict, about, None, where, here.phase))
        here.last = number
        return number

    def _say(self, kind: str, text: str, path: Path) -> None:
        self.recording.said.append(Said(kind, text, self._values.line(path)))

    def _take(self, kind: str, name: str, path: Path) -> None:
        """What two actions of one list would quarrel about."""
        where = self._values.line(path)
        if (kind, name) in self._here.taken:
            why = f"the other one is at {self._here.taken[kind, name]}"
            raise self._values.bad(path, f"{name} is set twice", "remove one, or put them into a `when` each", why)
        self._here.taken[kind, name] = where

    # actions -------------------------------------------------------------------------------------

    def _symlink(self, link: Symlink, path: Path) -> None:
        dst = self._values.target((*path, "dst"), link.dst)
        target = self._values.link((*path, "src"), link.src, dst, normal=link.normalize)
        self._take("path", dst, (*path, "dst"))
        folder = dirname(dst)
        if folder != "/" and folder not in self._here.made:
            self._call("file.mkdir", {"path": folder, "keep": True}, path)
            self._here.made[folder] = None
        self._call("file.link", {"target": target, "path": dst}, path, on_conflict="backup" if link.backup else None)

    def _env(self, env: Env, path: Path) -> None:
        where = (*path, "value")
        if env.scope == "session":
            self._here.session = {**self._here.session, env.name: self._values.text(where, env.value)}
            return
        if env.scope == "machine" and self._home:
            advice = "scope: user, or scope: system for the whole package"
            raise self._values.bad((*path, "scope"), "a package of a home sets nothing for all users", advice)
        self._take(f"variable of the {env.scope}", env.name, (*path, "name"))
        if env.name == "PATH":
            wanted = self._folders(env, where)
        else:
            wanted = {"variables": {env.name: self._values.text(where, env.value)}}
        self._call(f"env.{env.scope}", {**wanted, "name": _block(self._name, env.name)}, path)

    def _folders(self, env: Env, path: Path) -> dict[str, Any]:
        """PATH is never set as a whole: folders come in front of what is there."""
        *folders, last = env.value.split(":")
        if last not in ("$PATH", "${PATH}", "%PATH%") or not folders:
            advice = "write the folders and then $PATH, as ~/bin:$PATH"
            raise self._values.bad(path, "PATH would lose the folders that it has", advice)
        home = "~" if self._home else ""
        return {"path": [home + self._values.target(path, folder) for folder in folders]}

    def _mkdir(self, mkdir: Mkdir, path: Path) -> None:
        where = self._values.target((*path, "path"), mkdir.path)
        slots: dict[str, Any] = (
            {"path": where, "mode": int(mkdir.mode, 8)} if mkdir.mode else {"path": where, "keep": True}
        )
        self._call("file.mkdir", slots, path)
        self._here.made[where] = None

    def _rmdir(self, rmdir: Rmdir, path: Path) -> None:
        slots: dict[str, Any] = {"path": self._values.target((*path, "path"), rmdir.path), "kind": "dir"}
        if rmdir.backup:
            slots["aside"] = ".bak"
        elif rmdir.force:
            slots["recursive"] = True
        self._call("file.remove", slots, path)

    def _require(self, require: Require, path: Path) -> None:
        test = self._tests.of(require, path)
        if isinstance(test, dict):
            self._call("require.condition", {"test": test, "on_fail": require.on_fail}, path)
        elif not test:
            what = "this requirement cannot be met on the target's system"
            if require.on_fail == "error":
                raise self._values.bad(path, what, "build for another --target, or use `when`")
            self._say("warn" if require.on_fail == "warn" else "note", what, path)
            if require.on_fail == "skip":
                raise _LeftOut

    def _when(self, when: When, path: Path) -> None:
        test, inner = self._tests.of(when, path), (*path, "actions")
        if isinstance(test, dict):
            known = self._call("require.condition", {"test": test, "on_fail": "tell"}, path)
            self._body(when.actions, inner, {"input": {"_ref": known, "_output": "met"}}, "value")
        elif test and any(one.require and one.require.on_fail == "skip" for one in when.actions):
            self._body(when.actions, inner, {}, "true")  # what it skips ends with it
        elif test:
            self._same_phase(when.actions, inner)

    def _body(self, actions: Sequence[Action], path: Path, slots: dict[str, Any], predicate: str) -> None:
        """A list that is done, or left out, as one."""
        choice = self._call("flow.choose", slots, path[:-1])
        phase = len(self.recording.phases)
        self.recording.phases.append(PhaseRecord("case", "body", choice))
        self.recording.calls[choice].bodies = (Body(choice, "case", predicate, phase),)
        self.list_of(actions, path, self._here.inner(phase))

    def _same_phase(self, actions: Sequence[Action], path: Path) -> None:
        """A `when` that holds on this system: its actions stand in the list around it, its session ends with it."""
        here = self._here
        inner = here.inner(here.phase)
        inner.last = here.last
        self.list_of(actions, path, inner)
        here.last = inner.last
        here.taken.update(inner.taken.maps[0])
        here.made.update(inner.made.maps[0])

    def _exec(self, command: Exec, path: Path) -> None:
        read = self._values
        cwd, folder = read.folder((*path, "cwd") if command.cwd else path, command.cwd)
        env = {name: read.text((*path, "env", name), value) for name, value in command.env.items()}
        slots: dict[str, Any] = {"cwd": cwd} if cwd else {"folder": folder}
        if command.cmd is not None:
            slots["argv"] = self._words(command.cmd, (*path, "cmd"))
        else:
            slots |= {"argv": [command.cmd_shell], "shell": True}
        for name in ("unless", "undo"):
            if words := self._words(getattr(command, name), (*path, name)):
                slots[name] = words
        if command.creates:
            slots["creates"] = read.target((*path, "creates"), command.creates)
        if environment := {**self._here.session, **env}:
            slots["env"] = environment
        if command.timeout:
            slots["timeout"] = command.timeout
        if command.on_fail != "error":
            slots["on_fail"] = command.on_fail
        first = (command.cmd_shell or "").split()[:1]  # a shell line is named for its first word
        self._call("shell.exec", slots, path, about=first[0][:40] if first else None)

    def _words(self, words: Sequence[str], path: Path) -> list[str]:
        return [self._values.text((*path, at), word) for at, word in enumerate(words)]


def _block(package: str, variable: str) -> str:
    """The name of the block in which a package's variable stands: its own, so that others keep theirs."""
    name = f"{package}.{variable}"
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[:47]}.{hashlib.sha256(name.encode()).hexdigest()[:16]}"
