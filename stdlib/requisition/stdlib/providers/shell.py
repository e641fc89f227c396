"""Commands: for what no action does. They cannot be checked, only guarded."""

import os
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from msgspec import Struct

from requisition.stdlib.action import (
    ActionError,
    BaseAction,
    Change,
    Done,
    Satisfied,
    UndoConflict,
    action,
)
from requisition.stdlib.host import CommandResult, Host
from requisition.stdlib.providers.file import as_bytes
from requisition.stdlib.spec import Output, slot

SHOWN = 400


class ExecSlots(Struct, frozen=True):
    argv: Annotated[list[str], slot("strings", "program and arguments; no shell takes part")]
    cwd: Annotated[str, slot("path", "where it runs; by default the target root")] = "/"
    env: Annotated[dict[str, str], slot("dict", "environment on top of PATH, HOME and LC_ALL")] = {}
    stdin: Annotated[Any, slot("content", "what it reads; the way to hand over a secret", secret=True)] = ""
    timeout: Annotated[int, slot("duration", "killed after this time, as are `unless` and `undo`; 0: never")] = 0
    creates: Annotated[str, slot("path", "not run when this path exists")] = ""
    unless: Annotated[list[str], slot("strings", "not run when this command succeeds")] = []
    undo: Annotated[list[str], slot("strings", "command that takes the effect back")] = []
    ok_codes: Annotated[list[int], slot("any", "exit statuses that count as success; none given: 0")] = []
    checks_only: Annotated[bool, slot("bool", "it looks and changes nothing, so there is nothing to undo")] = False
    shell: Annotated[bool, slot("bool", "run the single argument as a script of /bin/sh")] = False
    folder: Annotated[str, slot("string", "instead of `cwd`, a folder outside of the target root: the package's")] = ""
    on_fail: Annotated[str, slot("string", "after another exit status: error, warn (say it, go on) or ignore")] = (
        "error"
    )


@action(
    "shell.exec",
    outputs=(
        Output("stdout", "string", "what it printed"),
        Output("stderr", "string", "what it complained"),
        Output("exit_code", "int", "its exit status"),
    ),
    effect="outside",
    compensable=False,
    blocking=True,
    repeatable=True,
)
class Exec(BaseAction[ExecSlots]):
    """Run a command. Give `creates` or `unless` so that a second apply need not run it, and `undo` so that
    it can be taken back."""

    slots = ExecSlots

    def observe(self, host: Host, slots: ExecSlots) -> Satisfied | Change:
        """Looks at the guards."""
        if not slots.argv or (slots.shell and len(slots.argv) != 1):
            raise ActionError("argv needs a program", 'give argv = ["program", …]; with shell = True one script')
        if slots.on_fail not in ("error", "warn", "ignore"):
            raise ActionError(f"on_fail is {slots.on_fail!r}", "give error, warn or ignore")
        nothing = {"stdout": "", "stderr": "", "exit_code": 0}
        if slots.creates and host.stat(slots.creates) is not None:
            return Satisfied(nothing)
        cwd = _cwd(host, slots)
        if slots.unless and _run(host, slots.unless, slots.env, cwd, b"", slots.timeout).status == 0:
            return Satisfied(nothing)
        undo: dict[str, Any] | None = {} if slots.checks_only else None
        if slots.undo:
            undo = {"argv": slots.undo, "cwd": cwd, "env": slots.env, "timeout": slots.timeout}
        return Change("runs " + slots.argv[0].rpartition("/")[2][:40], undo=undo)

    def do(self, host: Host, slots: ExecSlots, change: Change) -> Done:
        """Run it; an exit status that is not in `ok_codes` fails the node."""
        argv = ["/bin/sh", "-c", slots.argv[0]] if slots.shell else slots.argv
        if not (os.path.isdir(slots.folder) if slots.folder else host.stat(slots.cwd)):
            where = slots.folder or slots.cwd
            raise ActionError(f"the directory {where} does not exist", "make it first, or change `cwd`")
        done = _run(host, argv, slots.env, _cwd(host, slots), as_bytes(slots.stdin), slots.timeout)
        if done.status not in (slots.ok_codes or [0]):
            hidden = "its output may hold a secret and is not shown" if host.sealed else _excerpt(done)
            name = "the script" if slots.shell else slots.argv[0]
            what = f"{name} ended with {_status(done)}: {hidden}"
            if slots.on_fail == "error":
                raise ActionError(what)
            if slots.on_fail == "warn":
                host.log(f"warning: {what}")
        return Done(
            {
                "stdout": done.stdout.decode("utf-8", "replace"),
                "stderr": done.stderr.decode("utf-8", "replace"),
                "exit_code": done.status,
            }
        )

    def undo(self, host: Host, undo: Any) -> None:
        """Run the undo command, if there is anything to undo."""
        if not undo:
            return
        done = _run(host, undo["argv"], undo["env"], undo["cwd"], b"", undo["timeout"])
        if done.status != 0:
            raise UndoConflict(f"the undo command ended with {_status(done)}: {_excerpt(done)}")


def _cwd(host: Host, slots: ExecSlots) -> str:
    if slots.folder and not os.path.isabs(slots.folder):
        raise ActionError(
            f"{slots.folder!r} is no absolute path", "give `folder` from /, or `cwd` below the target root"
        )
    return slots.folder or host.real_path(slots.cwd)


def _run(
    host: Host, argv: Sequence[str], env: Mapping[str, str], cwd: str, stdin: bytes, timeout: int
) -> CommandResult:
    return host.run(argv, cwd=cwd, env=env, stdin=stdin, timeout_ms=timeout)


def _status(done: CommandResult) -> str:
    return f"exit status {done.status}" if done.status >= 0 else f"signal {-done.status}"


def _excerpt(done: CommandResult) -> str:
    text = (done.stderr.strip() or done.stdout.strip()).decode("utf-8", "replace")
    return text[-SHOWN:] if text else "it printed nothing"
