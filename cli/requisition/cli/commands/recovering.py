"""`plan resume`, `rollback`, `recover`, `receipts`: runs after the fact."""

import os

import click
import msgspec

from requisition.cli.drawing import RunDrawing, summary
from requisition.cli.output import Output, default_trust
from requisition.cli.runner import run
from requisition.cli.secrets import read_secrets
from requisition.runtime.frames import EXIT_CODES, Request
from requisition.runtime.layout import StateDir
from requisition.runtime.run import RunInfo, read_info
from requisition.schemas.diagnostic import BadInput

_STATE_STYLE = {"executed": "good", "rolled_back": "warn", "failed": "bad", "running": "bad"}


@click.command()
@click.argument("run_id", metavar="[RUN]", default="")
@click.option("--source", type=click.Path(file_okay=False), help="Folder of the package, where its inputs lie.")
@click.option("--trust", type=click.Path(dir_okay=False), help="Trust policy. [default: the user's trust.yaml]")
@click.option("--allow-unsigned", is_flag=True, help="For a run that was begun so.")
@click.option("--after-power-loss", is_flag=True, help="The disk was restored or moved: files may be torn.")
@click.option("--secret", "secrets", multiple=True, metavar="NAME=WHERE", help="A secret: file:PATH, fd:N or prompt.")
@click.pass_obj
def resume(
    output: Output,
    /,
    run_id: str,
    source: str | None,
    trust: str | None,
    *,
    allow_unsigned: bool,
    after_power_loss: bool,
    secrets: tuple[str, ...],
) -> int:
    """Finish a run that was cut off: what is in doubt is taken back, the rest is done."""
    request = Request(
        verb="resume",
        state_dir=output.state_dir,
        run_id=run_id,
        source_root=os.path.abspath(source) if source else "",
        trust_path=os.path.abspath(trust) if trust else default_trust(),
        allow_unsigned=allow_unsigned,
        after_power_loss=after_power_loss,
        secrets=read_secrets(secrets),
    )
    result = run(request, RunDrawing(output))
    summary(result, output)
    return EXIT_CODES[result.status]


@click.command()
@click.argument("run_id", metavar="[RECEIPT]", default="")
@click.option("--force", is_flag=True, help="Take back what can be, where others changed the rest since.")
@click.option("--after-power-loss", is_flag=True, help="The disk was restored or moved: files may be torn.")
@click.pass_obj
def rollback(output: Output, /, run_id: str, *, force: bool, after_power_loss: bool) -> int:
    """Take a run back. RECEIPT is a run's id or its receipt file; by default the newest that stands."""
    request = Request(
        verb="rollback",
        state_dir=output.state_dir,
        run_id=os.path.abspath(run_id) if "/" in run_id else run_id,
        force=force,
        after_power_loss=after_power_loss,
    )
    result = run(request, RunDrawing(output))
    summary(result, output)
    return EXIT_CODES[result.status]


def _runs(output: Output) -> list[RunInfo]:
    state = StateDir(output.state_dir)
    return [info for name in state.run_ids() if (info := read_info(state.run(name))) is not None]


@click.command()
@click.pass_obj
def recover(output: Output, /) -> int:
    """List runs that were cut off, and what can be done. Exit code 6 when there are any."""
    found = [info for info in _runs(output) if info.state == "running"]
    for info in found:
        if output.as_json:
            output.json(msgspec.to_builtins(info))
            continue
        output.result(f"{info.run_id}  {info.order} on {info.target_root}, begun {info.started}")
        output.result(f"  plan resume {info.run_id}     finishes it")
        output.result(f"  plan rollback {info.run_id}   takes it back")
    if not found:
        output.say(f"{output.style('✓', 'good')} no run was cut off")
    return 6 if found else 0


@click.group(invoke_without_command=True)
@click.pass_context
def receipts(context: click.Context) -> None:
    """List runs and their receipts."""
    if context.invoked_subcommand is None:
        context.invoke(list_receipts)


@receipts.command("list")
@click.pass_obj
def list_receipts(output: Output, /) -> None:
    """List all runs, oldest first."""
    for info in _runs(output):
        if output.as_json:
            output.json(msgspec.to_builtins(info))
            continue
        counts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in sorted(info.summary.items()))
        state = output.style(f"{info.state.replace('_', ' '):<12}", _STATE_STYLE.get(info.state, "dim"))
        output.result(f"{info.run_id}  {state} {info.order}  {info.target_root}  {output.style(counts, 'dim')}")


@receipts.command("show")
@click.argument("run_id", metavar="RUN")
@click.pass_obj
def show_receipt(output: Output, /, run_id: str) -> None:
    """Show the receipt of a run."""
    from requisition.cli.commands.review import show_file

    directory = StateDir(output.state_dir).run(os.path.basename(run_id))
    for name in ("rollback.plan", "receipt.plan"):
        if os.path.exists(f"{directory}/{name}"):
            show_file(output, f"{directory}/{name}", full=True)
            return
    raise BadInput.of(f"there is no receipt of {run_id!r}", where=directory, next="plan receipts lists all runs")
