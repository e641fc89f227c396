"""`plan actions`, `schema`, `doctor`, `completion`, `version`: about the tool itself."""

import os
import shutil
import sys

import click
import msgspec

from requisition.cli.output import Output, config_dir, default_trust
from requisition.schemas.diagnostic import BadInput


@click.command()
@click.argument("name", default="")
@click.pass_obj
def actions(output: Output, /, name: str) -> None:
    """List the actions that packages can use; with a NAME, its slots and outputs."""
    from requisition.stdlib.catalogue import load, suggest

    catalogue = {key: spec for key, spec in load().items() if not key.startswith("flow.")}
    if name and name not in catalogue:
        near = suggest(name)
        raise BadInput.of(f"there is no action {name!r}", next=f"did you mean {near!r}?" if near else "plan actions")
    for key, spec in catalogue.items():
        if name and key != name:
            continue
        if output.as_json:
            output.json(msgspec.to_builtins(spec))
            continue
        output.result(f"{output.style('plan.' + key, 'head')}  {spec.doc.splitlines()[0]}")
        if name:
            for slot in spec.slots:
                default = "required" if slot.required else f"default {slot.default!r}"
                output.result(f"  {slot.name:<20} {slot.type:<9} {slot.doc} ({default})")
            for one in spec.outputs:
                output.result(f"  → {one.name:<18} {one.type:<9} {one.doc}")
            if not spec.compensable:
                output.result("  Not undone by itself.")


@click.command()
@click.argument("name", default="")
@click.pass_obj
def schema(output: Output, /, name: str) -> None:
    """Print the JSON Schema of a document; without a NAME, list them."""
    from requisition.schemas import jsonschema

    known = sorted(jsonschema.TYPES)
    if not name:
        for one in known:
            output.result(one)
        return
    if name not in known:
        raise BadInput.of(f"there is no schema {name!r}", next=f"one of {', '.join(known)}")
    click.echo(msgspec.json.format(msgspec.json.encode(jsonschema.schema(name)), indent=2).decode())


@click.command()
@click.pass_obj
def doctor(output: Output, /) -> int:
    """Check this installation: Python, state, keys, trust, programs."""
    from requisition.runtime.layout import StateDir
    from requisition.runtime.machine import platform_of_machine

    here = platform_of_machine()
    state = StateDir(output.state_dir)
    free = shutil.disk_usage(state.path).free >> 20
    keys = os.path.join(config_dir(), "keys")
    checks = [
        (sys.version_info >= (3, 11), f"Python {sys.version.split()[0]}", "3.11 or newer is needed"),
        (True, f"this machine is {here.os}/{here.distro}/{here.arch}", ""),
        (free > 64, f"state in {state.path}, {free} MiB free", "free some space there"),
        (os.path.isdir(keys), f"keys in {keys}", "plan key new NAME makes one"),
        (bool(default_trust()), "a trust policy", "plan trust add NAME KEY.pub makes one"),
    ]
    checks += [(shutil.which(one) is not None, one, "optional") for one in ("git", "ssh-keygen", "gpg", "dot")]
    for good, text, advice in checks:
        if output.as_json:
            output.json({"ok": good, "what": text, "next": "" if good else advice})
            continue
        icon = output.style("✓", "good") if good else output.style("-", "warn")
        output.result(f"{icon} {text}{'' if good else '  ' + output.style(advice, 'dim')}")
    return 0 if checks[0][0] and checks[2][0] else 1


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell."""
    from click.shell_completion import get_completion_class

    from requisition.cli.main import cli

    made = get_completion_class(shell)
    assert made is not None
    click.echo(made(cli, {}, "plan", "_PLAN_COMPLETE").source())


@click.command()
@click.pass_obj
def version(output: Output, /) -> None:
    """Print the version."""
    from requisition.schemas.version import TOOL, VERSION

    if output.as_json:
        output.json({"version": VERSION})
    output.result(TOOL)
