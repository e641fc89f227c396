"""What actions in YAML must keep to beyond their types: one key an action, requirements that require something."""

import re
from collections.abc import Iterator, Sequence

from msgspec import Struct

from requisition.compiler.declared_forms import Action, Env, Exec, Mkdir, Predicate, Require, When, given, keys
from requisition.schemas.findings import Path, Problem

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_MODE = re.compile(r"[0-7]{3,4}\Z")
_LISTS = ("all_of", "any_of", "none_of")


def action_problems(actions: Sequence[Action], path: Path) -> Iterator[Problem]:
    """Everything, in the order of the file."""
    for at, action in enumerate(actions):
        here = (*path, at)
        found = list(given(action))
        if len(found) != 1:
            yield _one_key("an action", here, [name for name, _ in found], Action)
        for name, value in found:
            yield from _of(value, (*here, name))


def _of(value: object, path: Path) -> Iterator[Problem]:
    if isinstance(value, Require):
        yield from _require(value, path)
    elif isinstance(value, When):
        yield from _when(value, path)
    elif isinstance(value, Exec):
        yield from _exec(value, path)
    elif isinstance(value, Mkdir) and value.mode and not _MODE.match(value.mode):
        yield Problem((*path, "mode"), f"{value.mode!r} is not a mode", 'write it in octal, as "0755"')
    elif isinstance(value, Env) and not _VARIABLE.match(value.name):
        what = f"{value.name!r} cannot name a variable"
        yield Problem((*path, "name"), what, "use letters, digits and _, no digit first")


def _require(require: Require, path: Path) -> Iterator[Problem]:
    names = [name for name in _LISTS if getattr(require, name) is not None]
    if len(names) != 1:
        found = " and ".join(names) or "nothing to require"
        yield Problem(path, f"`require` has {found}", f"give exactly one of {', '.join(_LISTS)}")
    yield from _lists(require, path)


def _when(when: When, path: Path) -> Iterator[Problem]:
    if when.os is None and all(getattr(when, name) is None for name in _LISTS):
        yield Problem(path, "`when` has no condition", "give os, all_of, any_of or none_of")
    yield from _lists(when, path)
    yield from action_problems(when.actions, (*path, "actions"))


def _lists(record: Struct, path: Path) -> Iterator[Problem]:
    for name in _LISTS:
        tests: list[Predicate] | None = getattr(record, name)
        if tests == []:
            yield Problem((*path, name), f"{name} is empty", "say what must be so, or remove it")
        for at, test in enumerate(tests or ()):
            yield from _predicate(test, (*path, name, at))


def _predicate(test: Predicate, path: Path) -> Iterator[Problem]:
    found = [name for name, _ in given(test)]
    if len(found) != 1:
        yield _one_key("a condition", path, found, Predicate)
    if test.cmd_available is not None and not re.fullmatch(r"[^-/\0][^/\0]*", test.cmd_available):
        what = f"{test.cmd_available!r} is no name of a program"
        yield Problem((*path, "cmd_available"), what, "give its name without a path")
    yield from _lists(test, path)


def _exec(command: Exec, path: Path) -> Iterator[Problem]:
    if (command.cmd is None) == (command.cmd_shell is None):
        found = "both cmd and cmd_shell" if command.cmd is not None else "neither cmd nor cmd_shell"
        yield Problem(path, f"`exec` has {found}", "give cmd: [program, argument], or cmd_shell with shell: true")
    elif command.shell != (command.cmd_shell is not None):
        said = "cmd_shell without shell: true" if command.cmd_shell is not None else "shell: true without cmd_shell"
        yield Problem(path, f"`exec` has {said}", "say both: cmd_shell: a line for sh, shell: true")
    if command.cmd == [] or command.cmd_shell == "":
        name = "cmd" if command.cmd == [] else "cmd_shell"
        yield Problem((*path, name), f"{name} is empty", "name a program")
    for name in command.env:
        if not _VARIABLE.match(name):
            what = f"{name!r} cannot name a variable"
            yield Problem((*path, "env", name), what, "use letters, digits and _, no digit first")


def _one_key(what: str, path: Path, found: Sequence[str], record: type[Struct]) -> Problem:
    if not found:
        return Problem(path, f"{what} needs a key that says what it is", f"one of {keys(record)}")
    return Problem(path, f"{what} has {len(found)} keys: {', '.join(found)}", "write one entry for each")
