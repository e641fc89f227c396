"""The index of receipts, as commands ask it: options that choose runs, progress, and what was left out."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from requisition.cli.output import Output
from requisition.schemas.diagnostic import Diagnostic

if TYPE_CHECKING:
    import sqlite3

    from requisition.review.history.questions import Problem

T = TypeVar("T")
_TOLD = 5


def filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Which runs are asked about."""
    for option in (
        click.option("--package", metavar="NAME", default="", help="Only this package."),
        click.option("--scope", type=click.Choice(["home", "system"]), default=None, help="Only orders of this scope."),
        click.option("--tool", metavar="TEXT", default="", help="Only receipts of tools whose name begins so."),
    ):
        command = option(command)
    return command


def ask_index(output: Output, question: "Callable[[sqlite3.Connection], T]") -> T:
    """What the index says, and on stderr which receipts it could not read."""
    from requisition.review.history import questions
    from requisition.review.history.index import ask

    def told(connection: "sqlite3.Connection") -> "tuple[T, list[Problem]]":
        return question(connection), questions.problems(connection)

    found, problems = ask(
        output.state_dir,
        told,
        say=lambda text: output.findings([Diagnostic(what=text, severity="warning")]),
        progress=lambda done, due: output.progress(f"reading receipts: {done:,} of {due:,}") if due > _TOLD else None,
    )
    output.progress("")
    for one in problems[:_TOLD]:
        where = f"{one.host}/{one.run}" if one.host else one.run
        output.findings([Diagnostic(what=f"a receipt is left out: {one.why}", where=where, severity="warning")])
    if len(problems) > _TOLD:
        output.findings([Diagnostic(what=f"{len(problems) - _TOLD:,} more are left out", severity="warning")])
    return found
