"""Entry point of `plan`: the table of commands, loaded when used, and what every command shares."""

import importlib
import os
import sys
from typing import Any

import click

from requisition.cli.output import Output, fail
from requisition.schemas.diagnostic import Diagnostic

COMMANDS: dict[str, tuple[str, str]] = {
    "init": ("authoring", "Make a new package."),
    "check": ("authoring", "Find mistakes in a package, without building it."),
    "build": ("authoring", "Build a package into an order."),
    "show": ("review", "Show what an order will do, or what a receipt says was done."),
    "diff": ("comparing", "Say what two orders or receipts mean differently."),
    "query": ("querying", "Ask the graph of an order or receipt."),
    "graph": ("review", "Draw the nodes of an order."),
    "sign": ("signing", "Sign an order."),
    "verify": ("signing", "Tell whose signatures an order carries, and whether they count."),
    "key": ("signing", "Make and list keys."),
    "trust": ("trusting", "Say whose signatures count here."),
    "apply": ("applying", "Run an order, or show what it would do."),
    "status": ("applying", "Show what differs from what was applied."),
    "history": ("history", "Show what was done, when, by which run."),
    "why": ("history", "Show which run, node and line made a path what it is."),
    "blame": ("history", "Show which run made each path below a folder so."),
    "sync": ("syncing", "Bring a tree of packages to its pins, and install it."),
    "tree": ("tree", "Look at a tree of packages, and change what belongs to it."),
    "teardown": ("teardown", "Take away what a tree of packages installed."),
    "watch": ("watching", "Keep this machine at the newest commits that may be trusted."),
    "delivery": ("shipping", "Ship folders to storage, verified, and see what became of them."),
    "resume": ("recovering", "Finish a run that was cut off."),
    "rollback": ("recovering", "Take a run back."),
    "recover": ("recovering", "List runs that were cut off, and what can be done."),
    "receipts": ("recovering", "List runs, or show the receipt of one."),
    "actions": ("reference", "List the actions that packages can use."),
    "schema": ("reference", "Print a JSON Schema."),
    "doctor": ("reference", "Check this installation."),
    "completion": ("reference", "Print the completion script of a shell."),
    "version": ("reference", "Print the version."),
}
EPILOG = """\b
Exit codes:
  0  done (with --detailed-exitcode: nothing to change)
  1  failed
  2  would change, or differs (with --detailed-exitcode)
  3  refused by trust
  4  bad input
  5  conflict: something is in the way
  6  interrupted, and recoverable
"""
BAD_USAGE = 4
STOPPED = 130


class LazyGroup(click.Group):
    """Imports a command's module when the command is used, so that `plan --help` starts fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the table: the order of a package's life."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command itself, or None."""
        place = COMMANDS.get(cmd_name)
        if place is None:
            return None
        module = importlib.import_module(f"requisition.cli.commands.{place[0]}")
        command: click.Command = getattr(module, cmd_name)
        _give_common_options(command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with the command that was probably meant."""
        if args and args[0] not in COMMANDS and not ctx.resilient_parsing:
            from difflib import get_close_matches

            near = get_close_matches(args[0], COMMANDS, 1)
            ctx.fail(f"there is no command {args[0]!r}; " + (f"did you mean {near[0]}?" if near else "see plan --help"))
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what goes wrong in it is told as it asked to be told."""
        try:
            return super().invoke(ctx)
        except (click.exceptions.Exit, click.Abort, click.ClickException, BrokenPipeError):
            raise
        except Exception as error:  # noqa: BLE001  (the last place where anything can be told to a person)
            return fail(error, ctx.obj if isinstance(ctx.obj, Output) else Output())

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """From the table, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


def common_options() -> list[click.Parameter]:
    """What `plan` and every command of it take: `plan --json show F` and `plan show F --json` are the same."""
    return [
        click.Option(["--json", "as_json"], is_flag=True, help="Print JSON: one document, or one line an event."),
        click.Option(["-q", "--quiet"], is_flag=True, help="Print findings and results only."),
        click.Option(
            ["--color"], type=click.Choice(["auto", "always", "never"]), help="Colour. [default: on a terminal]"
        ),
        click.Option(
            ["--state"], metavar="DIR", help="State directory. [default: $REQUISITION_STATE, then the system's own]"
        ),
    ]


def _give_common_options(command: click.Command) -> None:
    """Add the common options to a command, or to every command of a group."""
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            _give_common_options(inner)
    if any(parameter.name == "as_json" for parameter in command.params):
        return
    for option in common_options():
        option.expose_value = False
        option.is_eager = True  # how to tell is known before anything can be wrong
        option.callback = _note
        command.params.append(option)


def _note(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Take a common option that was given after the command's name."""
    if value and isinstance(context.obj, Output):
        assert parameter.name is not None
        context.obj.set(parameter.name, value)


@click.command(
    cls=LazyGroup, params=common_options(), epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.pass_context
def cli(ctx: click.Context, *, as_json: bool, quiet: bool, color: str | None, state: str | None) -> None:
    """Install scripts as signed change orders: reviewable before, reversible after."""
    ctx.obj = Output(as_json=as_json, quiet=quiet, color=color or "auto", state=state)


def _misused(error: click.ClickException) -> int:
    """Tell of words that no command takes: in click's form, or where JSON was asked for as any other finding. The
    arguments themselves are asked, for they were not understood."""
    if "--json" not in sys.argv[1:]:
        error.show()
        return BAD_USAGE
    context = error.ctx if isinstance(error, click.UsageError) else None
    advice = f"{context.command_path} --help" if context else "plan --help"
    Output(as_json=True).findings([Diagnostic(what=error.format_message(), next=advice, code="usage")])
    return BAD_USAGE


def main() -> int:
    """Run the command; every failure ends with its message and exit code."""
    try:
        result: Any = cli.main(prog_name="plan", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return 0
    except click.ClickException as error:
        return _misused(error)
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        return STOPPED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # so that the flush at exit is silent too
        return 0


if __name__ == "__main__":
    sys.exit(main())
