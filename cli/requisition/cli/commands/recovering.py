"""`plan resume`, `rollback`, `recover` and `receipts`: what is done with runs after they began."""

import os
import sys

import click

from requisition.cli.drawing import RunDrawing, summary, tally
from requisition.cli.output import Output, default_trust, to_dict
from requisition.cli.past import runs
from requisition.cli.runner import run as ask
from requisition.cli.secrets import read_secrets
from requisition.runtime.frames import EXIT_CODES, Request
from requisition.runtime.layout import StateDir
from requisition.runtime.run import RunInfo
from requisition.schemas.diagnostic import BadInput

_secret_option = click.option(
    "--secret", "secrets", multiple=True, metavar="NAME=WHERE", help="A secret: file:PATH, fd:N or prompt."
)


@click.command()
@click.argument("run", required=False, default="")
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
    request = Request(
        verb="resume",
        state_dir=output.state_dir,
        run_id=run,
        source_root=os.path.abspath(source) if source else "",
        trust_path=os.path.abspath(trust) if trust else default_trust(),
        allow_unsigned=allow_unsigned,
        after_power_loss=after_power_loss,
        jobs=jobs,
        secrets=read_secrets(secrets),
    )
    return _perform(output, request, full=full)


@click.command()
@click.argument("run", required=False, default="")
@click.option("--force", is_flag=True, help="Take back what can be, where others changed something since.")
@click.option("--after-power-loss", is_flag=True, help="The machine lost power, or this is a restored image.")
@_secret_option
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--full", is_flag=True, help="Show every node.")
@click.pass_obj
def rollback(
    output: Output,
    run: str,
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
        state_dir=output.state_dir,
        run_id=os.path.abspath(run) if "/" in run else run,
        force=force,
        after_power_loss=after_power_loss,
        secrets=read_secrets(secrets),
    )
    if not yes and not output.as_json and sys.stdin.isatty() and sys.stdout.isatty():
        from requisition.runtime.recover import find_run

        found = find_run(StateDir(output.state_dir), request.run_id, interrupted=False)
        output.say(_line(found, output))
        if not click.confirm("Take this run back?", default=False):
            return 1
    return _perform(output, request, full=full)


@click.command()
@click.pass_obj
def recover(output: Output) -> int:
    """List runs that were cut off, and what can be done. Exit code 6 when there are any."""
    cut_off = [info for info in runs(output.state_dir) if info.state == "running"]
    if output.as_json:
        output.json({"interrupted": [to_dict(info) for info in cut_off]})
    for info in cut_off:
        output.result(_line(info, output))
        output.result(f"    plan resume {info.run_id}      takes back what is in doubt, then finishes it")
        output.result(f"    plan rollback {info.run_id}    takes everything back")
    if not cut_off:
        output.say(f"{output.style('✓', 'good')} no run was cut off")
    return EXIT_CODES["interrupted"] if cut_off else 0


@click.group(invoke_without_command=True)
@click.pass_context
def receipts(context: click.Context) -> None:
    """List runs, or show the receipt of one."""
    if context.invoked_subcommand is None:
        context.invoke(list_runs)


@receipts.command("list")
@click.pass_obj
def list_runs(output: Output) -> None:
    """List all runs, oldest first."""
    infos = runs(output.state_dir)
    if output.as_json:
        output.json({"runs": [to_dict(info) for info in infos]})
    for info in infos:
        output.result(_line(info, output))
    if not infos:
        output.say("nothing was applied yet")


@receipts.command("show")
@click.argument("run")
@click.option("--full", is_flag=True, help="Show every node.")
@click.pass_obj
def show_run(output: Output, run: str, *, full: bool) -> None:
    """Show the receipt of RUN: what was done, what it left, who approved it."""
    from requisition.cli.commands.review import show_file

    show_file(output, run if os.path.isfile(run) else _receipt_path(output, run), full=full)


def _perform(output: Output, request: Request, *, full: bool) -> int:
    drawing = RunDrawing(output, full=full)
    result = ask(request, drawing)
    summary(result, output, drawing.finish())
    return EXIT_CODES[result.status]


def _receipt_path(output: Output, run: str) -> str:
    if "/" in run or run.startswith("."):
        raise BadInput.of("there is no such receipt", where=run, next="plan receipts lists all runs")
    directory = StateDir(output.state_dir).run(run)
    for name in ("rollback.plan", "receipt.plan"):
        if os.path.exists(f"{directory}/{name}"):
            return f"{directory}/{name}"
    raise BadInput.of(f"there is no receipt of a run {run!r}", next="plan receipts lists all runs")


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
