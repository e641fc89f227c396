"""What every command takes, and options that several share."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import click

from requisition.cli.terminal import Terminal

F = TypeVar("F", bound=Callable[..., Any])
Body = Callable[..., int | None]

COLOR = click.Choice(["auto", "always", "never"])


def speaking(body: Body) -> Body:
    """Give a command --json, --quiet and --color, and a Terminal as its first argument.

    A Failure that the command raises is drawn here, and becomes the exit code of its class.
    """

    @click.option("--json", "as_json", is_flag=True, help="Answer in JSON, for programs.")
    @click.option("--quiet", "-q", is_flag=True, help="Say nothing but findings.")
    @click.option("--color", type=COLOR, default="auto", show_default=True, help="When to use colour.")
    @wraps(body)
    def command(*, as_json: bool, quiet: bool, color: str, **options: Any) -> int | None:
        from requisition.schemas.diagnostic import Failure

        terminal = Terminal(json=as_json, quiet=quiet, color=color)
        try:
            return body(terminal, **options)
        except Failure as failure:
            from requisition.cli.draw.findings import draw_failure

            draw_failure(terminal, failure)
            return failure.exit_code

    return command


def state_option(body: F) -> F:
    """--state, where the runtime keeps journals and receipts."""
    return click.option(
        "--state",
        metavar="DIR",
        help="Where runs are recorded. [default: $REQUISITION_STATE, then your XDG state folder]",
    )(body)


def runtime_option(body: F) -> F:
    """--runtime, for a runtime that is not the one beside this command."""
    return click.option("--runtime", metavar="PROGRAM", help="The plan-runtime to use, instead of ours.")(body)


def trust_option(body: F) -> F:
    """--trust, whose signatures count."""
    return click.option(
        "--trust", metavar="FILE", help="The trust policy. [default: trust.yaml in your configuration]"
    )(body)


def detailed_exitcode_option(body: F) -> F:
    """--detailed-exitcode, for scripts that ask whether anything differs."""
    return click.option("--detailed-exitcode", is_flag=True, help="Exit 2 when there are differences.")(body)


def order_argument(body: F) -> F:
    """The order or receipt file that a command reads."""
    return click.argument("file", metavar="FILE", type=click.Path())(body)
