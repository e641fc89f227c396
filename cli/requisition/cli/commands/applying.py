"""`plan apply` and `plan status`: what changes the machine, and what tells whether it was changed since."""

import os
import sys
from collections.abc import Callable
from typing import Any

import click
import msgspec

from requisition.cli.drawing import RunDrawing, summary
from requisition.cli.output import Output, default_trust
from requisition.cli.runner import run
from requisition.cli.secrets import read_secrets
from requisition.runtime.frames import EXIT_CODES, Request, Result
from requisition.schemas.document import CONFLICT_POLICIES

_MANY_JOBS = 4


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option("--root", help="Target root, for an order that leaves it open.")
@click.option("--source", type=click.Path(file_okay=False), help="Folder of the package, where its inputs lie.")
@click.option("--trust", type=click.Path(dir_okay=False), help="Trust policy. [default: the user's trust.yaml]")
@click.option("--allow-unsigned", is_flag=True, help="Apply without any signature, where no trust policy is.")
@click.option("--allow-downgrade", is_flag=True, help="Accept a lower serial than the last applied.")
@click.option("--dry-run", is_flag=True, help="Show what would be done; change nothing.")
@click.option("--diff", "show_diff", is_flag=True, help="With --dry-run: show diffs of contents, modes and links.")
@click.option("--jobs", type=click.IntRange(1, 64), default=_MANY_JOBS, show_default=True, help="Slow nodes at a time.")
@click.option("--only", multiple=True, metavar="NODE", help="Only this node and what it needs (repeatable).")
@click.option(
    "--on-conflict", type=click.Choice(CONFLICT_POLICIES), default="stop", show_default=True,
    help="What to do where something else is in the way.",
)  # fmt: skip
@click.option(
    "--on-interrupted", type=click.Choice(["keep", "resume", "rollback"]), default="keep", show_default=True,
    help="What to do first with an earlier run that was cut off.",
)  # fmt: skip
@click.option("--keep-failed", is_flag=True, help="Leave a failed run as it stands, for inspection.")
@click.option("--secret", "secrets", multiple=True, metavar="NAME=WHERE", help="A secret: file:PATH, fd:N or prompt.")
@click.option("--full", is_flag=True, help="Show every node.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--detailed-exitcode", is_flag=True, help="With --dry-run: exit 2 when something would change.")
@click.pass_obj
def apply(output: Output, /, file: str, **options: Any) -> int:
    """Run an order, or show what it would do.

    FILE is an order (.yaml or .plan). It is verified against the trust policy before it is parsed, and
    preflighted before anything is touched. On a terminal the plan is shown first, and you are asked.
    """
    request = _request(output, file, options)
    drawing = RunDrawing(output, full=options["full"])
    if options["dry_run"]:
        result = run(request, drawing)
        summary(result, output)
        return _dry_code(result, detailed=options["detailed_exitcode"])
    if not options["yes"] and not output.as_json and sys.stdin.isatty() and sys.stdout.isatty():
        if not _agreed(request, output, full=options["full"]):
            return 1
        drawing = RunDrawing(output, full=options["full"])
    result = run(request, drawing)
    if result.status == "interrupted" and options["on_interrupted"] != "keep" and not result.run_id:
        earlier = msgspec.structs.replace(request, verb=options["on_interrupted"], order_path="", run_id="")
        first = run(earlier, drawing)
        if first.status != "done":
            summary(first, output)
            return EXIT_CODES[first.status]
        result = run(request, drawing)
    summary(result, output)
    return EXIT_CODES[result.status]


def _request(output: Output, file: str, options: dict[str, Any]) -> Request:
    return Request(
        verb="dry-run" if options["dry_run"] else "apply",
        state_dir=output.state_dir,
        order_path=os.path.abspath(file),
        source_root=os.path.abspath(options["source"]) if options["source"] else "",
        target_root=options["root"] or "",
        trust_path=os.path.abspath(options["trust"]) if options["trust"] else default_trust(),
        allow_unsigned=options["allow_unsigned"],
        allow_downgrade=options["allow_downgrade"],
        on_conflict=options["on_conflict"],
        keep_failed=options["keep_failed"],
        diff=options["show_diff"],
        jobs=options["jobs"],
        only=tuple(options["only"]) or None,
        secrets=read_secrets(options["secrets"]),
    )


def _agreed(request: Request, output: Output, *, full: bool) -> bool:
    """Show the plan and ask. Nothing to do needs no answer; a refusal ends it."""
    result = run(msgspec.structs.replace(request, verb="dry-run"), RunDrawing(output, full=full))
    if result.status not in ("done", "changes"):
        return True  # the apply itself will tell why it stops
    if result.status == "done":
        return True
    return click.confirm("Apply this?", default=False)


def _dry_code(result: Result, *, detailed: bool) -> int:
    code = EXIT_CODES[result.status]
    return 0 if code == EXIT_CODES["changes"] and not detailed else code


@click.command()
@click.option("--root", help="Target root. [default: the home of a user, / for root]")
@click.option("--diff", "show_diff", is_flag=True, help="Show diffs, where the inputs are still at hand.")
@click.option("--detailed-exitcode", is_flag=True, help="Exit 2 when something differs.")
@click.pass_obj
def status(output: Output, /, root: str | None, *, show_diff: bool, detailed_exitcode: bool) -> int:
    """Show what differs from what was applied: changed, missing, extra."""
    target = root or ("/" if os.geteuid() == 0 else os.path.expanduser("~"))
    request = Request(verb="status", state_dir=output.state_dir, target_root=os.path.abspath(target), diff=show_diff)
    draw: Callable[..., None] = RunDrawing(output)
    result = run(request, draw)
    if output.as_json or result.status not in ("done", "changes"):
        summary(result, output)
    elif result.status == "done":
        output.result(f"{output.style('✓', 'good')} {result.summary.get('ok', 0)} paths are as they were left.")
    else:
        counts = ", ".join(f"{count} {name}" for name, count in result.summary.items() if count)
        output.result(f"{output.style('~', 'warn')} {counts}")
    return _dry_code(result, detailed=detailed_exitcode)
