"""`plan history`, `why` and `blame`: what the receipts together say of packages and paths."""

import os
from typing import TYPE_CHECKING, Any

import click

from requisition.cli.output import Output
from requisition.cli.receipts import ask_index, filter_options
from requisition.schemas.diagnostic import BadInput

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from requisition.review.history.questions import Filter

_host_option = click.option(
    "--host", metavar="NAME", default="", help="Of a far machine: ssh://…, or its name below hosts/; * for all."
)
_root_option = click.option("--root", metavar="DIR", default="", help="Only this target root.")


@click.command()
@click.argument("what", metavar="[PATH|PACKAGE]", required=False, default="")
@click.option("--tree", "as_tree", is_flag=True, help="By package, or by folder, and not by time.")
@click.option("--since", metavar="WHEN", default="", help="Not before: 2026-11-20, 2026-11-20T15:30, or 7d.")
@click.option("--until", metavar="WHEN", default="", help="Not after.")
@filter_options
@_root_option
@_host_option
@click.pass_obj
def history(output: Output, /, what: str, *, as_tree: bool, **options: Any) -> None:
    """Show what was done, when, by which run.

    Without an argument: all runs. Of a PACKAGE: its runs; with --tree its paths and what was done to each. Of a PATH:
    all that was done to it, and to what lies below it.
    """
    from requisition.cli import histories
    from requisition.review.history import origin, questions
    from requisition.review.history.answers import History

    chosen = _filter(**options)

    def question(connection: "sqlite3.Connection") -> tuple[list[Any], list[Any]]:
        if what and not _is_path(what) and questions.is_package(connection, questions.writable(what)):
            return _of_package(connection, chosen, what, as_tree=as_tree)
        if what:
            return [], origin.of_path(connection, what, os.getcwd(), chosen, below=True)
        return questions.runs(connection, chosen), []

    runs, events = ask_index(output, question)
    if what and not runs and not events:
        raise BadInput.of(f"no run tells of {what!r}", next="plan history lists all runs, plan blame DIR all paths")
    if output.as_json:
        output.json(History(tuple(runs), tuple(events)))
    elif as_tree:
        _print(output, (*histories.run_tree(runs, output), *histories.event_tree(events, output)))
    else:
        _print(output, [histories.run_line(ran, output) for ran in runs])
        _print(output, [histories.event_line(event, output) for event in events])
    if not runs and not events:
        output.say("nothing was applied yet, or nothing that matches")


def _of_package(
    connection: "sqlite3.Connection", chosen: "Filter", package: str, *, as_tree: bool
) -> tuple[list[Any], list[Any]]:
    import msgspec

    from requisition.review.history import questions

    chosen = msgspec.structs.replace(chosen, package=package)
    if as_tree:
        return [], questions.events_of_package(connection, chosen)
    return questions.runs(connection, chosen), []


@click.command()
@click.argument("path")
@_root_option
@_host_option
@click.pass_obj
def why(output: Output, /, path: str, root: str, host: str) -> None:
    """Show why PATH is as it is.

    Which package, phase, node and line made it so, by which order, who signed that, in which run; what it was before,
    and what somebody changed since. PATH may be a resource that is no file, as apt:nginx.
    """
    from requisition.cli import histories
    from requisition.review.history import origin
    from requisition.review.history.answers import Why, origins

    chosen = _filter(root=root, host=host)
    events = ask_index(output, lambda connection: origin.of_path(connection, path, os.getcwd(), chosen))
    if not events:
        raise BadInput.of(f"no run tells of {path!r}", next="plan blame DIR lists what runs made below a folder")
    found = tuple(origins(events, output.state_dir))
    if output.as_json:
        output.json(Why(found))
        return
    _print(output, [line for one in found for line in histories.origin(one, output)])


@click.command()
@click.argument("directory", metavar="DIR", default=".")
@filter_options
@_root_option
@_host_option
@click.pass_obj
def blame(output: Output, /, directory: str, **options: Any) -> None:
    """Show which run made each path below DIR so.

    With its date, package, node and line. What no run made is marked as unmanaged.
    """
    from requisition.cli import histories
    from requisition.review.history import origin
    from requisition.review.history.answers import blamed

    chosen = _filter(**options)
    folders, events = ask_index(output, lambda connection: origin.below(connection, directory, os.getcwd(), chosen))
    if not folders:
        raise BadInput.of(f"no run changed anything around {directory!r}", next="plan history lists all runs")
    filtered = chosen.host or chosen.package or chosen.scope or chosen.tool
    found = blamed(events, [] if filtered else folders)
    if output.as_json:
        output.json(found)
        return
    _print(output, list(histories.blame_lines(found, output)))


def _filter(
    since: str = "", until: str = "", scope: str | None = None, root: str = "", host: str = "", **others: str
) -> "Filter":
    from datetime import UTC, datetime

    from requisition.review.history.moments import moment
    from requisition.review.history.questions import Filter

    if host.startswith("ssh://"):
        from requisition.cli.host import parse_host

        host = parse_host(host).label
    now = datetime.now(UTC)
    return Filter(
        since=moment(since, now) if since else 0,
        until=moment(until, now, end=True) if until else 0,
        scope=scope or "",
        root=os.path.normpath(root if host else os.path.abspath(root)) if root else "",
        host=host,
        **others,
    )


def _print(output: Output, lines: "Sequence[str]") -> None:
    if lines:
        output.lines(lines)


def _is_path(text: str) -> bool:
    return "/" in text or text.startswith(".")
