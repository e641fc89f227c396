"""`plan tree`: look at a tree of packages, change what belongs to it, run a command in its packages."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from requisition.cli.commands.syncing import alone
from requisition.cli.drawing import counted
from requisition.cli.output import Output
from requisition.cli.runner import all_runs
from requisition.schemas.diagnostic import BadInput, Failed

if TYPE_CHECKING:
    from requisition.tree.member import Member, Tree

_folder_option = click.option(
    "--tree", "folder", type=click.Path(exists=True, file_okay=False), default=".", help="Root's folder."
)
_only_option = click.option(
    "--only", default="*", metavar="EXPR", help="Only what matches: a pattern of paths or names, or a condition."
)


@click.group()
def tree() -> None:
    """Look at a tree of packages, and change what belongs to it."""


@contextmanager
def _there(root: str) -> "Iterator[Tree]":
    """The tree as the cache and the checkouts have it; nothing is changed, no remote asked."""
    from requisition.tree.walk import WalkOptions, walk

    with tempfile.TemporaryDirectory(prefix="plan-tree-") as scratch:
        walked = walk(root, WalkOptions(offline=True, change=False, scratch=scratch), say=lambda _: None)
        if any(one.severity == "error" for one in walked.problems):
            raise BadInput(walked.problems)
        yield walked.tree


def _chosen(found: "Tree", only: str) -> "list[Member]":
    from requisition.tree.selection import selected

    return selected(found, only)


@tree.command()
@_folder_option
@_only_option
@click.pass_obj
def ls(output: Output, /, folder: str, only: str) -> None:
    """List the packages, children before their parents, with their commits."""
    with _there(os.path.realpath(folder)) as found:
        for member in _chosen(found, only):
            if output.as_json:
                output.json(_row(member) | {"needs": list(found.needs.get(member.path, ()))})
                continue
            at = f"{member.commit[:12]} {member.ref}".rstrip()
            name = output.style(member.path or ".", "path")
            output.result(f"{name}  {member.manifest.name} {member.manifest.version}".rstrip() + f"  {at}".rstrip())


def _row(member: "Member") -> dict[str, object]:
    return {
        "path": member.path,
        "name": member.manifest.name,
        "version": member.manifest.version,
        "url": member.url,
        "ref": member.ref,
        "commit": member.commit,
    }


@tree.command()
@_folder_option
@_only_option
@click.option("--detailed-exitcode", is_flag=True, help="Exit 2 when something is not installed as it should be.")
@click.pass_obj
def status(output: Output, /, folder: str, only: str, *, detailed_exitcode: bool) -> int:
    """Tell of each package whether it is installed, and as it was left. Runs nothing, changes nothing."""
    from requisition.cli.commands.syncing import drifted_packages
    from requisition.tree import installed
    from requisition.tree.order import once
    from requisition.tree.sync import on_this_machine, resolved_root

    root = os.path.realpath(folder)
    with _there(root) as found:
        before, twins = installed.read(root), once(found)
        stands = {info.run_id for info in all_runs(output, None) if info.state == "executed"}
        target = on_this_machine(resolved_root(found.member("").manifest, None))
        drifted = drifted_packages(output, target) if before else set()
        behind = 0
        for member in _chosen(found, only):
            one = before.get(twins.get(member.path, member.path))
            state = "installed"
            if one is None or one.receipt not in stands:
                state = "not installed"
            elif one.commit != member.commit:
                state = f"installed at {one.commit[:12] or 'no commit'}"
            elif member.manifest.name in drifted:
                state = "changed since"
            behind += state != "installed"
            if output.as_json:
                output.json(_row(member) | {"state": state})
            mark = output.style("✓", "good") if state == "installed" else output.style("~", "warn")
            output.say(f"{mark} {member.path or '.'}  {state}")
    return 2 if behind and detailed_exitcode else 0


@tree.command()
@_folder_option
@click.option(
    "--format", "form", type=click.Choice(["dot", "mermaid"]), default="mermaid", show_default=True, help="Language."
)
@_only_option
@click.pass_obj
def graph(output: Output, /, folder: str, form: str, only: str) -> None:
    """Draw which package needs which."""
    from requisition.cli.graphs import packages_as

    with _there(os.path.realpath(folder)) as found:
        chosen = _chosen(found, only)
        names = {member.path: f"{member.manifest.name} {member.manifest.version}".rstrip() for member in chosen}
        if output.as_json:
            needs = {path: [need for need in found.needs.get(path, ()) if need in names] for path in names}
            output.json({"packages": [_row(member) for member in chosen], "needs": needs})
        output.result(packages_as(form, names, found.needs))


@tree.command()
@click.argument("url")
@click.argument("path", default="")
@click.option("--ref", default="", help="Branch, tag or commit.")
@click.option("--version", default="", help="Range of versions, as '>=1.2,<2'.")
@_folder_option
@click.pass_obj
def add(output: Output, /, url: str, path: str, ref: str, version: str, folder: str) -> None:
    """Put a child into package.yaml. The next sync brings it."""
    from requisition.compiler.manifest import Child
    from requisition.schemas.treeevent import Added
    from requisition.tree.editing import with_child

    root = os.path.realpath(folder)
    place = os.path.join(root, "package.yaml")
    new = with_child(_read(place), place, url, path, ref, version)
    _store(root, place, new, Added(path=Child(url, path).place, url=url, ref=ref))
    output.say(f"{output.style('✓', 'good')} {url} is a child of {place}. Next: plan sync")


@tree.command()
@click.argument("path")
@_folder_option
@click.pass_obj
def rm(output: Output, /, path: str, folder: str) -> None:
    """Take a child out of package.yaml. What it installed is torn down before; its checkout is left to you."""
    from requisition.schemas.treeevent import Removed
    from requisition.tree import installed
    from requisition.tree.editing import without_child

    root = os.path.realpath(folder)
    path = path.rstrip("/")
    if any(one == path or one.startswith(f"{path}/") for one in installed.read(root)):
        raise BadInput.of(f"{path} is installed", next=f"plan teardown {path} first")
    place = os.path.join(root, "package.yaml")
    _store(root, place, without_child(_read(place), place, path), Removed(path=path))
    there = os.path.exists(os.path.join(root, path))
    left = f"; its checkout {path}/ is left, remove it when you need it no more" if there else ""
    output.say(f"{output.style('✓', 'good')} {path} is no child of {place} any more{left}")


def _read(place: str) -> str:
    try:
        with open(place, encoding="utf-8") as file:
            return file.read(1 << 20)
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput.of(f"it cannot be read: {error}", where=place, next="plan init makes a package") from error


def _store(root: str, place: str, text: str, event: object) -> None:
    from requisition.runtime.layout import write_durably
    from requisition.tree.events import EventLog

    with alone(root, "plan tree"), EventLog.open(root) as log:
        write_durably(place, text.encode(), os.stat(place).st_mode & 0o777)
        log.append(event)  # type: ignore[arg-type]


@tree.command("run", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@_folder_option
@_only_option
@click.option("--jobs", type=click.IntRange(1, 64), default=1, show_default=True, help="Packages at a time.")
@click.argument("command", nargs=-1, required=True)
@click.pass_obj
def run_command(output: Output, /, folder: str, only: str, jobs: int, command: tuple[str, ...]) -> int:
    """Run a command in the folder of each package, what a package needs before it; no shell reads it.

    A failure halts those that need the package, and nobody else.
    """
    from requisition.tree.order import schedule

    with _there(os.path.realpath(folder)) as found:
        chosen = {member.path for member in _chosen(found, only)}

        def one(member: "Member") -> None:
            if member.path not in chosen:
                return
            environment = os.environ | {"PLAN_PACKAGE": member.manifest.name, "PLAN_PATH": member.path}
            done = subprocess.run(command, cwd=member.folder, env=environment, capture_output=True, check=False)
            head = output.style(member.path or ".", "head")
            if output.as_json:
                told = {"out": done.stdout.decode(errors="replace"), "err": done.stderr.decode(errors="replace")}
                output.json({"path": member.path, "exit_code": done.returncode} | told)
            else:
                output.result(head)
                sys.stdout.buffer.write(done.stdout + done.stderr)
                sys.stdout.flush()
            if done.returncode:
                raise Failed.of(f"{member.path or '.'}: {command[0]} ended with {done.returncode}")

        ended = schedule(found, jobs, one)
    for path, cause in ended.halted.items():
        if path in chosen:
            output.say(f"{output.style('!', 'warn')} {path or '.'} halted: {cause or '.'} failed")
    if ended.failed:
        raise Failed([finding for error in ended.failed.values() for finding in getattr(error, "diagnostics", ())])
    return 0


@tree.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@_folder_option
@click.pass_obj
def import_file(output: Output, /, file: str, folder: str) -> None:
    """Make a package.yaml of a .grex/pack.yaml, or of a REPOS.json; one that is there is left as it is."""
    from requisition.tree import importing

    root = os.path.realpath(folder)
    text = _read(file)
    if file.endswith(".json"):
        made = importing.repos(text, file, os.path.basename(root))
    else:
        hooks = os.path.join(os.path.dirname(os.path.abspath(file)), "hooks")
        made = importing.pack(text, file, sorted(os.listdir(hooks)) if os.path.isdir(hooks) else ())
    output.findings(made.notes)
    place = importing.save(root, made)
    output.say(f"{output.style('✓', 'good')} {place}, {counted(len(made.notes), 'note')}. Next: plan check {folder}")
