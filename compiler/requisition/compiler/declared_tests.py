"""Conditions in YAML as the tests of `require.condition`; what the target decides is decided here.

Lists are looked at in their order and no further than needed, so that what stands behind `os: windows` in an
`all_of` need make no sense elsewhere.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from requisition.compiler.declared_forms import Predicate, Require, SymlinkOk, When
from requisition.schemas.findings import Path

_OSES = {"macos": "darwin"}
Test = bool | dict[str, Any]
"""Known already, or a test for the target."""


class Reading(Protocol):
    """Who knows what a text of the file means, and what to say of it."""

    def text(self, path: Path, text: str) -> str:
        """A text with its variables replaced."""
        ...

    def target(self, path: Path, text: str) -> str:
        """A path below the target root."""
        ...

    def link(self, path: Path, text: str, dst: str) -> str:
        """What a link at `dst` to this source holds."""
        ...

    def unsupported(self, path: Path, name: str) -> None:
        """Say that a condition has a meaning on Windows only."""
        ...


class Tests:
    """Reads conditions for one target."""

    def __init__(self, os: str, reading: Reading) -> None:
        self._os = os
        self._reading = reading

    def of(self, record: Require | When, path: Path) -> Test:
        """All that a `require` or `when` asks for."""
        if isinstance(record, When) and record.os is not None and not self._is_os(record.os):
            return False
        parts: list[tuple[str, Sequence[Predicate]]] = [
            (name, tests) for name in ("all_of", "any_of", "none_of") if (tests := getattr(record, name)) is not None
        ]
        return _joined("all_of", [partial(self._list, name, tests, (*path, name)) for name, tests in parts])

    def _list(self, name: str, tests: Sequence[Predicate], path: Path) -> Test:
        return _joined(name, [partial(self._one, one, (*path, at)) for at, one in enumerate(tests)])

    def _one(self, test: Predicate, path: Path) -> Test:
        if test.os is not None:
            return self._is_os(test.os)
        if test.path_exists is not None:
            return {"path_exists": self._reading.target((*path, "path_exists"), test.path_exists)}
        if test.cmd_available is not None:
            return {"cmd_available": self._reading.text((*path, "cmd_available"), test.cmd_available)}
        if test.symlink_ok is not None:
            return {"symlink_ok": self._link(test.symlink_ok, (*path, "symlink_ok"))}
        for name in ("all_of", "any_of", "none_of"):
            tests = getattr(test, name)
            if tests is not None:
                return self._list(name, tests, (*path, name))
        self._reading.unsupported(path, "reg_key" if test.reg_key is not None else "psversion")
        return False

    def _link(self, wanted: SymlinkOk, path: Path) -> dict[str, str]:
        dst = self._reading.target((*path, "dst"), wanted.dst)
        return {"src": self._reading.link((*path, "src"), wanted.src, dst), "dst": dst}

    def _is_os(self, name: str) -> bool:
        return _OSES.get(name, name) == self._os


def _joined(name: str, parts: Sequence[Callable[[], Test]]) -> Test:
    """A list of tests as one, looked at until it is decided."""
    decides = name != "all_of"  # the value of a part by which the whole is decided
    open_parts: list[dict[str, Any]] = []
    for part in parts:
        test = part()
        if isinstance(test, dict):
            open_parts.append(test)
        elif test is decides:
            return name == "any_of"
    if not open_parts:
        return name != "any_of"
    if len(open_parts) == 1 and name != "none_of":
        return open_parts[0]
    return {name: open_parts}
