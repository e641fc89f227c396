"""`plan apply` and `plan status`: what changes the machine, and what tells whether it was changed since."""

import os
import sys
from typing import Any

import click
import msgspec

from requisition.cli.drawing import RunDrawing, counted, summary, tally
from requisition.cli.host import Host, host_option, only_here
from requisition.cli.output import Output
from requisition.cli.receipts import filter_options
from requisition.cli.runner import all_runs, run
from requisition.cli.secrets import read_secrets
from requisition.runtime.frames import EXIT_CODES, OnDisconnect, Request, Result, Visit
from requisition.runtime.past import target_roots
from requisition.runtime.places import default_trust
from requisition.schemas.document import CONFLICT_POLICIES

_MANY_JOBS = 4
_ON_DISCONNECT: dict[str, OnDisconnect] = {"keep": "keep", "resume": "finish", "rollback": "rollback"}


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option("--root", help="Target root, for an order that leaves it open.")
@host_option
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
    help="What becomes of a run that is cut off: of an earlier one first, and of this one, should --host lose it.",
)  # fmt: skip
@click.option("--elevate", type=click.Choice(["sudo"]), help="How the nodes that need root get it.")
@click.option("--keep-failed", is_flag=True, help="Leave a failed run as it stands, for inspection.")
@click.option("--secret", "secrets", multiple=True, metavar="NAME=WHERE", help="A secret: file:PATH, fd:N or prompt.")
@click.option("--full", is_flag=True, help="Show every node.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--detailed-exitcode", is_flag=True, help="With --dry-run: exit 2 when something would change.")
@click.pass_obj
def apply(output: Output, /, file: str, **options: Any) -> int:
    """Run an order, or show what it would do.

    FILE is an order (.yaml or .plan). It is verified against the trust policy before it is interpreted,
    and preflighted before anything is touched. On a terminal the plan is shown first, and you are asked.
    With --host it is sent to that machine with all that it reads, and judged by the trust policy there.
    """
    host: Host | None = options["host"]
    only_here(host, {name: options[name] for name in ("trust", "allow_unsigned", "allow_downgrade")})
    request = _request(output, file, options)
    if not options["dry_run"] and not options["yes"] and person_is_here(output):
        foreseen = perform(output, msgspec.structs.replace(request, verb="dry-run"), host, full=options["full"])
        if foreseen.status == "changes" and not click.confirm("Apply this?", default=False):
            return 1
        if foreseen.status in ("refused", "bad_input", "conflict"):
            return EXIT_CODES[foreseen.status]
    result = perform(output, request, host, full=options["full"])
    if _met_another(result) and options["on_interrupted"] != "keep":
        earlier = msgspec.structs.replace(request, verb=options["on_interrupted"], order_path="", only=None)
        first = perform(output, earlier, host, full=options["full"])
        if first.status != "done":
            return EXIT_CODES[first.status]
        result = perform(output, request, host, full=options["full"])
    return _code(result, detailed=options["detailed_exitcode"])


def _met_another(result: Result) -> bool:
    """Whether nothing was begun because an earlier run was cut off."""
    return result.status == "interrupted" and not result.run_id and not result.data.get("lost")


def person_is_here(output: Output) -> bool:
    """Whether somebody can be asked."""
    return not output.as_json and sys.stdin.isatty() and sys.stdout.isatty()


def perform(output: Output, request: Request, host: Host | None, *, full: bool) -> Result:
    """Ask the runtime, and draw its answer to the end."""
    drawing = RunDrawing(output, full=full)
    result = run(request, drawing, host)
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
        elevate=options["elevate"] or "",
        keep_failed=options["keep_failed"],
        diff=options["show_diff"],
        jobs=options["jobs"],
        only=tuple(options["only"]) or None,
        secrets=read_secrets(options["secrets"]),
        visit=Visit(on_disconnect=_ON_DISCONNECT[options["on_interrupted"]]) if options["host"] else None,
    )


def _code(result: Result, *, detailed: bool) -> int:
    code = EXIT_CODES[result.status]
    return 0 if code == EXIT_CODES["changes"] and not detailed else code


@click.command()
@click.option("--root", help="Target root. [default: every one that was applied to]")
@host_option
@filter_options
@click.option("--diff", "show_diff", is_flag=True, help="Show diffs, where the inputs are still at hand.")
@click.option("--detailed-exitcode", is_flag=True, help="Exit 2 when something differs.")
@click.pass_obj
def status(output: Output, /, root: str | None, host: Host | None, *, show_diff: bool, **options: Any) -> int:
    """Show what differs from what was applied: changed, missing, extra."""
    only_here(host, {name: options[name] for name in ("scope", "tool")})
    if root:
        roots = [root if host else os.path.abspath(root)]
    elif host is None:
        roots = target_roots(output.state_dir)
    else:  # in the order of their first runs
        roots = list(dict.fromkeys(info.target_root for info in all_runs(output, host)))
    if not roots:
        output.say("nothing was applied yet")
    packages = (options["package"],) if options["package"] else ()
    runs = _runs_of(output, options["scope"] or "", options["tool"]) if options["scope"] or options["tool"] else None
    code = 0
    for target in roots:
        request = Request(
            verb="status",
            state_dir=output.state_dir,
            target_root=target,
            diff=show_diff,
            packages=packages,
            runs=runs,
        )
        found = _status_of(output, request, host)
        code = max(code, _code(found, detailed=options["detailed_exitcode"]))
    return code


def _runs_of(output: Output, scope: str, tool: str) -> frozenset[str]:
    """The runs of this machine that were of a scope and a tool."""
    from requisition.cli.receipts import ask_index
    from requisition.review.history import questions

    chosen = questions.Filter(scope=scope, tool=tool)
    return frozenset(ran.run for ran in ask_index(output, lambda connection: questions.runs(connection, chosen)))


def _status_of(output: Output, request: Request, host: Host | None) -> Result:
    drawing = RunDrawing(output)
    result = run(request, drawing, host)
    drawing.finish()
    root = request.target_root
    if output.as_json or result.status not in ("done", "changes"):
        summary(result, output)
    elif result.status == "done":
        paths = counted(result.summary.get("ok", 0), "path")
        verb = "is" if result.summary.get("ok") == 1 else "are"
        output.result(f"{output.style('✓', 'good')} {output.style(root, 'path')}: {paths} {verb} as left")
    else:
        output.result(f"{output.style('~', 'warn')} {output.style(root, 'path')}: {tally(result.summary)}")
    return result
