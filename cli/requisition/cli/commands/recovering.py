"""`plan resume`, `rollback`, `recover` and `receipts`: what is done with runs after they began."""

import os
import sys

import click

from requisition.cli.drawing import RunDrawing, summary, tally
from requisition.cli.host import Host, host_option, only_here
from requisition.cli.output import Output, to_dict
from requisition.cli.runner import all_runs
from requisition.cli.runner import run as ask
from requisition.cli.secrets import read_secrets
from requisition.runtime.frames import EXIT_CODES, Request, Visit
from requisition.runtime.layout import StateDir
from requisition.runtime.places import default_trust
from requisition.runtime.runinfo import RunInfo
from requisition.schemas.diagnostic import Failed

_secret_option = click.option(
    "--secret", "secrets", multiple=True, metavar="NAME=WHERE", help="A secret: file:PATH, fd:N or prompt."
)


@click.command()
@click.argument("run", required=False, default="")
@host_option
@click.option("--after-power-loss", is_flag=True, help="The machine lost power, or this is a restored image.")
@click.option("--trust", type=click.Path(dir_okay=False), help="Trust policy. [default: the user's trust.yaml]")
@click.option("--allow-unsigned", is_flag=True, help="Resume a run that was applied without any signature.")
@click.option("--source", type=click.Path(file_okay=False), help="Folder of the package, where its inputs lie.")
@click.option("--jobs", type=click.IntRange(1, 64), default=4, show_default=True, help="Slow nodes at a time.")
@_secret_option
@click.option("--full", is_flag=True, help="Show every node.")
@click.pass_obj
def resume(
    output: Output,
    run: str,
    host: Host | None,
    trust: str | None,
    source: str | None,
    jobs: int,
    secrets: tuple[str, ...],
    *,
    after_power_loss: bool,
    allow_unsigned: bool,
    full: bool,
) -> int:
    """Finish a run that was cut off.

    What was in doubt is taken back first and done again. Without RUN, the only run that was cut off.
    """
    only_here(host, {"trust": trust, "allow_unsigned": allow_unsigned, "source": source})
    request = Request(
        verb="resume",
        state_dir=output.state_dir,
        run_id=run,
        visit=Visit() if host else None,
        source_root=os.path.abspath(source) if source else "",
        trust_path=os.path.abspath(trust) if trust else default_trust(),
        allow_unsigned=allow_unsigned,
        after_power_loss=after_power_loss,
        jobs=jobs,
        secrets=read_secrets(secrets),
    )
    return _perform(output, request, host, full=full)


@click.command()
@click.argument("run", required=False, default="")
@click.option("--force", is_flag=True, help="Take back what can be, where others changed something since.")
@host_option
@click.option("--after-power-loss", is_flag=True, help="The machine lost power, or this is a restored image.")
@_secret_option
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--full", is_flag=True, help="Show every node.")
@click.pass_obj
def rollback(
    output: Output,
    run: str,
    host: Host | None,
    secrets: tuple[str, ...],
    *,
    force: bool,
    after_power_loss: bool,
    yes: bool,
    full: bool,
) -> int:
    """Take a run back.

    RUN is a run's id or its receipt. Without it: the run that was cut off, or else the newest that stands.
    Nothing is touched when something was changed since, unless --force.
    """
    request = Request(
        verb="rollback",
        visit=Visit() if host else None,
        state_dir=output.state_dir,
        run_id=os.path.abspath(run) if "/" in run else run,
        force=force,
        after_power_loss=after_power_loss,
        secrets=read_secrets(secrets),
    )
    if not yes and not output.as_json and sys.stdin.isatty() and sys.stdout.isatty():
        if host is None:
            from requisition.runtime.recover import find_run

            output.say(_line(find_run(StateDir(output.state_dir), request.run_id, interrupted=False), output))
        else:
            output.say(f"{run or 'the run that was cut off, or else the newest that stands'}, on {host.label}")
        if not click.confirm("Take this run back?", default=False):
            return 1
    return _perform(output, request, host, full=full)


@click.command()
@host_option
@click.option("--tree", "folder", type=click.Path(exists=True, file_okay=False), default=".", help="Root's folder.")
@click.pass_obj
def recover(output: Output, host: Host | None, folder: str) -> int:
    """List runs that were cut off, and what can be done. Exit code 6 when there are any.

    In the folder of a tree of packages it also mends, where that is safe, what a sync that was cut off left there.
    """
    if host is None and os.path.isdir(os.path.join(folder, ".plan")):
        from requisition.cli.commands.syncing import alone, mend

        with alone(os.path.realpath(folder), "plan recover"):
            mend(output, os.path.realpath(folder))
    cut_off = [info for info in all_runs(output, host) if info.state == "running"]
    if output.as_json:
        output.json({"interrupted": [to_dict(info) for info in cut_off]})
    for info in cut_off:
        output.result(_line(info, output))
        where = f" --host {host.url}" if host else ""
        output.result(f"    plan resume {info.run_id}{where}      takes back what is in doubt, then finishes it")
        output.result(f"    plan rollback {info.run_id}{where}    takes everything back")
    if not cut_off:
        output.say(f"{output.style('✓', 'good')} no run was cut off")
    return EXIT_CODES["interrupted"] if cut_off else 0


@click.group(invoke_without_command=True)
@host_option
@click.pass_context
def receipts(context: click.Context, host: Host | None) -> None:
    """List runs, or show the receipt of one."""
    if context.invoked_subcommand is None:
        context.invoke(list_runs, host=host)


@receipts.command("list")
@host_option
@click.pass_context
def list_runs(context: click.Context, host: Host | None) -> None:
    """List all runs, oldest first."""
    output: Output = context.obj
    infos = all_runs(output, host or _host_of_group(context))
    if output.as_json:
        output.json({"runs": [to_dict(info) for info in infos]})
    for info in infos:
        output.result(_line(info, output))
    if not infos:
        output.say("nothing was applied yet")


@receipts.command("show")
@click.argument("run")
@host_option
@click.option("--full", is_flag=True, help="Show every node.")
@click.pass_context
def show_run(context: click.Context, run: str, host: Host | None, *, full: bool) -> None:
    """Show the receipt of RUN: what was done, what it left, who approved it.

    With --host it is fetched, and kept here too.
    """
    from requisition.cli.commands.review import show_file
    from requisition.runtime.past import receipt_path

    output: Output = context.obj
    host = host or _host_of_group(context)
    if host is not None:
        result = ask(Request(verb="receipt", state_dir=output.state_dir, run_id=run), lambda _: None, host)
        if result.status != "done":
            raise Failed(result.diagnostics)
        show_file(output, result.receipt, full=full)
    else:
        show_file(output, run if os.path.isfile(run) else receipt_path(output.state_dir, run), full=full)


def _host_of_group(context: click.Context) -> Host | None:
    """`plan receipts --host URL show RUN` and `plan receipts show RUN --host URL` are the same."""
    found: Host | None = context.parent.params.get("host") if context.parent else None
    return found


def _perform(output: Output, request: Request, host: Host | None, *, full: bool) -> int:
    drawing = RunDrawing(output, full=full)
    result = ask(request, drawing, host)
    summary(result, output, drawing.finish())
    return EXIT_CODES[result.status]


def _line(info: RunInfo, output: Output) -> str:
    """One run in one line."""
    state, name = {
        "executed": (info.outcome, "good"),
        "failed": ("failed", "bad"),
        "rolled_back": ("rolled back", "warn"),
        "running": ("cut off", "bad"),
    }[info.state]
    root = output.style(info.target_root, "path")
    counts = output.style(tally(info.summary), "dim")
    return f"{info.run_id}  {output.style(f'{state:<11}', name)}  {info.package}  {root}  {counts}".rstrip()
