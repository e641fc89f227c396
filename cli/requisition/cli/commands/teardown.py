"""`plan teardown`: what a sync installed is taken away, parents before children."""

import os
import tempfile
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from requisition.cli.commands.applying import perform, person_is_here
from requisition.cli.commands.authoring import build_request
from requisition.cli.commands.syncing import alone, write_order
from requisition.cli.drawing import counted
from requisition.cli.output import Output
from requisition.cli.runner import all_runs
from requisition.cli.secrets import read_secrets
from requisition.runtime.frames import EXIT_CODES, Request
from requisition.runtime.places import default_trust

if TYPE_CHECKING:
    from requisition.tree.member import Member
    from requisition.tree.teardown import Removal, Step


@click.command()
@click.argument("name", default="")
@click.option("--tree", "folder", type=click.Path(exists=True, file_okay=False), default=".", help="The root's folder.")
@click.option("--dry-run", is_flag=True, help="Say what would go, and how; change nothing.")
@click.option(
    "--key", "keys", multiple=True, metavar="KEY", help="Sign orders of teardowns with this key (repeatable)."
)
@click.option("--trust", type=click.Path(dir_okay=False), help="Trust policy. [default: the user's trust.yaml]")
@click.option("--allow-unsigned", is_flag=True, help="Run teardowns without any signature, where no trust policy is.")
@click.option("--secret", "secrets", multiple=True, metavar="NAME=WHERE", help="A secret: file:PATH, fd:N or prompt.")
@click.option("--full", is_flag=True, help="Show every node.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def teardown(output: Output, /, name: str, folder: str, **options: Any) -> int:
    """Take away what a tree of packages installed, or one package and those below it.

    NAME is a package's path or name. Parents go before their children, each by its own teardown if it has one, else
    by what its receipts say was done. Files that somebody changed since are kept, and named.
    """
    from requisition.tree import installed as installations
    from requisition.tree.teardown import plan_removal, present

    root = os.path.realpath(folder)
    installed = installations.read(root)
    if not installed:
        output.result(f"{output.style('=', 'good')} Nothing to do: no package of this tree is installed.")
        return 0
    known = present(root, installed)
    removal = plan_removal(installed, known, name)
    output.findings(removal.kept)
    _show(output, removal)
    if options["dry_run"] or not removal.steps:
        return 0
    if not options["yes"] and person_is_here(output) and not click.confirm("Take all this away?", default=False):
        return 1
    with alone(root, "plan teardown"):
        codes = [_away(output, root, step, known, options) for step in removal.steps]
    return max(codes)


def _show(output: Output, removal: "Removal") -> None:
    for step in removal.steps:
        how = "own teardown" if step.own else "by receipts"
        for path in step.paths:
            if output.as_json:
                output.json({"kind": "teardown", "path": path, "how": "own" if step.own else "receipts"})
            output.say(f"  {output.style('-', 'bad')} {path or 'the root'}  {output.style(how, 'dim')}")


def _away(output: Output, root: str, step: "Step", known: "dict[str, Member]", options: dict[str, Any]) -> int:
    """One step, announced before and recorded after."""
    from requisition.schemas.treeevent import Halted, Removed, Started
    from requisition.tree import installed as installations
    from requisition.tree.events import EventLog

    with EventLog.open(root) as log:
        log.append_many(Started(path=path) for path in step.paths)
        code, gone = _own(output, root, step, known, options) if step.own else _back(output, step, known, options)
        if gone:
            left = {path: one for path, one in installations.read(root).items() if path not in step.paths}
            installations.write(root, left)
            log.append_many(Removed(path=path) for path in step.paths)
        else:
            log.append_many(Halted(path=path, why="its teardown failed") for path in step.paths)
    return code


def _own(
    output: Output, root: str, step: "Step", known: "dict[str, Member]", options: dict[str, Any]
) -> tuple[int, bool]:
    """By the order of their teardowns; (exit code, whether they are gone)."""
    import msgspec

    from requisition.compiler.forest import build_tree
    from requisition.tree.sync import resolved_root
    from requisition.tree.teardown import planted

    plain = {"target": "", "features": (), "without": (), "settings": (), "segments": ()}
    request = build_request(root, plain)
    target = resolved_root(known[""].manifest, None)
    request = msgspec.structs.replace(request, teardown=True, target_root=target, checkout=root)
    with ExitStack() as resources:
        scratch = resources.enter_context(tempfile.TemporaryDirectory(prefix="plan-teardown-"))
        order = os.path.join(scratch, "teardown.plan")
        write_order(order, root, build_tree(request, planted(step, known)), options["keys"])
        asked = Request(
            verb="apply",
            state_dir=output.state_dir,
            order_path=order,
            source_root=root,
            trust_path=os.path.abspath(options["trust"]) if options["trust"] else default_trust(),
            allow_unsigned=options["allow_unsigned"],
            jobs=1,
            secrets=read_secrets(options["secrets"]),
        )
        result = perform(output, asked, None, full=options["full"])
    return EXIT_CODES[result.status], result.status == "done"


def _back(output: Output, step: "Step", known: "dict[str, Member]", options: dict[str, Any]) -> tuple[int, bool]:
    """By what the runs that stand did of them, the newest first. What could not be taken back stays, and is named."""
    from requisition.tree.sync import on_this_machine, resolved_root

    name = known[""].manifest.name if "" in known else ""
    target = on_this_machine(resolved_root(known[""].manifest, None)) if "" in known else ""
    code, taken = 0, 0
    for info in reversed(all_runs(output, None)):
        if (
            info.state != "executed"
            or not info.summary.get("done")
            or (name and info.package != name)
            or (target and info.target_root != target)
        ):
            continue
        asked = Request(
            verb="rollback",
            state_dir=output.state_dir,
            run_id=info.run_id,
            members=step.paths,
            force=True,
            secrets=read_secrets(options["secrets"]),
        )
        result = perform(output, asked, None, full=options["full"])
        code = max(code, EXIT_CODES[result.status])
        taken += result.status in ("done", "failed")
        if result.status not in ("done", "failed"):
            return code, False
    output.say(f"  {counted(len(step.paths), 'package')} taken away, by {counted(taken, 'receipt')}")
    return code, True
