"""`plan history`, `why` and `blame`: what the receipts together say of packages and paths."""

import os
from typing import TYPE_CHECKING, Any

import click

from requisition.cli.output import Output, to_dict
from requisition.cli.receipts import ask_index, filter_options
from requisition.schemas.diagnostic import BadInput

if TYPE_CHECKING:
    import sqlite3

    from requisition.review.history.questions import Event, Filter

_host_option = click.option("--host", metavar="NAME", default="", help="A far machine, as hosts/ has it; * for all.")
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

    chosen = _filter(**options)

    def question(connection: "sqlite3.Connection") -> tuple[list[Any], list[Any]]:
        if what and not _is_path(what) and questions.is_package(connection, what):
            return _of_package(connection, chosen, what, as_tree=as_tree)
        if what:
            return [], origin.of_path(connection, what, os.getcwd(), chosen, below=True)
        return questions.runs(connection, chosen), []

    runs, events = ask_index(output, question)
    if what and not runs and not events:
        raise BadInput.of(f"no run tells of {what!r}", next="plan history lists all runs, plan blame DIR all paths")
    if output.as_json:
        output.json({"runs": to_dict(runs), "events": to_dict(events)})
    elif as_tree:
        for line in (*histories.run_tree(runs, output), *histories.event_tree(events, output)):
            output.result(line)
    else:
        for ran in runs:
            output.result(histories.run_line(ran, output))
        for event in events:
            output.result(histories.event_line(event, output))
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
    from requisition.review.history import origin

    chosen = _filter(root=root, host=host)
    events = ask_index(output, lambda connection: origin.of_path(connection, path, os.getcwd(), chosen))
    if not events:
        raise BadInput.of(f"no run tells of {path!r}", next="plan blame DIR lists what runs made below a folder")
    spots: dict[tuple[str, str, str], list[Event]] = {}
    for event in events:
        spots.setdefault((event.ran.host, event.ran.root, event.path), []).append(event)
    for told in spots.values():
        _why(output, told)


def _why(output: Output, told: "list[Event]") -> None:
    """One spot: the event that made it so, else the last that left something to root; what came before and after."""
    from requisition.cli import histories
    from requisition.review.history.inventory import standing_receipt
    from requisition.review.history.present import changed_since

    last = told[-1]
    made = next((one for one in told if one.stands), None)
    if made is None and last.status == "done" and last.left is None:
        made = last
    changes = None
    if made is not None and made.left is not None and not made.ran.host:
        changes = changed_since(output.state_dir, made.ran.root, made.left)
    rest = [one for one in told if one is not made]
    if output.as_json:
        output.json({"made": to_dict(made), "changes": changes, "others": to_dict(rest)})
        return
    if made is None:
        root = output.style(last.ran.root, "path")
        output.result(f"{output.style(last.path, 'head')}  in {root}: no run that stands made it")
    else:
        receipt = standing_receipt(output.state_dir, (made.ran.host, made.ran.run))
        for line in histories.origin(made, output, receipt):
            output.result(line)
        if changes is not None:
            now = "; ".join(changes) if changes else "as it was left"
            output.result(f"  {output.style('now       ', 'dim')}{output.style(now, 'warn' if changes else 'good')}")
    for one in rest:
        title = "before" if made is None or one.ran.run < made.ran.run else "after"
        output.result(f"  {output.style(f'{title:<10}', 'dim')}{histories.event_line(one, output, path=False)}")


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
    from requisition.review.history.present import unmanaged

    chosen = _filter(**options)
    spots, events = ask_index(output, lambda connection: origin.below(connection, directory, os.getcwd(), chosen))
    if not spots:
        raise BadInput.of(f"no run changed anything around {directory!r}", next="plan history lists all runs")
    others: list[str] = []
    if not (chosen.host or chosen.package or chosen.scope or chosen.tool):
        for folder, path in spots:
            others += unmanaged(folder, path, {event.path for event in events})
    if output.as_json:
        output.json({"paths": to_dict(events), "unmanaged": others})
        return
    for line in histories.blame_lines(events, others, output):
        output.result(line)


def _filter(since: str = "", until: str = "", scope: str | None = None, root: str = "", **others: str) -> "Filter":
    from datetime import UTC, datetime

    from requisition.review.history.moments import moment
    from requisition.review.history.questions import Filter

    now = datetime.now(UTC)
    return Filter(
        since=moment(since, now) if since else 0,
        until=moment(until, now, end=True) if until else 0,
        scope=scope or "",
        root=os.path.abspath(root) if root else "",
        **others,
    )


def _is_path(text: str) -> bool:
    return "/" in text or text.startswith((".", "~"))
