"""`plan apply` and `plan status`: what changes the machine, and what tells whether it was changed since."""

import os
import sys
from typing import Any

import click
import msgspec

from requisition.cli.drawing import RunDrawing, counted, summary, tally
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
    if not options["dry_run"] and not options["yes"] and _person_is_here(output):
        foreseen = _perform(output, msgspec.structs.replace(request, verb="dry-run"), full=options["full"])
        if foreseen.status == "changes" and not click.confirm("Apply this?", default=False):
            return 1
        if foreseen.status in ("refused", "bad_input", "conflict"):
            return EXIT_CODES[foreseen.status]
    result = _perform(output, request, full=options["full"])
    if result.status == "interrupted" and options["on_interrupted"] != "keep" and not result.run_id:
        earlier = msgspec.structs.replace(request, verb=options["on_interrupted"], order_path="", only=None)
        first = _perform(output, earlier, full=options["full"])
        if first.status != "done":
            return EXIT_CODES[first.status]
        result = _perform(output, request, full=options["full"])
    return _code(result, detailed=options["detailed_exitcode"])


def _person_is_here(output: Output) -> bool:
    return not output.as_json and sys.stdin.isatty() and sys.stdout.isatty()


def _perform(output: Output, request: Request, *, full: bool) -> Result:
    """Ask the runtime, and draw its answer to the end."""
    drawing = RunDrawing(output, full=full)
    result = run(request, drawing)
    summary(result, output, drawing.finish())
    return result


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


def _code(result: Result, *, detailed: bool) -> int:
    code = EXIT_CODES[result.status]
    return 0 if code == EXIT_CODES["changes"] and not detailed else code


@click.command()
@click.option("--root", help="Target root. [default: every one that was applied to]")
@click.option("--diff", "show_diff", is_flag=True, help="Show diffs, where the inputs are still at hand.")
@click.option("--detailed-exitcode", is_flag=True, help="Exit 2 when something differs.")
@click.pass_obj
def status(output: Output, /, root: str | None, *, show_diff: bool, detailed_exitcode: bool) -> int:
    """Show what differs from what was applied: changed, missing, extra."""
    roots = [os.path.abspath(root)] if root else _known_roots(output)
    if not roots:
        output.say("nothing was applied yet")
    code = 0
    for target in roots:
        found = _status_of(output, target, show_diff=show_diff)
        code = max(code, _code(found, detailed=detailed_exitcode))
    return code


def _status_of(output: Output, root: str, *, show_diff: bool) -> Result:
    drawing = RunDrawing(output)
    result = run(Request(verb="status", state_dir=output.state_dir, target_root=root, diff=show_diff), drawing)
    drawing.finish()
    if output.as_json or result.status not in ("done", "changes"):
        summary(result, output)
    elif result.status == "done":
        paths = counted(result.summary.get("ok", 0), "path")
        verb = "is" if result.summary.get("ok") == 1 else "are"
        output.result(f"{output.style('✓', 'good')} {output.style(root, 'path')}: {paths} {verb} as left")
    else:
        output.result(f"{output.style('~', 'warn')} {output.style(root, 'path')}: {tally(result.summary)}")
    return result


def _known_roots(output: Output) -> list[str]:
    """Every target root that a run of this state directory went to, in the order of their first runs."""
    from requisition.cli.past import runs

    return list(dict.fromkeys(info.target_root for info in runs(output.state_dir)))
