"""Findings: the one way in which anything wrong is told."""

from collections.abc import Iterable

from requisition.cli.terminal import Terminal
from requisition.schemas.diagnostic import (
    BadInput,
    Conflicted,
    Diagnostic,
    Failure,
    Interrupted,
    Refused,
)

_STATUS: tuple[tuple[type[Failure], str], ...] = (
    (BadInput, "bad_input"),
    (Refused, "refused"),
    (Conflicted, "conflict"),
    (Interrupted, "interrupted"),
)


def draw_failure(terminal: Terminal, failure: Failure) -> None:
    """All findings of a failure; in JSON, an object with its status."""
    if terminal.json:
        status = next((name for kind, name in _STATUS if isinstance(failure, kind)), "failed")
        terminal.value({"status": status, "diagnostics": failure.diagnostics}, line=True)
    else:
        draw_findings(terminal, failure.diagnostics)


def draw_findings(terminal: Terminal, findings: Iterable[Diagnostic]) -> None:
    """Each finding: what, its place and excerpt, why, and what to do next."""
    for one in findings:
        warning = one.severity == "warning"
        terminal.note(
            ("warn", "warning: ") if warning else ("bad", "error: "),
            ("place", f"{one.where}: " if one.where else ""),
            ("bold", one.what),
        )
        for line in one.excerpt.splitlines():
            terminal.note(line)
        if one.why:
            _tell(terminal, "why:  ", one.why)
        if one.next:
            _tell(terminal, "next: ", one.next)


def _tell(terminal: Terminal, label: str, text: str) -> None:
    first, *rest = text.splitlines()
    terminal.note("  ", ("dim", label), first)
    for line in rest:
        terminal.note("        ", line)
