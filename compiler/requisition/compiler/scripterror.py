"""Starlark's report of a failed script, as a finding: the author's own traceback, never ours."""

import re
from collections.abc import Mapping

from requisition.schemas.diagnostic import Diagnostic

_FRAME = re.compile(r"^  \* (?P<file>.+?):(?P<line>\d+), in (?P<function>.+)$", re.MULTILINE)
_ERROR = re.compile(r"^error: (?P<message>.*?)(?=^ *--> |\Z)", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"^ *--> (?P<file>.+?):(?P<line>\d+):(?P<column>\d+)", re.MULTILINE)
_FUNCTION = re.compile(r"`?@prelude\._?([a-z0-9_]+)`?")
_FAIL = re.compile(r"\Afail: ")
_PYTHON = re.compile(r"\A(?:ScriptProblem|ValueError): ")
_HINTS = (
    ("took too long", "look for a loop that does not end; the limit is in docs/package.md"),
    ("Starlark call stack overflow", "look for recursion that does not end"),
    ("Immutable", "a loaded file is frozen: build values inside of the function"),
    ("out of memory", "look for a value that grows without end; the limit is in docs/package.md"),
    ("extra positional argument(s) for call to", "a phase function takes (package, phase)"),
    ("unknown directive", "the file is not Starlark"),
)


_TRAIL = 8


def diagnose(report: str, files: Mapping[str, str], actions: Mapping[str, str]) -> Diagnostic:
    """One finding. `files` are the scripts by name; `actions` maps prelude function names to actions."""
    frames = [m for m in _FRAME.finditer(report) if not m["file"].startswith("@")]
    late = report.rstrip().endswith("error: it took too long")
    found = _ERROR.search(report)
    message = found["message"].strip() if found else report.strip().splitlines()[-1]
    message = "it took too long" if late else _clean(message, actions)
    where, line, column = _place(report, frames, files)
    trail = [f"{m['file']}:{m['line']} in {m['function']}" for m in frames if m["function"] != "<module>"]
    return Diagnostic(
        what=message,
        where=f"{where}:{line}:{column}" if where else "",
        why="called from " + " → ".join(_shortened(trail)) if len(trail) > 1 else "",
        next=next((hint for words, hint in _HINTS if words in message), ""),
        excerpt=excerpt(files.get(where, ""), line, column) if where else "",
        code="script",
    )


def _shortened(trail: list[str]) -> list[str]:
    """Of recursion only its ends: the middle says nothing new."""
    if len(trail) <= _TRAIL:
        return trail
    half = _TRAIL // 2
    return [*trail[:half], f"… {len(trail) - 2 * half} more …", *trail[-half:]]


def _place(report: str, frames: list[re.Match[str]], files: Mapping[str, str]) -> tuple[str, int, int]:
    """The span of the error if it lies in a file of the author, else the statement of their innermost frame."""
    span = _SPAN.search(report)
    if span is not None and not span["file"].startswith("@"):
        return span["file"], int(span["line"]), int(span["column"])
    if not frames:
        return "", 1, 1
    file, line = frames[-1]["file"], int(frames[-1]["line"])
    text = files.get(file, "").split("\n")[line - 1 : line]
    return file, line, len(text[0]) - len(text[0].lstrip()) + 1 if text else 1


def _clean(message: str, actions: Mapping[str, str]) -> str:
    message = _FAIL.sub("", _PYTHON.sub("", message))
    message = message.splitlines()[0] if message else "the script failed"

    def name(found: re.Match[str]) -> str:
        action = actions.get("_" + found[1], found[1].replace("_", "."))
        return f"plan.{action}"

    return _FUNCTION.sub(name, message)


def excerpt(text: str, line: int, column: int) -> str:
    """The source line with a caret below the column, both from 1."""
    lines = text.splitlines()
    if not 1 <= line <= len(lines):
        return ""
    source = lines[line - 1][:200]
    lead = "".join("\t" if c == "\t" else " " for c in source[: column - 1])
    return f"    {source}\n    {lead}^"
